"""A slide from its file to its results, against the network alone on the same windows, already in memory.

    python benchmarks/slide_overhead.py --width 64 --rounds 3

What is added is reading, decoding, cutting windows, post-processing, stitching and writing. The network is run as in
`histoseg segment --engine eager` in both. Objects are those that colours show, as random weights find specks; finding
them belongs to the network in both.

A patch is one of 144 pixels, as the published windows give: 25 of them are one of our windows. TIAToolbox's engine was
measured to take 42 to 49 ms a patch of 448 pixels more than the bare model, on another day; that is the reference
(= 1) of the last row, at 42. Ours is CPU time of all threads, of which most passes while the network computes.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from _slides import MPP, ColourRegions, settled_network
from _timing import Finding, Times, compare, one_thread, print_times, table

from histoseg.demo.slides import write_slide
from histoseg.engines import Execution
from histoseg.inference.segment import segment_slide
from histoseg.maps.windows import MarginWindows, read_windows
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import Cerberus
from histoseg.models.network import Network, require_kind
from histoseg.models.weights import Model
from histoseg.slides.options import SegmentOptions
from histoseg.slides.reader import open_slide
from histoseg.store.objects import FileStore

PUBLISHED_PX, TIATOOLBOX_S, GOAL_S = 144, 0.042, 0.005
EAGER, WINDOWS = Execution(engine="eager"), MarginWindows()
CLASSES = {
    "nuclei_type": ("background", *"abcdef"),
    "gland_type": ("background", "a", "b"),
    "tissue": ("background", *"abcdefgh"),
}
BARE = "the network alone"


@dataclass(frozen=True, kw_only=True)
class ColourSpec(CerberusSpec):
    """Settings whose regions have the objects that colours show."""

    def regions(
        self, network: Cerberus, *, heads: Collection[str] = (), mpp: float = MPP, execution: Execution | None = None
    ) -> ColourRegions:
        return ColourRegions(network, mpp, tuple(heads), execution=execution)


def run(widths: Mapping[int, tuple[int, int]] | None = None, rounds: int = 3) -> list[Finding]:
    """For each width a slide of so many windows; 7 x 7 are more than what pictures and maps of labels are drawn of."""
    findings = []
    with tempfile.TemporaryDirectory(prefix="histoseg-benchmark-") as name:
        for width, (rows, columns) in (widths or {8: (7, 7), 64: (1, 2)}).items():
            findings += measure(Path(name), width, rows, columns, rounds)
    return findings


def measure(folder: Path, width: int, rows: int, columns: int, rounds: int) -> list[Finding]:
    """Whole slides in turn with the network alone."""
    path = folder / f"{width}.tif"
    write_slide(path, width=720 * columns, height=720 * rows, mpp=MPP, seed=1)
    network: Network = settled_network(width)
    spec = ColourSpec(width=width, contour=True)
    model = Model(
        spec=spec,  # type: ignore[arg-type]  # its methods take a Cerberus
        network=network,
        classes=CLASSES,
        mpp=MPP,
        origin="made up",
        sha256="0" * 64,
    )
    options = SegmentOptions(windows=WINDOWS, mask="none", execution=EAGER)
    walls, cpus = interleaved_twice(
        {"histoseg": partial(segment, path, model, options, folder), BARE: bare(path, model)}, rounds
    )
    patches = rows * columns * (720 // PUBLISHED_PX) ** 2
    part = f"a slide of {rows * columns} windows of 1024, width {width}"
    print(f"\n{part}")
    print_times(walls)
    print_times({f"{name}, CPU": seconds for name, seconds in cpus.items()})
    goals = {BARE: 1 / 1.15} if width >= 64 else {}  # What is added does not depend on the width.
    findings = [*compare(walls, part, goals), *compare(cpus, f"{part}, CPU", goals)]
    if width < 64:  # Beside a wide network what is added is less than what its own time varies by.
        findings.append(_added(cpus, patches, f"{part}: CPU added to a patch"))
    return findings


def _added(times: Times, patches: int, part: str) -> Finding:
    """What a patch of the published tiling takes more than in the network alone."""
    added_s = [(whole - alone) / patches for whole, alone in zip(times["histoseg"], times[BARE], strict=True)]
    return Finding(
        part=part,
        reference="TIAToolbox, 42 ms",
        ratios=tuple(TIATOOLBOX_S / max(each, 1e-4) for each in added_s),
        goal=TIATOOLBOX_S / GOAL_S,
        note=f"{1000 * statistics.median(added_s):.1f} ms",
    )


def segment(path: Path, model: Model, options: SegmentOptions, folder: Path) -> None:
    out = folder / "results"
    summary, _ = segment_slide(str(path), model, FileStore(out), options)
    if not summary.counts["nuclei"].all:
        raise ValueError("no nuclei were found; expected those that are drawn")
    shutil.rmtree(out)


def bare(path: Path, model: Model) -> Callable[[], object]:
    """The network on all windows of the slide, whose pixels are cut beforehand."""
    with open_slide(str(path)) as slide:
        image = slide.read(0, 0, *slide.size_at(MPP), MPP)
    regions = ColourRegions(require_kind(model.network, Cerberus), MPP, execution=EAGER)
    windows = WINDOWS.over(image, regions.unit_px)
    cut = [torch.from_numpy(pixels) for _, pixels in read_windows(image, windows, 1)]
    runner = regions._runner(windows[0])

    def call() -> None:
        with torch.inference_mode():
            for images in cut:
                runner(lambda forward, images: list(regions.by_colour(forward(images), images)), images)

    return call


def interleaved_twice(
    calls: Mapping[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds, and CPU seconds of all threads, of each call in each round after one that is not counted."""
    walls: dict[str, list[float]] = {name: [] for name in calls}
    cpus: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
    return {name: each[1:] for name, each in walls.items()}, {name: each[1:] for name, each in cpus.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, help="of the network; without it, 8 and the published 64")
    parser.add_argument("--rows", type=int, default=1, help="of windows")
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    one_thread()
    widths = {arguments.width: (arguments.rows, arguments.columns)} if arguments.width else None
    print(table(run(widths, arguments.rounds)))


if __name__ == "__main__":
    main()
