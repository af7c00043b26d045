import hashlib
import random
from collections import Counter

import numpy as np
import pytest

from histoseg.shards.splits import split_by_patient
from histoseg.types import SPLITS, Entry


def entries_of(images):
    """Entries of patients, given how many images each has."""
    return [
        Entry(key=f"{patient}_{i}", patient=patient, files={})
        for patient, count in images.items()
        for i in range(count)
    ]


def test_patients_are_dealt_by_hand():
    # Of 20 images 11 are due to train, 6 to test and 3 to val. The patients with most images open the three splits;
    # then train lacks 11 - 8 = 3, test 6 - 7 < 0 and val 3 - 4 < 0, so the last patient's image is train's.
    images = {"d": 1, "c": 4, "b": 7, "a": 8}
    assert split_by_patient(entries_of(images), "any") == {"a": "train", "b": "test", "c": "val", "d": "train"}


def test_a_hundred_patients_are_divided_by_the_stated_shares():
    """MetaHistoSeg's code tests on 30 %; 15 % are ours for val, and the rest trains."""
    splits = split_by_patient(entries_of({f"p{i:02}": 1 for i in range(100)}), "any")
    assert Counter(splits.values()) == {"train": 55, "test": 30, "val": 15}


@pytest.mark.parametrize(("num_patients", "expected"), [(0, []), (1, ["train"]), (2, ["test", "train"])])
def test_fewer_than_three_patients_leave_val_empty_first(num_patients, expected):
    splits = split_by_patient(entries_of({f"p{i}": 5 for i in range(num_patients)}), "any")
    assert sorted(splits.values()) == expected


@pytest.mark.parametrize("num_patients", [3, 4, 5, 30])
def test_with_three_patients_every_split_has_one(num_patients):
    # Even if one of them has nearly all images.
    images = {"p0": 200} | {f"p{i}": 1 for i in range(1, num_patients)}
    assert set(split_by_patient(entries_of(images), "any").values()) == set(SPLITS)


def test_the_order_of_entries_changes_nothing():
    entries = entries_of({f"p{i}": 1 + i % 3 for i in range(40)})
    shuffled = random.Random(0).sample(entries, len(entries))
    assert split_by_patient(shuffled, "glas") == split_by_patient(entries, "glas")


def test_equal_patients_are_dealt_at_random_by_the_name_of_the_source():
    """Restated: a shuffle of the sorted names, seeded by the first 16 hexadecimal digits of the name's SHA-256.

    Another seed would move patients between train and test of shards that are written already.
    """
    patients = [f"p{i:02}" for i in range(20)]
    for source in ("glas", "monuseg"):
        order = patients.copy()
        np.random.default_rng(int(hashlib.sha256(source.encode()).hexdigest()[:16], 16)).shuffle(order)
        splits = split_by_patient(entries_of(dict.fromkeys(patients, 1)), source)
        assert [splits[patient] for patient in order[:3]] == ["train", "test", "val"]
        # Of 20 images 11, 6 and 3 are due: after one each, train lacks 10 and test 5, so the next 5 are train's.
        assert {splits[patient] for patient in order[3:8]} == {"train"}
