"""What one Ray Train worker does: complete the runs of a group, and say how far it is.

Checkpoints and records are written to the store by `histoseg.pipeline`; Ray is handed none of them. So a worker that is
killed or restarted, on whatever machine, goes on from what the store holds.
"""

import importlib
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from histoseg.errors import HistosegError, StorageError, TrainingError
from histoseg.runs.config import public_name
from histoseg.runs.names import from_json
from histoseg.store.leases import FencedStore, Lease
from histoseg.store.objects import PATIENT, Store, connect
from histoseg.types import Place
from ray_jobs.gauges import trained

COMPLETE = "histoseg.pipeline.complete.complete"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that share one pretraining, as they travel to a worker.

    Attributes:
        id: The pretraining's id; also the name of the Ray Train run.
        runs: A JSON list of what `histoseg.runs.names.to_json` gives.
        store_url: Where shards are read and records are written.
        cache: An absolute folder on each worker's machine for downloaded shards.
        attempt: The number of the lease under which the group is worked on; 0 means that it is not leased.
        complete: The dotted path of the function that does the work.
    """

    id: str
    runs: str
    store_url: str
    cache: str
    attempt: int = 0
    complete: str = COMPLETE

    @property
    def short_id(self) -> str:
        """The id as Prometheus is shown it."""
        return self.id[:8]


def train(group: Group) -> str:
    """Complete a group within a Ray Train worker.

    Returns:
        The error that only a person can mend, or "" if there is none. As a value, for Ray would retry what is raised.
    """
    from ray.train import get_context
    from ray.train.torch import get_device

    from histoseg.training.process import Process

    context = get_context()
    place = Place(rank=context.get_world_rank(), world_size=context.get_world_size())
    log_to_stdout(logging.INFO if place.rank == 0 else logging.ERROR)
    runs = [from_json(record) for record in json.loads(group.runs)]
    store: Store = connect(group.store_url, PATIENT)
    if group.attempt:
        store = FencedStore(store, Lease(name=group.id, number=group.attempt))
    process = Process(place=place, device=get_device(), attempt=group.attempt, is_reclaimed=_reclaim_notice())
    method = public_name(runs[0].stages[0].method)
    shown = trained(group.short_id, method) if process.leads else nullcontext(process.on_status)
    try:
        with shown as on_status:
            complete = _load(group.complete)
            complete(runs, store, Path(group.cache), replace(process, on_status=on_status))
    except StorageError:
        raise  # A store can come back, so this is worth another attempt.
    except HistosegError as error:
        # A loss that is no number is none on every rank. Of other errors the other ranks may know nothing and wait for
        # this one, and only Ray can end them.
        if place.world_size > 1 and not isinstance(error, TrainingError):
            raise
        return f"{type(error).__name__}: {error}"
    return ""


def _reclaim_notice() -> Callable[[], bool]:
    """What tells all ranks alike whether a node of theirs is about to be taken away."""
    if os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") == "0":
        return lambda: False
    from ray.train import get_preemption_info

    return lambda: get_preemption_info() is not None


def _load(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def log_to_stdout(level: int) -> None:
    """Our own log lines on stdout, which Ray carries to whoever started the job."""
    logging.getLogger("botocore").setLevel(logging.WARNING)  # Ray Train opens the root logger to INFO.
    logger = logging.getLogger("histoseg")
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        logger.propagate = False
