"""599 slides on 64 GPUs: `python -m tests.many_runs.slides` measures the driver and then simulates the cluster.

The driver is the real one, on a real Ray on this machine, with as many batches in flight as 64 GPUs have, and processes
that only wait (`slide_stub.py`). What it spends on a batch goes into the simulation, in which a GPU takes as long for a
region as is assumed.
"""

import argparse
import heapq
import logging
import random
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import psutil

from histoseg.runs.request import Request
from ray_jobs.cluster import local_ray
from ray_jobs.cohort import batch_size, num_open
from ray_jobs.shares import Shares
from tests.many_runs import slide_stub

SLIDES, GPUS, EACH = 599, 64, 2  # 599 slides are the largest cohort of the Cerberus paper (TCGA).
SPREAD = 0.5  # Of the logarithm of a slide's number of regions
ACTORS = 8  # Processes of the measurement, each of which has as many batches at a time as eight GPUs


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the driver did."""

    seconds: float
    batches: int  # As many as Ray was given
    cpu_s: float
    before_mb: float
    most_mb: float
    most_objects: int  # In Ray's object store
    most_waiting: int  # Batches


def main():
    """Measure, simulate, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.many_runs.slides", description=__doc__)
    parser.add_argument("--slides", type=int, default=SLIDES, help="how many are measured")
    parser.add_argument("--only-simulate", type=float, metavar="CPU_S", help="the driver's CPU seconds for a batch")
    asked = parser.parse_args()
    cpu_s = asked.only_simulate
    if cpu_s is None:
        found = measure(asked.slides)
        cpu_s = found.cpu_s / found.batches
        print(found)
        print(f"{found.batches / found.seconds:.0f} batches a second, {1000 * cpu_s:.1f} ms of CPU each")
    print("| GPU, s a region | open + finish, s | all slides, h | GPUs busy | batches waiting, most | driver busy |")
    print("|---|---|---|---|---|---|")
    for region_s in (0.25, 0.5, 1, 2, 4):
        for outside_s in (20, 60, 180):
            print(simulate(region_s, outside_s, cpu_s, random.Random(0)))


def measure(slides):
    """Have the real driver hand out all batches of so many slides."""
    shares = Shares(actors=ACTORS, actor_gpus=0, calls_each=GPUS * EACH // ACTORS, task_cpus=0.25)
    names = [f"s3://lab/scans/{i:04d}.svs" for i in range(slides)]
    with tempfile.TemporaryDirectory(prefix="many-slides-") as folder, local_ray(Path(folder) / "ray", num_cpus=8):
        from ray_jobs import cohort
        from ray_jobs import slides as driver

        request = Request(experiment="slides", slides="x", model="/model", into=f"{folder}/out")
        stand_ins = {"find_slides": lambda _: names, "share_out": lambda _: shares, "Segmenter": slide_stub.Segmenter}
        stand_ins["describe_model"] = slide_stub.describe_model
        computed = {"look_at_slide": slide_stub.look_at_slide, "finish_slide": slide_stub.finish_slide}
        with patch.multiple(driver, **stand_ins), patch.multiple(cohort, **computed), watched(driver) as watch:
            begun, spent_s = time.monotonic(), cpu_seconds()
            driver.segment_cohort(request, "", Path(folder), Path(folder), nullcontext)
            return Measured(
                seconds=time.monotonic() - begun,
                batches=watch.batches,
                cpu_s=cpu_seconds() - spent_s,
                before_mb=watch.before_mb,
                most_mb=watch.most_mb,
                most_objects=watch.most_objects,
                most_waiting=watch.most_waiting,
            )


class Watch:
    """What is seen of the driver each second, and how many batches it hands out."""

    def __init__(self):
        self.before_mb = self.most_mb = memory_mb()
        self.batches = self.most_objects = self.most_waiting = 0
        self.calls = None

    def look(self, over):
        while not over.wait(1):
            self.most_mb = max(self.most_mb, memory_mb())
            self.most_objects = max(self.most_objects, count_objects())
            self.most_waiting = max(self.most_waiting, self.calls.num_waiting if self.calls else 0)

    def put(self, call):
        self.batches += call.needs_actor
        return self.put_call(call)


@contextmanager
def watched(driver):
    """A watch on the driver."""
    watch, over, make = Watch(), threading.Event(), driver.calls

    @contextmanager
    def seen(actors):
        with make(actors) as watch.calls:
            watch.put_call, watch.calls.put = watch.calls.put, watch.put
            yield watch.calls

    thread = threading.Thread(target=watch.look, args=(over,), daemon=True)
    thread.start()
    with patch.object(driver, "calls", seen):
        yield watch
    over.set()
    thread.join()


def memory_mb():
    return psutil.Process().memory_info().rss / 2**20


def cpu_seconds():
    return sum(psutil.Process().cpu_times()[:2])


def count_objects():
    """Objects in the store of this node."""
    import ray
    from ray._private.internal_api import node_stats

    (node,) = ray.nodes()
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
    return stats.store_stats.num_local_objects


def simulate(region_s, outside_s, cpu_s, rng):
    """A row of the table: all slides, whose opening and finishing take `outside_s` together.

    A slide is opened when there is room, then its batches are handed out, the oldest first, by a driver that spends
    `cpu_s` on each. A GPU has two batches at a time, each of which takes twice as long.
    """
    sizes = [max(1, round(slide_stub.REGIONS * rng.lognormvariate(-(SPREAD**2) / 2, SPREAD))) for _ in range(SLIDES)]
    events = []  # When something ends: (time, number, kind, slide, regions)
    waiting, left, numbers = [], {}, iter(range(10**9))
    free, unopened, driver_free_s, driver_s, busy_s, most_waiting, now = GPUS * EACH, 0, 0.0, 0.0, 0.0, 0, 0.0

    def push(at, kind, slide, regions=0):
        heapq.heappush(events, (at, next(numbers), kind, slide, regions))

    for unopened in range(min(num_open(GPUS * EACH), SLIDES)):
        push(outside_s / 3, "opened", unopened)
    while events:
        now, _, kind, slide, regions = heapq.heappop(events)
        if kind == "opened":
            size = batch_size(sizes[slide], len(waiting), GPUS * EACH)
            batches = [min(size, sizes[slide] - i) for i in range(0, sizes[slide], size)]
            left[slide] = len(batches)
            waiting += [(slide, number) for number in batches]
        elif kind == "batch":
            free, left[slide] = free + 1, left[slide] - 1
            if not left[slide]:
                push(now + outside_s * 2 / 3, "finished", slide)
        elif unopened + 1 < SLIDES:
            unopened += 1
            push(now + outside_s / 3, "opened", unopened)
        while free and waiting:
            slide, regions = waiting.pop(0)
            driver_free_s = max(now, driver_free_s) + cpu_s
            driver_s, busy_s, free = driver_s + cpu_s, busy_s + regions * region_s, free - 1
            push(driver_free_s + EACH * region_s * regions, "batch", slide, regions)
        most_waiting = max(most_waiting, len(waiting))
    share = f"{busy_s / GPUS / now:.0%} | {most_waiting} | {driver_s / now:.0%}"
    return f"| {region_s} | {outside_s} | {now / 3600:.2f} | {share} |"


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
