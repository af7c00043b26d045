"""Made-up NCT-CRC-HE: tiles of one tissue each."""

from pathlib import Path

import numpy as np

from histoseg.demo import tissue
from histoseg.sources import _tissue


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write eight made-up tiles per class of the 100K and one of the 7K in the published layout."""
    for folder in _tissue.NCT_CRC_HE:
        for top, prefix, count in (("NCT-CRC-HE-100K", "", 8), ("CRC-VAL-HE-7K", "TCGA-", 1)):
            for _ in range(count):
                letters = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 8))
                path = root / "NCT-CRC-HE" / top / folder / f"{folder}-{prefix}{letters}.tif"
                tissue.write_tile(path, folder, 224, rng)
