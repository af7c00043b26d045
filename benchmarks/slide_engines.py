"""Engines on a CPU: torch's own way as before, with normalisation folded, with kept memory, compiled, and OpenVINO.

    python benchmarks/slide_engines.py --width 64 --core 144 --rounds 5

One window with the published margin of 152 pixels, six heads, decoders cropped in all, one thread. Probabilities and
classes of every engine are compared with those of the unchanged network before anything is timed; bfloat16 may differ,
and its row says by how much. What kept memory gains is measured in processes of their own, as it cannot be taken back.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable

import torch
from _slides import draw_mucosa, settled_network
from _timing import Finding, in_own_process, interleaved, missing, one_thread, print_times, ratios, table

from histoseg.engines.compiled import can_compile, compile_heads
from histoseg.engines.eager import Forward, run_eagerly
from histoseg.engines.heap import keep_freed_memory
from histoseg.engines.openvino_cpu import convert_heads
from histoseg.engines.trial import TOLERANCES, differ
from histoseg.maps.windows import Window
from histoseg.models.cerberus.fold import fold_norms
from histoseg.models.cerberus.heads import AllHeads
from histoseg.runs.extras import is_installed

MARGIN_PX = 152
GOAL = 1.4
UNCHANGED, BFLOAT16 = "eager, unchanged", "bf16"


def run(width: int = 32, core: int = 288, rounds: int = 5) -> list[Finding]:
    """Each engine against the unchanged network, and the memory of the process."""
    keep_freed_memory()
    part = f"one window of {core + 2 * MARGIN_PX}², six heads, width {width}"
    images = draw_images(core)
    engines, notes = make_engines(width, core, images)
    times = interleaved({name: _call(forward, images) for name, forward in engines.items()}, rounds)
    print(f"\n{part}")
    print_times(times)
    findings = [
        Finding(
            part=f"{part}: {name}",
            reference=UNCHANGED,
            ratios=ratios(times, UNCHANGED, name),
            note=notes[name],
            goal=GOAL if name == "OpenVINO" else 0.0,
        )
        for name in engines
        if name != UNCHANGED
    ]
    missed = [name for name in ("compiled", "OpenVINO") if name not in engines]
    return [
        *findings,
        *(missing(part, name, "not installed") for name in missed),
        *([compare_memory(width, core)] if sys.platform == "linux" else []),
    ]


def draw_images(core: int) -> torch.Tensor:
    return torch.from_numpy(draw_mucosa(core + 2 * MARGIN_PX))[None].contiguous()


def make_engines(width: int, core: int, images: torch.Tensor) -> tuple[dict[str, Forward], dict[str, str]]:
    """The engines that are there, and how much each differs and took to make; stop if one gives something else."""
    network = settled_network(width)
    window = Window(top=0, left=0, height=core, width=core, margin_px=MARGIN_PX)
    heads = AllHeads(fold_norms(network), list(network.decoders), window)
    makers: dict[str, Callable[[], Forward]] = {
        UNCHANGED: lambda: run_eagerly(AllHeads(network, list(network.decoders), window), "fp32"),
        "eager, folded": lambda: run_eagerly(heads, "fp32"),
        BFLOAT16: lambda: run_eagerly(heads, "bf16"),
    }
    if can_compile(images.device):
        makers["compiled"] = lambda: compile_heads(heads, "fp32")
    if is_installed("openvino"):
        makers["OpenVINO"] = lambda: convert_heads(heads, images)
    engines: dict[str, Forward] = {}
    notes: dict[str, str] = {}
    for name, make in makers.items():
        begin = time.perf_counter()
        engines[name] = make()
        found = engines[name](images)
        made_s = time.perf_counter() - begin
        difference, agreement = differ(engines[UNCHANGED](images), found)
        tolerance = TOLERANCES["fp32"]
        if name != BFLOAT16 and (difference > tolerance.difference or agreement < tolerance.agreement):
            raise ValueError(f"{name} differs by {difference:.2g}, {agreement:.3%} of classes are equal")
        notes[name] = f"differs by {difference:.1g}, {agreement:.3%} of classes equal, made in {made_s:.0f} s"
    return engines, notes


def _call(forward: Forward, images: torch.Tensor) -> Callable[[], object]:
    return lambda: forward(images)


def compare_memory(width: int, core: int, rounds: int = 3) -> Finding:
    """A window in a process that keeps its memory against one in which the system gives and takes it."""
    found: dict[str, list[float]] = {"kept": [], "given back": []}
    for _ in range(rounds):
        for name, seconds in found.items():
            arguments = ["--alone", name, "--width", str(width), "--core", str(core)]
            seconds.append(in_own_process(__file__, arguments)["seconds"])
    print_times(found)
    return Finding(
        part=f"the same, folded, {core + 2 * MARGIN_PX}²: memory that is kept",
        reference="given back",
        ratios=ratios(found, "given back", "kept"),
    )


def time_alone(name: str, width: int, core: int) -> None:
    """Print the median time of a window as a JSON object."""
    if name == "kept":
        keep_freed_memory()
    network, images = settled_network(width), draw_images(core)
    window = Window(top=0, left=0, height=core, width=core, margin_px=MARGIN_PX)
    forward = run_eagerly(AllHeads(fold_norms(network), list(network.decoders), window), "fp32")
    times = interleaved({"": _call(forward, images)}, 5)[""]
    print(json.dumps({"seconds": sorted(times)[2]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--core", type=int, default=288)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", choices=["kept", "given back"], help="for the benchmark itself")
    arguments = parser.parse_args()
    one_thread()
    if arguments.alone:
        time_alone(arguments.alone, arguments.width, arguments.core)
    else:
        print(table(run(arguments.width, arguments.core, arguments.rounds)))


if __name__ == "__main__":
    main()
