"""What many runs at a time cost a cluster's head, and what each run costs: `python -m tests.many_runs 8 32 128`.

A real Ray on this machine, with a head that computes nothing and one other node with made-up CPUs, and a real S3
server. The trainings wait instead of computing (`stub.py`). Without `--torch`, torch is an empty package for them, so
that 128 fit a machine with 24 GiB; the head's processes do not import it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import psutil

from ray_jobs import local_store as stores
from tests.many_runs.driver import WAVES
from tests.many_runs.stub import GO
from tests.ray_jobs.nodes import free_ports, nodes

ROOT = Path(__file__).parents[2]
PATIENCE_S = 1800
# Ray and our own modules import torch and name its parts, but where a training only waits, they use none.
EMPTY_TORCH = """
import importlib.machinery, sys, types

class Part(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Part(name, (), {"__init__": lambda self, *_, **__: None})

class Finder:
    def find_spec(name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, Finder, is_package=True) if name.startswith("torch.") else None
    def create_module(spec):
        return types.ModuleType(spec.name)
    def exec_module(module):
        module.__getattr__ = lambda name: Part.__getattr__(Part, name)

sys.meta_path.append(Finder)
__getattr__ = lambda name: Part.__getattr__(Part, name)
"""
COLUMNS = (
    "runs at a time",
    "head, MB",
    "process of a run, MB",
    "its start, CPU s",
    "next run in it, CPU s",
    "from end to next begin, s",
    "head, CPU s a run",
    "store requests a run",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured with one number of runs at a time."""

    num_runs: int
    head_mb: float  # The head's processes and the driver; a page of memory that n processes share counts 1/n for each
    trial_mb: float  # The median process of a run
    start_cpu_s: float  # From the process's own start until the training begins, median
    next_cpu_s: float  # From the end of a training to the begin of the next one in the same process, median
    gap_s: float  # The same as a time, median
    longest_gap_s: float
    head_cpu_s: float  # For each run
    requests: float  # To the store, for each run

    @property
    def cells(self):
        """The row as text, in the order of COLUMNS."""
        gap = f"{self.gap_s:.2f} (longest {self.longest_gap_s:.2f})"
        numbers = (f"{self.start_cpu_s:.1f}", f"{self.next_cpu_s:.2f}", gap, f"{self.head_cpu_s:.2f}")
        return str(self.num_runs), f"{self.head_mb:.0f}", f"{self.trial_mb:.0f}", *numbers, f"{self.requests:.0f}"


def main():
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.many_runs", description=__doc__)
    parser.add_argument("runs", type=int, nargs="*", help="how many at a time (default: 8 32)")
    parser.add_argument("--torch", action="store_true", help="import the real torch in each process that trains")
    asked = parser.parse_args()
    rows = []
    for num_runs in asked.runs or (8, 32):
        rows.append(measure(num_runs, asked.torch))
        print(rows[-1], flush=True)
    for cells in (COLUMNS, ["---"] * len(COLUMNS), *(row.cells for row in rows)):
        print(f"| {' | '.join(cells)} |")
    if len(rows) > 1:
        share = (rows[-1].head_mb - rows[0].head_mb) / (rows[-1].num_runs - rows[0].num_runs)
        print(f"each further run at a time takes {share:.1f} MB of the head")


def measure(num_runs, has_torch):
    """Two waves of so many runs: all of the first at the same time, then the others in the same processes."""
    with tempfile.TemporaryDirectory(prefix="many-runs-") as name, store_of(Path(name)) as (store, count_requests):
        folder = Path(name)
        (folder / "notes").mkdir()
        with nodes(folder / "nodes", environment(folder, store.environment, has_torch)) as ray:
            ray.start_worker("workers", num_cpus=num_runs)
            time.sleep(10)  # Ray's own processes go on starting for a while.
            cpu_s, requests = sum_cpu_s(ray.processes("head")), count_requests()
            with driver_of(ray, folder, num_runs, store.url) as driver:
                await_begun(folder, num_runs, driver)
                head_mb = sum_pss_mb([*ray.processes("head"), *tree(driver.pid)])
                trial_mb = statistics.median(sum_pss_mb([psutil.Process(pid)]) for pid in begun(folder))
                spent = cpu_s_until_end(ray, folder, driver)
            requests = count_requests() - requests
        starts, gaps = starts_and_gaps(folder)
        return Row(
            num_runs=num_runs,
            head_mb=head_mb,
            trial_mb=trial_mb,
            start_cpu_s=statistics.median(starts),
            next_cpu_s=statistics.median(cpu for cpu, _ in gaps) if gaps else float("nan"),
            gap_s=statistics.median(seconds for _, seconds in gaps) if gaps else float("nan"),
            longest_gap_s=max((seconds for _, seconds in gaps), default=float("nan")),
            head_cpu_s=(spent - cpu_s) / (WAVES * num_runs),
            requests=requests / (WAVES * num_runs),
        )


@contextmanager
def store_of(folder):
    """An S3 server, and a function that says how many requests it has answered, by its own metrics."""
    (port,) = free_ports(1)
    command = stores._command
    with (
        patch.object(stores, "_command", lambda *given: [*command(*given), f"-metricsPort={port}"]),
        stores.local_store(folder / "store") as store,
    ):

        def count():
            with urllib.request.urlopen(f"http://{stores.LOCALHOST}:{port}/metrics", timeout=30) as answer:
                lines = answer.read().decode().splitlines()
            return sum(
                float(line.rpartition(" ")[2]) for line in lines if line.startswith("SeaweedFS_s3_request_total")
            )

        yield store, count


def environment(folder, store, has_torch):
    """The variables of all of Ray's processes."""
    if has_torch:
        return store
    (folder / "empty/torch").mkdir(parents=True)
    (folder / "empty/torch/__init__.py").write_text(EMPTY_TORCH)
    return {**store, "PYTHONPATH": f"{folder / 'empty'}{os.pathsep}{ROOT}"}


@contextmanager
def driver_of(ray, folder, num_runs, store):
    """The driver as a process."""
    command = [sys.executable, "-m", "tests.many_runs.driver", str(num_runs), store, str(folder)]
    variables = {**ray.environment, "RAY_ADDRESS": f"{stores.LOCALHOST}:{ray.gcs}"}
    with (folder / "driver.log").open("wb") as log:
        driver = subprocess.Popen(command, env=variables, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield driver
            if driver.wait():
                raise RuntimeError((folder / "driver.log").read_text())
        finally:
            driver.kill()


def await_begun(folder, num_runs, driver):
    """Wait until so many trainings have begun and nothing starts any more."""
    deadline = time.monotonic() + PATIENCE_S
    while len(begun(folder)) < num_runs:
        if driver.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{len(begun(folder))} of {num_runs} began: {(folder / 'driver.log').read_text()}")
        time.sleep(1)
    time.sleep(5)


def cpu_s_until_end(ray, folder, driver):
    """Let the trainings end; returns what head and driver have spent by then."""
    (folder / GO).touch()
    spent = 0.0
    while driver.poll() is None:
        spent = max(spent, sum_cpu_s([*ray.processes("head"), *tree(driver.pid)]))
        time.sleep(0.5)
    return spent


def begun(folder):
    """The processes in which a training has begun."""
    return [int(path.stem) for path in (folder / "notes").glob("*.pid")]


def starts_and_gaps(folder):
    """The CPU seconds of each process until its first training, and CPU seconds and seconds between two in one."""
    notes = [json.loads(path.read_text()) for path in (folder / "notes").glob("*.json")]
    starts, last, gaps = {}, {}, []
    for note in sorted(notes, key=lambda note: note["begin"]["at"]):
        pid, begin = note["pid"], note["begin"]
        if before := last.get(pid):
            gaps.append((begin["cpu_s"] - before["cpu_s"], begin["at"] - before["at"]))
        starts.setdefault(pid, begin["cpu_s"])
        last[pid] = note["end"]
    return list(starts.values()), gaps


def tree(pid):
    """A process and all below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def sum_pss_mb(processes):
    return sum(of_living(processes, lambda process: process.memory_full_info().pss)) / 2**20


def sum_cpu_s(processes):
    return sum(of_living(processes, lambda process: sum(process.cpu_times()[:2])))


def of_living(processes, ask):
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            yield ask(process)


if __name__ == "__main__":
    main()
