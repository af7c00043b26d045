"""Made-up CRC-TP: tiles of one tissue each."""

from pathlib import Path

import numpy as np

from histoseg.demo import tissue
from histoseg.sources import _tissue


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write six made-up tiles per class for training and two for testing, as the published Fold2."""
    for folder in (*_tissue.CRC_TP, "Complex Stroma"):
        for half, numbers in (("Training", range(1, 7)), ("Testing", range(7, 9))):
            for number in numbers:
                path = root / "CRC-TP" / "Fold2" / half / folder / f"{folder.replace(' ', '')}_{number}.png"
                tissue.write_tile(path, folder, 150, rng)
