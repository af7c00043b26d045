"""STAPLE of six raters: ours against SimpleITK's `MultiLabelSTAPLE`, equal labels demanded.

python benchmarks/staple.py [--size 1024] [--rounds 3]
"""

import argparse
from functools import partial
from typing import Any

import cv2
import numpy as np
from _timing import Finding, compare, interleaved, missing, one_thread, print_times, table

from histoseg.maps.consensus import staple
from histoseg.types import IGNORE

NUM_RATERS = 6
NUM_CLASSES = 6  # As Gleason 2019 has; four of them are drawn, one only in tied votes.
NUM_DRAWN = 4
SIZE_PX, NUM_ROUNDS = 512, 2
GOAL, GOAL_PX = 50.0, 5120  # The ratio grows with the size, so the goal holds for a whole core of Gleason 2019.


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
    import SimpleITK

    itk: Any = SimpleITK  # It has no type hints.
    staple_filter = itk.MultiLabelSTAPLEImageFilter()
    staple_filter.SetLabelForUndecidedPixels(IGNORE)
    result = staple_filter.Execute([itk.GetImageFromArray(labels) for labels in maps])
    return np.asarray(itk.GetArrayFromImage(result))


def run(size_px: int = SIZE_PX, rounds: int = NUM_ROUNDS) -> list[Finding]:
    """Equal labels, then time."""
    maps = draw_maps(size_px, np.random.default_rng(0))
    part, ours = f"STAPLE of six raters, {size_px}²", staple(maps, NUM_CLASSES)
    try:
        theirs = reference(maps)
    except ImportError as error:
        return [missing(part, "SimpleITK", error)]
    if not np.array_equal(ours, theirs):
        raise SystemExit(f"labels differ at {(ours != theirs).sum()} pixels")
    calls = {"histoseg": partial(staple, maps, NUM_CLASSES), "SimpleITK": partial(reference, maps)}
    times = interleaved(calls, rounds)
    print(f"{part}: labels equal, {(ours == IGNORE).mean():.2%} undecided")
    print_times(times)
    return compare(times, part, {"SimpleITK": GOAL if size_px >= GOAL_PX else 0.0})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE_PX)
    parser.add_argument("--rounds", type=int, default=NUM_ROUNDS)
    options = parser.parse_args()
    print(table(run(options.size, options.rounds)))


if __name__ == "__main__":
    one_thread()
    main()
