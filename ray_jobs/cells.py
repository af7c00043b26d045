"""The cells of a plan that have no record yet, completed on a given Ray."""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from histoseg.errors import HistosegError, TrainingError
from histoseg.machine import machine_id, process_id
from histoseg.pipeline.plan import Plan
from histoseg.runs.job import result_fields
from histoseg.runs.names import run_name, to_json
from histoseg.runs.plain import digest
from histoseg.runs.request import Request
from histoseg.store.holders import Holder
from histoseg.store.keys import record_key
from histoseg.store.leases import number_attempt
from histoseg.store.objects import Store
from ray_jobs import grid
from ray_jobs.capacity import WAIT_S, await_capacity
from ray_jobs.gauges import CELLS, gauges, repeated
from ray_jobs.train import Group

logger = logging.getLogger("histoseg.cells")

COUNT_EVERY_S = 15.0
Item = TypeVar("Item")
ConnectRay = Callable[[], AbstractContextManager[None]]  # Starts or finds a Ray for as long as it is entered


def complete(plan: Plan, store: Store, request: Request, home: Path, connect_ray: ConnectRay) -> HistosegError | None:
    """Run what has no record yet; returns an error instead of raising it, so that finished cells are still reported.

    `home` is an absolute folder, of the same path on every node, for copies of shards and Ray's own notes;
    `connect_ray` is entered if a cell has no record.
    """
    wanted = {record_key(plan.experiment, cell) for cell in plan.cells}
    recorded = _recorded(store, wanted)
    logger.info("runs: %d of %d are recorded already", len(recorded), len(wanted))
    groups = [
        Group(
            id=pretraining,
            runs=json.dumps([to_json(run) for run in runs]),
            request=replace(request, store=store.url),
            cache=str(home / "cache"),
        )
        for pretraining, runs in plan.groups.items()
        if any(record_key(run.experiment, run_name(run, plan.checksums)) not in recorded for run in runs)
    ]
    if not groups:
        return None
    with connect_ray(), _counting(store, wanted, len(recorded)):
        try:
            workers, resources = _workers(request)
            notes = home / "notes" / request.name
            ordered = in_own_order(groups, request.name, lambda group: group.id)
            grid.run(ordered, workers, notes, resources, holder_for(request, store))
            _require_records(wanted, store)
        except HistosegError as error:
            return error
    return None


def _workers(request: Request) -> tuple[grid.Workers, dict[str, float]]:
    """The workers of each run, which have GPUs where there are any, and what Ray has or will have.

    A job on a cluster waits for nodes that are still to come.
    """
    timeout_s = WAIT_S if request.name else 0.0
    workers = grid.Workers(num_workers=request.workers)
    resources = await_capacity([workers.resources] * request.workers, request.resources, timeout_s)
    if resources.get("GPU", 0) >= 1:
        workers = replace(workers, use_gpu=True)
        resources = await_capacity([workers.resources] * request.workers, request.resources, timeout_s)
    return workers, resources


def holder_for(request: Request, store: Store) -> Holder:
    """This process as the holder of a job's leases; an attempt of a RayJob takes its number in the store."""
    asked = {name: str(value) for name, value in result_fields(request).items()}
    return Holder(
        owner=uuid.uuid4().hex,
        job=request.name or f"{request.experiment}-{digest(asked)[:8]}",
        machine=machine_id(),
        process=process_id(),
        submission=request.submission,
        attempt=number_attempt(store, request.submission) if request.submission else 0,
    )


def in_own_order(items: Sequence[Item], job: str, id_of: Callable[[Item], str]) -> list[Item]:
    """Items in a job's own order, so that several jobs at once share the work; the plan's if the job has no name.

    In the same order, the later one would wait for lease after lease of the earlier one.
    """
    return sorted(items, key=lambda item: digest([job, id_of(item)])) if job else list(items)


def _recorded(store: Store, wanted: set[str]) -> set[str]:
    """Those of some keys of one experiment's records that exist."""
    return wanted & set(store.list(f"{min(wanted).rpartition('/')[0]}/"))


def _require_records(wanted: set[str], store: Store) -> None:
    if missing := wanted - _recorded(store, wanted):
        raise TrainingError(
            f"{len(missing)} of {len(wanted)} cells have no record, though their groups came to an end, {min(missing)} "
            "among them; were records deleted meanwhile? Submit again: only these are run"
        )


def _eta(done: int, left: int, elapsed_s: float) -> str:
    """When the rest is done if it goes as fast; "" if nothing is new, as when deleted records are written again."""
    return f"  eta {left * elapsed_s / done:.0f} s" if done > 0 else ""


@contextmanager
def _counting(store: Store, wanted: set[str], first: int) -> Iterator[None]:
    """Log now and then how many cells are recorded, `first` at the beginning, while this lasts."""
    begin, last = time.monotonic(), first

    def count() -> None:
        nonlocal last
        try:
            found = len(_recorded(store, wanted))
        except HistosegError as error:
            logger.warning("runs: cannot be counted: %s", error)
            return
        if found > last:
            eta = _eta(found - first, len(wanted) - found, time.monotonic() - begin)
            logger.info("runs: %d of %d recorded%s", found, len(wanted), eta)
        last = found
        show(len(wanted), last)

    with gauges(CELLS) as show, repeated(count, COUNT_EVERY_S):
        show(len(wanted), first)
        yield
