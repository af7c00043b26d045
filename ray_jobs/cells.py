"""The cells of a plan that have no record yet, completed on whatever Ray is given."""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from histoseg.errors import HistosegError, TrainingError
from ray_jobs.gauges import CELLS, Show, shown
from ray_jobs.train import Group

if TYPE_CHECKING:
    from histoseg.pipeline.plan import Plan
    from histoseg.store.objects import Store

logger = logging.getLogger("histoseg.cells")

COUNT_EVERY_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Means:
    """What cells are completed with.

    Attributes:
        connect: Starts or finds a Ray for as long as it is entered.
        workers: Ray workers of each run.
        cache: An absolute folder on every node for copies of shards.
        notes: An absolute folder of this node for Ray's own notes.
        capacity: What the cluster will have when all its nodes are there; empty means what it has.
        owner: Who this is, for those who want the same cells.
        job: The name under which it was submitted, which gives it an order of its own; empty means the plan's order.
    """

    connect: Callable[[], AbstractContextManager[None]]
    workers: int
    cache: Path
    notes: Path
    capacity: Mapping[str, float] = field(default_factory=dict)
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    job: str = ""


def complete(plan: "Plan", store: "Store", means: Means) -> HistosegError | None:
    """Run what has no record yet; an error comes back, so that the cells that are finished are still reported."""
    from histoseg.runs.names import run_name, to_json
    from histoseg.store.keys import record_key
    from ray_jobs import grid

    wanted = {record_key(plan.experiment, cell) for cell in plan.cells}
    recorded = _recorded(store, wanted)
    logger.info("cells: %d of %d are recorded already", len(recorded), len(wanted))
    groups = [
        Group(
            id=pretraining,
            runs=json.dumps([to_json(run) for run in runs]),
            store_url=store.url,
            cache=str(means.cache),
        )
        for pretraining, runs in plan.groups.items()
        if any(record_key(run.experiment, run_name(run, plan.checksums)) not in recorded for run in runs)
    ]
    if not groups:
        return None
    with means.connect(), _counting(store, wanted, len(recorded)):
        try:
            resources = grid.available(means.capacity)
            workers = grid.Workers(num_workers=means.workers, use_gpu=resources.get("GPU", 0) >= 1)
            grid.run(in_own_order(groups, means.job), workers, means.notes, resources, means.owner)
            _require_records(wanted, store)
        except HistosegError as error:
            return error
    return None


def in_own_order(groups: Sequence[Group], job: str) -> list[Group]:
    """Groups as a job goes through them: each job in another order, so that several at once share the work.

    In the same order, the later one would wait for lease after lease of the earlier one.
    """
    from histoseg.runs.plain import digest

    return sorted(groups, key=lambda group: digest([job, group.id])) if job else list(groups)


def _recorded(store: "Store", wanted: set[str]) -> set[str]:
    """Those of some keys of one experiment's records that are there."""
    return wanted & set(store.list(f"{min(wanted).rpartition('/')[0]}/"))


def _require_records(wanted: set[str], store: "Store") -> None:
    if missing := wanted - _recorded(store, wanted):
        raise TrainingError(
            f"{len(missing)} of {len(wanted)} cells have no record, though their groups came to an end, {min(missing)} "
            "among them; did somebody delete records meanwhile? Submit again: only these are run"
        )


def _eta(done: int, left: int, elapsed_s: float) -> str:
    """When the rest is done if it goes as fast; "" where nothing is new, as when deleted records came again."""
    return f"  eta {left * elapsed_s / done:.0f} s" if done > 0 else ""


@contextmanager
def _counting(store: "Store", wanted: set[str], first: int) -> Iterator[None]:
    """While this lasts, a line now and then says how many cells are recorded, `first` at the beginning."""
    done = Event()

    def count(show: Show) -> None:
        begin, last = time.monotonic(), first
        while True:
            show(len(wanted), last)
            if done.wait(COUNT_EVERY_S):
                return
            try:
                found = len(_recorded(store, wanted))
            except HistosegError as error:
                logger.warning("cells: cannot be counted: %s", error)
                continue
            if found > last:
                eta = _eta(found - first, len(wanted) - found, time.monotonic() - begin)
                logger.info("cells: %d of %d recorded%s", found, len(wanted), eta)
            last = found

    with shown(CELLS) as show:
        thread = Thread(target=count, args=(show,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
