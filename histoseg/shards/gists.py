"""The gist of each stored picture, by which near copies, encoded or scaled otherwise, are found among those written.

It costs a pass over pixels that are in memory anyway, where fingerprints (`fingerprint.py`) would read each file twice.
"""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from scipy.spatial import cKDTree

from histoseg.errors import DataError
from histoseg.files.folders import MAX_NAMED
from histoseg.shards.stored import ShardColumns, ShardPart

SIDE_PX = 16
# Grey levels by which cells of near copies differ at most. Measured on 15 images of GlaS and MoNuSeg: JPEG of quality
# 75 differs by 1, half and twice the resolution by 5; of two different images some cell always differs by 50 and more.
NEAR = 6
MIN_DEVIATION = 6.0  # Of the cells of a picture: empty glass, which looks like any other, is under 1.
COARSE_PX = 4  # Cells are averaged to so many a side to find pairs quickly.

Gists = UInt8[np.ndarray, "N 256"]


def gists_of(tar: Path, columns: ShardColumns) -> list[str]:
    """The gist of each sample of a tar, in grey, as base64."""
    pixels = np.memmap(tar, np.uint8, "r")
    places = zip(columns.image_offset, columns.height, columns.width, strict=True)
    return [_encode(pixels[begin : begin + 3 * h * w].reshape(h, w, 3)) for begin, h, w in places]


def _encode(image: np.ndarray) -> str:
    # Every other row: it takes half of the time, and a cell's mean stays, as neighbouring rows are alike.
    small = cv2.resize(image[::2], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).tobytes()).decode()


def refuse_near_copies(source: str, parts: Sequence[ShardPart]) -> None:
    """Refuse the same picture in two splits.

    Raises:
        DataError: If there is one; the text names the images, their patients and splits.
    """
    rows = [(part, i) for part in parts for i in range(len(part.gists))]
    gists = np.array([list(base64.b64decode(part.gists[i])) for part, i in rows], np.uint8).reshape(-1, SIDE_PX**2)
    names = [f"{part.samples.image[i]} (patient {part.samples.patient[i]}, {part.shard.split})" for part, i in rows]
    near = ((i, j) for i, j in find_near(gists) if rows[i][0].shard.split != rows[j][0].shard.split)
    pairs = list(dict.fromkeys(f"{names[i]} and {names[j]}" for i, j in near))  # Once for all tiles of two images
    if pairs:
        more = f"; and {len(pairs) - MAX_NAMED} more" if len(pairs) > MAX_NAMED else ""
        raise DataError(
            f"{source}: the same picture is in two splits: {'; '.join(pairs[:MAX_NAMED])}{more}; give the images of"
            " each pair one patient, or remove one"
        )


def find_near(gists: Gists) -> Iterator[tuple[int, int]]:
    """The pairs of pictures whose cells are all nearly equal, by position; plain pictures are left out."""
    shown = np.flatnonzero(gists.std(axis=1) >= MIN_DEVIATION)
    levels = gists[shown].astype(np.float32)
    factor = SIDE_PX // COARSE_PX
    coarse = levels.reshape(-1, COARSE_PX, factor, COARSE_PX, factor).mean(axis=(2, 4)).reshape(-1, COARSE_PX**2)
    pairs = cKDTree(coarse).query_pairs(NEAR, p=np.inf) if len(coarse) else set()
    for i, j in sorted(pairs):
        if np.abs(levels[i] - levels[j]).max() <= NEAR:
            yield int(shown[i]), int(shown[j])
