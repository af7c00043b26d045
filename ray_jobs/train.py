"""What a process that trains does: complete the runs of a group, and say how far it is.

Checkpoints and records are written to the store by `histoseg.pipeline`; Ray is handed none of them. So a worker that is
killed or restarted, on any machine, goes on from what the store holds.
"""

import importlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoseg.errors import HistosegError, StorageError, StoreRefusedError, TrainingError
from histoseg.runs.config import Run, public_name
from histoseg.runs.names import from_json
from histoseg.runs.request import Request
from histoseg.store.leases import FencedStore, Lease
from histoseg.store.objects import PATIENT, Store, connect
from histoseg.training.listeners import Listener, LogLine
from histoseg.training.listening import TrainingContext, listening
from histoseg.types import Place
from ray_jobs.failures import ReclaimedError
from ray_jobs.gauges import TrainingGauges
from ray_jobs.logs import log_worker

if TYPE_CHECKING:
    from histoseg.training.process import Process  # It needs torch, which a machine that only submits may lack.

POLL_INTERVAL = "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S"
COMPLETE = "histoseg.pipeline.complete.complete"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that share one pretraining, as they travel to a worker."""

    id: str  # The pretraining's id; also the name of the Ray Train run
    runs: str  # A JSON list of what `histoseg.runs.names.to_json` gives
    request: Request  # What was asked for; its store is where shards are read and records are written
    cache: str  # An absolute folder on each worker's machine for downloaded shards
    attempt: int = 0  # The number of the lease under which the group is worked on; 0 means that it is not leased
    complete: str = COMPLETE  # The dotted path of the function that does the work

    @property
    def short_id(self) -> str:
        """The id as Prometheus is shown it."""
        return self.id[:8]


def train(group: Group, process: "Process") -> str:
    """Complete a group in this process; returns the error that only a person can correct, or "".

    It is returned, since Ray would try again what is raised.
    """
    process = replace(process, attempt=group.attempt)
    log_worker(logging.INFO if process.leads else logging.ERROR)
    runs = [from_json(record) for record in json.loads(group.runs)]
    store = _store(group)
    try:
        with _listeners(group, runs, store, process) as listeners:
            complete = _load(group.complete)
            complete(runs, store, Path(group.cache), replace(process, listeners=listeners))
    except HistosegError as error:
        if isinstance(error, StorageError) and not isinstance(error, StoreRefusedError):
            raise  # A store can come back, so this is worth another attempt.
        # A loss that is not a number is so on every rank. Of other errors the other ranks may know nothing and wait
        # for this one, and only Ray can end them.
        if process.place.world_size > 1 and not isinstance(error, TrainingError):
            raise
        return f"{type(error).__name__}: {error}"
    return ""


def rank() -> "Process":
    """This process as one of several that Ray Train has started."""
    from ray.train import get_context
    from ray.train.torch import get_device

    from histoseg.training.process import Process

    context = get_context()
    place = Place(rank=context.get_world_rank(), world_size=context.get_world_size())
    return Process(place=place, device=get_device(), is_reclaimed=_preemption_notice())


def this_process() -> "Process":
    """This process as the only one of its training, in a Tune trial, where Ray Train's own functions refuse to work."""
    import ray
    import torch

    from histoseg.training.process import Process

    has_gpu = bool(ray.get_runtime_context().get_accelerator_ids()["GPU"])
    return Process(device=torch.device("cuda:0" if has_gpu else "cpu"), is_reclaimed=drain_notice())


def _store(group: Group) -> Store:
    """The store, which refuses what is written after the group's lease was lost."""
    store: Store = connect(group.request.store, PATIENT)
    return FencedStore(store, Lease(name=group.id, number=group.attempt)) if group.attempt else store


@contextmanager
def _listeners(group: Group, runs: Sequence[Run], store: Store, process: "Process") -> Iterator[tuple[Listener, ...]]:
    """What hears how far the trainings of this process are; none on ranks that do not lead."""
    if not process.leads:
        yield ()
        return
    with ExitStack() as stack:
        shown = stack.enter_context(closing(TrainingGauges(group.short_id, public_name(runs[0].stages[0].method))))
        context = TrainingContext(
            id=group.id,
            experiment=group.request.experiment,
            config=json.loads(group.runs)[0],
            store=store,
            home=Path(group.cache).parent,
        )
        asked = stack.enter_context(listening(group.request.listen, context))
        yield (LogLine(), shown, *asked)


def _preemption_notice() -> Callable[[], bool]:
    """A function that says, to all ranks alike, whether one of their nodes is about to be taken away."""
    if os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") == "0":
        return lambda: False
    from ray.train import get_preemption_info

    return lambda: get_preemption_info() is not None


def drain_notice() -> Callable[[], bool]:
    """The same for this process alone: whether its node is being drained, as Ray Train's watcher asks it."""
    if os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") == "0":
        return lambda: False
    import ray

    node, every_s = ray.get_runtime_context().get_node_id(), float(os.environ.get(POLL_INTERVAL, "5"))
    asked_at, answer = -math.inf, False

    def is_draining() -> bool:
        nonlocal asked_at, answer
        if time.monotonic() - asked_at >= every_s:
            # What Ray Train's watcher asks; Ray has no public function for it.
            answer, asked_at = node in ray._private.state.state.get_draining_nodes(), time.monotonic()
        return answer

    return is_draining


def leave_if_reclaimed() -> None:
    """Refuse to begin anything on a node that is about to be taken away.

    Raises:
        ReclaimedError: If this node is one.
    """
    import ray

    if drain_notice()():
        raise ReclaimedError(f"ip: {ray.util.get_node_ip_address()}")  # type: ignore[no-untyped-call]


def _load(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
