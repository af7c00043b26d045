"""A cohort of slides on Ray: `make submit EXP=slides SLIDES=… MODEL=…`.

Regions are segmented by processes that keep the model, one on each GPU. What is done lies in the store, so the same
command goes on where this one was, however it ended.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from histoseg.errors import HistosegError
from histoseg.pipeline.cohort import options_of
from histoseg.report.written import Written
from histoseg.runs.request import Request
from histoseg.slides.cohort import find_slides, require_distinct
from histoseg.slides.summary import ModelAbout
from histoseg.store.keys import slides_folder
from ray_jobs.calls import LOST_AT_MOST, Actors, Calls, Remote, answer, calls
from ray_jobs.capacity import WAIT_S, await_capacity
from ray_jobs.cells import ConnectRay, holder_for, in_own_order
from ray_jobs.cohort import Cohort, segment_all, task_of
from ray_jobs.gauges import SLIDES, gauges, repeated
from ray_jobs.regions import CohortJob, Segmenter, describe_model, leases_of
from ray_jobs.shares import ACTOR_CPUS, share_out
from ray_jobs.tally import Tally

logger = logging.getLogger("histoseg.slides")

SAY_EVERY_S, SHOW_EVERY_S = 15.0, 5.0


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
        outcomes = segment_all(cohort, in_own_order(addresses, request.name, str))
    ordered = [outcomes[address] for address in addresses]
    failures = {outcome.address: outcome.error for outcome in ordered if outcome.summary is None}
    done = [outcome.summary for outcome in ordered if outcome.summary is not None]
    report = write_cohort(out / request.experiment, done, failures, where=cohort.job.out, command=request.command)
    lines = [f"{len(failures)} of {len(ordered)} slides failed, the others are done:"]
    lines += [f"  {error if address in error else f'{address}: {error}'}" for address, error in failures.items()]
    return report, HistosegError("\n".join(lines)) if failures else None


@contextmanager
def _cohort(request: Request, store: str, out: Path, home: Path) -> Iterator[Cohort]:
    """What computes, while this lasts: processes with the model, as many as there are GPUs, or else CPUs."""
    import ray

    shares = share_out(await_capacity([{"CPU": 1}], request.resources, WAIT_S if request.name else 0.0))
    model = _absolute(request.model)
    describe = task_of(describe_model, shares.task_cpus).options(max_retries=LOST_AT_MOST)
    about: ModelAbout = answer(describe.remote(model, str(home)))
    job = CohortJob(model=model, out=_place(request, store, out, about), options=options_of(request), home=str(home))
    kind: Remote = ray.remote(Segmenter)
    kind = kind.options(num_cpus=ACTOR_CPUS, num_gpus=shares.actor_gpus, max_concurrency=shares.calls_each)
    actors = Actors(make=lambda: kind.remote(job), most=shares.actors, calls_each=shares.calls_each)
    tally = Tally()
    with calls(actors) as running, _said(tally, running):
        holder = holder_for(request, leases_of(job))
        yield Cohort(job=job, calls=running, shares=shares, holder=holder, tally=tally)


def _place(request: Request, store: str, out: Path, about: ModelAbout) -> str:
    """The address of the results."""
    if request.into:
        return request.into if "://" in request.into else Path(request.into).absolute().as_uri()
    return f"{store}/{slides_folder(about.sha256)}" if store else (out / request.experiment).absolute().as_uri()


def _absolute(place: str) -> str:
    """An address, or a path that all processes understand alike."""
    return place if "://" in place else str(Path(place).parent.resolve() / Path(place).name)  # A link keeps its name.


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
