"""Made-up Kather 5K: tiles of one tissue each."""

from pathlib import Path

import numpy as np

from histoseg.demo import tissue
from histoseg.sources import _tissue
from histoseg.sources.kather5k import LAYOUT


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write nine made-up tiles per class, one of each of nine slides, in the published layout."""
    top = root / "Kather5K" / "Kather_texture_2016_image_tiles_5000"
    folders = (*_tissue.KATHER5K, *LAYOUT.ambiguous)
    for i, folder in enumerate(folder for folder in folders for _ in range(9)):
        name = f"{0x1A11 + i:X}_CRC-Prim-HE-{i % 9 + 1:02}_{i:03}.tif_Row_{150 * i + 1}_Col_151.tif"
        tissue.write_tile(top / folder / name, folder, 150, rng)
