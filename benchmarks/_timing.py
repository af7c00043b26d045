"""Interleaved timing: every competitor runs once a round, so that a slow moment of the machine hits all of them."""

import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

Times = Mapping[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the table.

    Attributes:
        part: What was compared.
        reference: Against what.
        ratios: Reference over ours, one a round: above 1, ours is better. None where the reference is missing.
        goal: What the median should reach; 0 means that none is set.
        note: What a reader must know; why the reference is missing.
    """

    part: str
    reference: str
    ratios: tuple[float, ...]
    goal: float = 0.0
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the goal is met; a dash where there is none."""
        if not self.ratios or not self.goal:
            return "-"
        return "yes" if statistics.median(self.ratios) >= self.goal else "NO"


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int, before: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Seconds of each call in each round, after one round that is not counted; `before` each call, untimed."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            before()
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: seconds[1:] for name, seconds in times.items()}


def ratios(times: Times, reference: str, ours: str = "histoseg") -> tuple[float, ...]:
    """How many times as long the reference took as ours, in each round."""
    return tuple(theirs / own for theirs, own in zip(times[reference], times[ours], strict=True))


def compare(times: Times, part: str, goals: Mapping[str, float]) -> list[Finding]:
    """A finding for each competitor of `histoseg`; those not in `goals` have none."""
    others = (name for name in times if name != "histoseg")
    return [
        Finding(part=part, reference=name, ratios=ratios(times, name), goal=goals.get(name, 0.0)) for name in others
    ]


def missing(part: str, reference: str, reason: object) -> Finding:
    """The line of a reference that is not there to be compared with."""
    return Finding(part=part, reference=reference, ratios=(), note=f"not measured: {reason}")


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    kept = list(values)
    if len(kept) < 2:
        return kept[0], kept[0], kept[0]
    low, middle, high = statistics.quantiles(kept, n=4, method="inclusive")
    return low, middle, high


def table(findings: Iterable[Finding]) -> str:
    """The findings as a Markdown table."""
    lines = ["| part | reference (= 1) | ours | quartiles | goal | met |", "|---|---|---|---|---|---|"]
    for finding in findings:
        name = f"| {finding.part} | {finding.reference} |"
        if not finding.ratios:
            lines.append(f"{name} {finding.note} | | | |")
            continue
        low, middle, high = (_rounded(value) for value in spread(finding.ratios))
        goal = f"≥ {finding.goal:g}x" if finding.goal else "-"
        note = f" ({finding.note})" if finding.note else ""
        lines.append(f"{name} {middle}x{note} | {low} to {high} | {goal} | {finding.verdict} |")
    return "\n".join(lines)


def _rounded(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(max(value, 1e-3))))}f}"


def print_times(times: Times, unit: str = "ms", per: float = 1.0) -> None:
    """The median of each competitor, in milliseconds, or in what `unit` says if that is a rate of `per` things."""
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        value = 1000 * middle / per if unit.startswith("ms") else per / middle
        print(f"  {name:48}{value:12.2f} {unit}")


def one_thread() -> None:
    """Torch and OpenCV on one thread each: two that wait for the same cores measure the waiting."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def findings_of(name: str) -> list[Finding]:
    """What one benchmark found; for a process of its own."""
    one_thread()
    found: list[Finding] = importlib.import_module(name).run()
    return found


def in_own_process(script: str, arguments: Iterable[str]) -> dict[str, float]:
    """The JSON object that a script prints as its last line, run in a process of its own."""
    command = [sys.executable, script, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def resident_bytes(field: str = "VmRSS") -> int:
    """Memory of this process now, or with "VmHWM" at its highest since `forget_peak`; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def forget_peak() -> None:
    """Let the highest memory be counted from now on."""
    Path("/proc/self/clear_refs").write_text("5")
