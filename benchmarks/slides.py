"""Patches of 448 pixels with a stride of 288, row by row, against one `openslide.read_region` for each.

    python benchmarks/slides.py

On a made-up slide as wide as the paper's and, where HISTOSEG_REAL_DATA names a folder with WSI, on real ones (Aperio,
JPEG and JPEG 2000). Those are so small that OpenSlide's own cache of 32 MB holds a row of patches, which it does not
for whole slides: there is no goal for them. Both give the same pixels, which is checked; each round opens the slide
anew, so nothing is left from the round before. Tiles are decoded by as many threads as there are cores, up to eight.
The floor is what decoding each tile once takes, without cutting patches from it.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from _timing import Finding, compare, interleaved, one_thread, print_times, table

from histoseg.demo.slides import write_slide
from histoseg.slides.reader import open_slide
from histoseg.types import Image

Reader = Callable[[Path, list[tuple[int, int]]], Iterator[Image]]

PATCH_PX, STRIDE_PX = 448, 288
NUM_ROUNDS = 5
GOAL = 7.0
MADE_UP_PX = 28451, 2400  # Width of the paper's slide (Graham et al. 2023), and seven rows of patches
MADE_UP = "made-up tissue"
UNSTATED_MPP = 0.5  # For files without a resolution: these pixels are read as they are.


def run() -> list[Finding]:
    """One comparison for each slide."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made-up.svs"
        write_slide(path, width=MADE_UP_PX[0], height=MADE_UP_PX[1])
        slides = {MADE_UP: path, **real_slides()}
        return [finding for kind, slide in slides.items() for finding in compare_readers(kind, slide)]


def real_slides() -> dict[str, Path]:
    folder = Path(os.environ.get("HISTOSEG_REAL_DATA", "")) / "WSI"
    found = sorted(folder.glob("*.svs")) if "HISTOSEG_REAL_DATA" in os.environ else []
    if not found:
        print("HISTOSEG_REAL_DATA names no folder with WSI/*.svs: real slides left out")
    return {path.stem: path for path in found}


def compare_readers(kind: str, path: Path) -> list[Finding]:
    boxes = list(grid(path))
    for ours, theirs in zip(with_histoseg(path, boxes), with_openslide(path, boxes), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    readers = {
        "histoseg": partial(read_all, with_histoseg, path, boxes),
        "openslide": partial(read_all, with_openslide, path, boxes),
        "each tile decoded once": partial(decode_once, path),
    }
    times = interleaved(readers, NUM_ROUNDS)
    print(f"\n{kind}: {len(boxes)} patches, equal pixels")
    print_times(times, "ms a patch", len(boxes))
    return compare(times, f"slide patches 448 with 288 stride, {kind}", {"openslide": GOAL} if kind == MADE_UP else {})


def grid(path: Path) -> Iterator[tuple[int, int]]:
    """The upper left corners of all patches, row by row."""
    with open_slide(path, mpp_of(path)) as slide:
        height, width = slide.size_px
    for top in range(0, height - PATCH_PX + 1, STRIDE_PX):
        for left in range(0, width - PATCH_PX + 1, STRIDE_PX):
            yield top, left


def mpp_of(path: Path) -> float | None:
    """What to state for a slide: nothing, unless the file has no resolution."""
    import openslide

    with openslide.OpenSlide(path) as slide:
        return None if openslide.PROPERTY_NAME_MPP_X in slide.properties else UNSTATED_MPP


def with_histoseg(path: Path, boxes: list[tuple[int, int]]) -> Iterator[Image]:
    with open_slide(path, mpp_of(path)) as slide:
        for top, left in boxes:
            yield slide.read(top, left, PATCH_PX, PATCH_PX, slide.mpp)


def with_openslide(path: Path, boxes: list[tuple[int, int]]) -> Iterator[Image]:
    import openslide

    with openslide.OpenSlide(path) as slide:
        for top, left in boxes:
            yield np.asarray(slide.read_region((left, top), 0, (PATCH_PX, PATCH_PX)).convert("RGB"))


def read_all(read: Reader, path: Path, boxes: list[tuple[int, int]]) -> None:
    for _ in read(path, boxes):
        pass


def decode_once(path: Path) -> None:
    """In bands, which fit into the processor's cache better than the whole image."""
    with open_slide(path, mpp_of(path)) as slide:
        height, width = slide.size_px
        for top in range(0, height, STRIDE_PX):
            slide.read(top, 0, min(STRIDE_PX, height - top), width, slide.mpp)


if __name__ == "__main__":
    one_thread()
    print(table(run()))
