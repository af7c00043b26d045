"""A cohort of slides on Ray: `make submit EXP=slides SLIDES=… MODEL=…`.

Some slides are open at a time. Each has a thread here, which holds the slide's lease, has it opened, hands out its
regions in batches, and has it finished when all are done. A slide that fails is noted, and the others go on. What is
done lies in the store, so the same command goes on where this one was, however it ended.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from histoseg.errors import HistosegError
from histoseg.pipeline.cohort import options_of
from histoseg.report.written import Written
from histoseg.runs.request import Request
from histoseg.slides.cohort import find_slides, require_distinct, slide_name
from histoseg.slides.grid import Region
from histoseg.slides.summary import ModelAbout, Summary
from histoseg.store.holders import Holder
from histoseg.store.keys import slides_folder
from histoseg.store.leases import Lease, leased
from histoseg.store.objects import BRISK, connect
from ray_jobs.calls import LOST_AT_MOST, Actors, Call, Calls, Remote, answer, calls
from ray_jobs.capacity import WAIT_S, await_capacity
from ray_jobs.cells import ConnectRay, holder_for, in_own_order
from ray_jobs.failures import first_line
from ray_jobs.gauges import SLIDES, gauges, repeated
from ray_jobs.regions import (
    BatchDone,
    CohortJob,
    OpenedSlide,
    Segmenter,
    area_mm2,
    describe_model,
    finish_slide,
    leases_of,
    look_at_slide,
)
from ray_jobs.shares import ACTOR_CPUS, Shares, share_out
from ray_jobs.tally import Tally

logger = logging.getLogger("histoseg.slides")

SAY_EVERY_S, SHOW_EVERY_S = 15.0, 5.0
# Slides that are open at a time: while some are segmented, others are opened or finished.
OPEN_AT_LEAST, OPEN_FOR_EACH_BATCH = 2, 0.25
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
        start = _task(function, self.shares.task_cpus)
        call = Call(start=lambda *_: start.remote(self.job, address, *more), what=slide_name(address))
        return self.calls.put(call).result()


def segment_cohort(
    request: Request, store: str, out: Path, home: Path, connect_ray: ConnectRay
) -> tuple[Written, HistosegError | None]:
    """Segment all slides that are not done, and write a page of them below `out`; returns it, and what failed.

    Args:
        request: What was asked for, also where results go.
        store: The address below which they go if it does not say; if that is empty as well, they go to `out`.
        out: The folder of this machine for the page.
        home: An absolute folder, of the same path on every node, for copies of the model.
        connect_ray: Starts or finds a Ray for as long as it is entered.
    """
    from histoseg.report.cohort import write_cohort

    addresses = [_absolute(address) for address in find_slides([request.slides])]
    require_distinct(addresses)
    with connect_ray(), _cohort(request, store, out, home) as cohort:
        logger.info("%d slides; results go to %s", len(addresses), cohort.job.out)
        cohort.tally.expect(len(addresses))
        outcomes = _segment_all(cohort, in_own_order(addresses, request.name, str))
    ordered = [outcomes[address] for address in addresses]
    failures = {outcome.address: outcome.error for outcome in ordered if outcome.summary is None}
    done = [outcome.summary for outcome in ordered if outcome.summary is not None]
    report = write_cohort(out / request.experiment, done, failures, where=cohort.job.out, command=request.command)
    lines = [f"{len(failures)} of {len(ordered)} slides failed, the others are done:"]
    lines += [f"  {address}: {error}" for address, error in failures.items()]
    return report, HistosegError("\n".join(lines)) if failures else None


@contextmanager
def _cohort(request: Request, store: str, out: Path, home: Path) -> Iterator[Cohort]:
    """What computes, while this lasts: processes with the model, as many as there are GPUs, or else CPUs."""
    import ray

    shares = share_out(await_capacity([{"CPU": 1}], request.resources, WAIT_S if request.name else 0.0))
    model = _absolute(request.model)
    describe = _task(describe_model, shares.task_cpus).options(max_retries=LOST_AT_MOST)
    about: ModelAbout = answer(describe.remote(model, str(home)))
    job = CohortJob(model=model, out=_place(request, store, out, about), options=options_of(request), home=str(home))
    kind: Remote = ray.remote(Segmenter)
    kind = kind.options(num_cpus=ACTOR_CPUS, num_gpus=shares.actor_gpus, max_concurrency=shares.calls_each)
    actors = Actors(make=lambda: kind.remote(job), most=shares.actors, calls_each=shares.calls_each)
    tally = Tally()
    with calls(actors) as running, _said(tally, running):
        holder = holder_for(request, leases_of(job))
        yield Cohort(job=job, calls=running, shares=shares, holder=holder, tally=tally)


def _task(function: Callable[..., object], num_cpus: float) -> Remote:
    """A function as Ray computes it once; `Calls` tries again."""
    import ray

    return ray.remote(num_cpus=num_cpus, max_retries=0)(function)


def _place(request: Request, store: str, out: Path, about: ModelAbout) -> str:
    """The address of the results."""
    if request.into:
        return request.into if "://" in request.into else Path(request.into).absolute().as_uri()
    return f"{store}/{slides_folder(about.sha256)}" if store else (out / request.experiment).absolute().as_uri()


def _absolute(place: str) -> str:
    """An address, or a path that all processes understand alike."""
    return place if "://" in place else str(Path(place).parent.resolve() / Path(place).name)  # A link keeps its name.


def _segment_all(cohort: Cohort, addresses: Sequence[str]) -> dict[str, Outcome]:
    """What became of each slide."""
    todo, ended = SimpleQueue[str](), SimpleQueue[Outcome]()
    for address in addresses:
        todo.put(address)
    for _ in range(min(len(addresses), max(OPEN_AT_LEAST, int(cohort.shares.batches * OPEN_FOR_EACH_BATCH)))):
        Thread(target=_work, args=(cohort, todo, ended), daemon=True).start()
    found: dict[str, Outcome] = {}
    while len(found) < len(addresses):
        outcome = ended.get()
        if cohort.calls.error is not None:
            raise cohort.calls.error
        found[outcome.address] = outcome
        if outcome.summary is None:
            logger.warning("%s has failed, the others go on: %s", slide_name(outcome.address), outcome.error)
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
    """Have all regions of a slide done, in batches, of which there are enough for all processes if it is alone."""
    left_mm2 = area_mm2(opened.undone, opened.mpp)
    cohort.tally.open(opened.mm2, left_mm2)
    size = max(1, min(BATCH, len(opened.undone) // cohort.shares.batches))

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


@contextmanager
def _said(tally: Tally, running: Calls) -> Iterator[None]:
    """Log now and then how far a cohort is, and show it to Prometheus, while this lasts."""
    said = ""

    def show() -> None:
        counts = (tally.slides, tally.done, tally.failed, tally.mm2, tally.objects)
        show_all(*counts, running.num_waiting, running.num_actors)

    def say() -> None:
        nonlocal said
        if tally.mm2 and (line := str(tally)) != said:
            logger.info("%s", line)
            said = line

    with gauges(SLIDES) as show_all, repeated(show, SHOW_EVERY_S), repeated(say, SAY_EVERY_S):
        yield
        say()
