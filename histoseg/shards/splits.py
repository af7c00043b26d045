"""Train, val and test by patient: decided once, when shards are written."""

import hashlib
from collections import Counter

import numpy as np

from histoseg.types import Entry, Split

# MetaHistoSeg's published code tests on 30 % of a new task; the val share is ours, so that nothing is chosen on test.
SHARES: dict[Split, float] = {"train": 0.55, "test": 0.30, "val": 0.15}


def split_by_patient(entries: list[Entry], source: str) -> dict[str, Split]:
    """The split of each patient.

    It is the same for the same patients on any machine. Patients with many images are dealt first, each to the split
    that lacks most images of its share; with three patients or more every split has one.
    """
    counts = Counter(entry.patient for entry in entries)
    seed = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8], "big")
    patients = sorted(counts)
    np.random.default_rng(seed).shuffle(patients)
    patients.sort(key=lambda patient: -counts[patient])
    lacking = {split: share * len(entries) for split, share in SHARES.items()}
    chosen: dict[str, Split] = {}
    for number, patient in enumerate(patients):
        split = list(SHARES)[number] if number < len(SHARES) else max(lacking, key=lacking.__getitem__)
        chosen[patient] = split
        lacking[split] -= counts[patient]
    return chosen
