"""STAPLE of six raters: ours against SimpleITK's `MultiLabelSTAPLE`, equal labels demanded.

python benchmarks/staple.py [--size 1024] [--repeats 3]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import SimpleITK

from histoseg.consensus import staple
from histoseg.types import IGNORE

NUM_RATERS = 6
NUM_CLASSES = 6  # As Gleason 2019 has; four of them are drawn, one only in tied votes.
NUM_DRAWN = 4


def draw_maps(size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Six raters' maps of one core: shifted borders and now and then another label for a whole region.

    In the last rows raters say 0 and 5 in turn. No majority ever says 5, so no truth explains it: undecided.
    """
    heights = np.stack([smooth(size, size / 8, rng) for _ in range(NUM_DRAWN)])
    truth = heights.argmax(axis=0).astype(np.uint8)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    maps = []
    for rater in range(NUM_RATERS):
        down, right = (size / 100 * smooth(size, size / 16, rng) for _ in range(2))
        labels = cv2.remap(truth, columns + right, rows + down, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
        labels[(smooth(size, size / 10, rng) > 1.5) & (labels == rater % NUM_DRAWN)] = (rater + 1) % NUM_DRAWN
        labels[-(size // 50) :] = 5 * ((rater + np.arange(size)) % 2)
        maps.append(labels)
    return maps


def smooth(size: int, grain_px: float, rng: np.random.Generator) -> np.ndarray:
    coarse = rng.standard_normal((int(size / grain_px) + 2,) * 2).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))


def reference(maps: list[np.ndarray]) -> np.ndarray:
    itk: Any = SimpleITK  # It has no type hints.
    staple_filter = itk.MultiLabelSTAPLEImageFilter()
    staple_filter.SetLabelForUndecidedPixels(IGNORE)
    result = staple_filter.Execute([itk.GetImageFromArray(labels) for labels in maps])
    return np.asarray(itk.GetArrayFromImage(result))


def timed(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    maps = draw_maps(options.size, np.random.default_rng(0))
    ratios = []
    for _ in range(options.repeats):
        theirs_s, theirs = timed(lambda: reference(maps))
        ours_s, ours = timed(lambda: staple(maps, NUM_CLASSES))
        if not np.array_equal(ours, theirs):
            raise SystemExit(f"labels differ at {(ours != theirs).sum()} pixels")
        ratios.append(theirs_s / ours_s)
        print(f"SimpleITK {theirs_s:.2f} s  ours {ours_s:.3f} s  undecided {(ours == IGNORE).mean():.2%}")
    spread = f"{statistics.median(ratios):.0f} times as fast ({min(ratios):.0f} to {max(ratios):.0f})"
    print(f"{options.size}x{options.size}, labels equal: {spread}")


if __name__ == "__main__":
    main()
