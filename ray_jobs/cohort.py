"""The slides of a cohort, some of which are open at a time.

Each of them has a thread here, which holds the slide's lease, has it opened, hands out its regions in batches, and has
it finished when all are done. A slide that fails is noted, and the others go on.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

from histoseg.slides.cohort import slide_name
from histoseg.slides.grid import Region
from histoseg.slides.summary import Summary
from histoseg.store.holders import Holder
from histoseg.store.leases import Lease, leased
from histoseg.store.objects import BRISK, connect
from ray_jobs.calls import Call, Calls, Remote
from ray_jobs.failures import first_line
from ray_jobs.regions import BatchDone, CohortJob, OpenedSlide, area_mm2, finish_slide, leases_of, look_at_slide
from ray_jobs.shares import Shares
from ray_jobs.tally import Tally

logger = logging.getLogger("histoseg.slides")

OPEN_AT_LEAST = 2  # Slides: while one is segmented, another is opened or finished.
BATCH = 8  # Regions at a time, 9 mm2: a process reads the next one while it predicts one, and settles the one before.


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A slide, and its summary or why there is none."""

    address: str
    summary: Summary | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """What the threads of slides share.

    Attributes:
        job: What all slides have in common.
        calls: What computes.
        shares: What each process takes.
        holder: Whose leases on slides are.
        tally: How far it is.
    """

    job: CohortJob
    calls: Calls
    shares: Shares
    holder: Holder
    tally: Tally

    def compute(self, function: Callable[..., object], address: str, *more: object) -> Remote:
        """What a function gives that is computed for a slide anywhere."""
        start = task_of(function, self.shares.task_cpus)
        call = Call(start=lambda *_: start.remote(self.job, address, *more), what=slide_name(address))
        return self.calls.put(call).result()


def segment_all(cohort: Cohort, addresses: Sequence[str]) -> dict[str, Outcome]:
    """What became of each slide."""
    todo, ended = SimpleQueue[str](), SimpleQueue[Outcome]()
    for address in addresses:
        todo.put(address)
    for _ in range(min(len(addresses), num_open(cohort.shares.batches))):
        Thread(target=_work, args=(cohort, todo, ended), daemon=True).start()
    found: dict[str, Outcome] = {}
    try:
        while len(found) < len(addresses):
            outcome = ended.get()
            if cohort.calls.error is not None:
                raise cohort.calls.error
            found[outcome.address] = outcome
            if outcome.summary is None:
                logger.warning("%s has failed, the others go on: %s", slide_name(outcome.address), outcome.error)
    finally:
        while not todo.empty():  # After an interruption no thread begins another slide.
            with suppress(Empty):
                todo.get_nowait()
    return found


def _work(cohort: Cohort, todo: "SimpleQueue[str]", ended: "SimpleQueue[Outcome]") -> None:
    """What a thread does: one slide after the other."""
    while True:
        try:
            address = todo.get_nowait()
        except Empty:
            return
        ended.put(_segment(cohort, address))


def _segment(cohort: Cohort, address: str) -> Outcome:
    cohort.tally.see()
    try:
        with leased(connect(leases_of(cohort.job).url, BRISK), slide_name(address), cohort.holder) as lease:
            outcome = Outcome(address=address, summary=_complete(cohort, address, lease))
    except Exception as error:  # Of any kind: the fault of one slide must not stop the others.
        outcome = Outcome(address=address, error=first_line(error))
    cohort.tally.end(has_failed=outcome.summary is None)
    return outcome


def _complete(cohort: Cohort, address: str, lease: Lease) -> Summary:
    """The summary of a slide, which is segmented unless it was before."""
    import ray

    begun = time.monotonic()
    opened: Summary | OpenedSlide = cohort.compute(look_at_slide, address)
    if isinstance(opened, Summary):
        return opened
    mask = ray.put(opened.mask)
    _segment_regions(cohort, address, mask, opened)
    done: Summary = cohort.compute(finish_slide, address, mask, lease, time.monotonic() - begun)
    logger.info("%s: %s", done.name, done.describe())
    return done


def _segment_regions(cohort: Cohort, address: str, mask: Remote, opened: OpenedSlide) -> None:
    """Have all regions of a slide done, in batches."""
    left_mm2 = area_mm2(opened.undone, opened.mpp)
    cohort.tally.open(opened.mm2, left_mm2)
    size = batch_size(len(opened.undone), cohort.calls.num_waiting, cohort.shares.batches)

    def put(regions: Sequence[Region]) -> "Future[BatchDone]":
        def start(actor: Remote, is_again: bool) -> Remote:
            return actor.segment.remote(address, mask, regions, is_again)

        return cohort.calls.put(Call(start=start, what=slide_name(address), needs_actor=True))

    batches = [opened.undone[i : i + size] for i in range(0, len(opened.undone), size)]
    pending = {put(batch): batch for batch in batches}
    try:
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                batch, done = pending[future], future.result()
                del pending[future]
                if done.left:
                    pending[put(done.left)] = done.left
                mm2 = area_mm2(batch, opened.mpp) - area_mm2(done.left, opened.mpp)
                left_mm2 -= mm2
                cohort.tally.add(mm2, done.objects)
    except BaseException:
        cohort.tally.drop(left_mm2)
        raise
    finally:
        for future in pending:
            future.cancel()


def num_open(at_a_time: int) -> int:
    """How many slides are open where so many batches run at a time: as many; docs/performance.md says why."""
    return max(OPEN_AT_LEAST, at_a_time)


def batch_size(regions: int, waiting: int, at_a_time: int) -> int:
    """Into how large batches a slide is divided; all processes have part in it if few batches of others wait."""
    return max(1, min(BATCH, (regions + BATCH * waiting) // at_a_time))


def task_of(function: Callable[..., object], num_cpus: float) -> Remote:
    """A function as Ray computes it once; `Calls` tries again."""
    import ray

    return ray.remote(num_cpus=num_cpus, max_retries=0)(function)
