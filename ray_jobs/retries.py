"""How Tune tries a group again after its process or node was lost. Imports Ray, so import it where Ray is used."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import ray
from ray import cloudpickle
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from ray_jobs.failures import first_line, loss_of

logger = logging.getLogger("histoseg.grid")

LOST_AT_MOST = 20  # A group that lost its process so often is more likely to cause that than to suffer from it.


class Retries(FIFOScheduler):
    """Tune's first-in-first-out order; a trial that lost its process is tried again beyond its `max_failures`.

    After a loss of memory it holds twice as much of everything but GPUs, so that fewer run beside it.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray does not annotate it
        self._groups = groups
        self._num_lost = Counter[str]()

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:  # noqa: ARG002 # Tune's
        """Called after each failure, before the trial is queued again or, if it still counts as running, given up."""
        if trial.status == Trial.RUNNING:
            return
        group, error = self._groups[trial.config["group"]], error_of(trial)
        loss = loss_of(error)
        has_more = loss is not None and loss.was_memory and _double(trial)
        if loss is not None and (has_more or not loss.was_memory):
            self._num_lost[group] += 1
            trial.max_failures += int(self._num_lost[group] <= LOST_AT_MOST)
        fewer = ", with fewer runs beside it" if has_more else ""
        logger.warning("group %s: %s; it is tried again%s", group, first_line(error), fewer)


def error_of(trial: Trial) -> Exception:
    """A trial's newest error, which Tune keeps in a file of this process's own."""
    path = trial.pickled_error_file
    error: Exception = cloudpickle.loads(Path(path).read_bytes()) if path else RuntimeError("ended without an error")
    return error


def _double(trial: Trial) -> bool:
    """Have a trial hold twice as much of everything but GPUs, as far as a node has it; returns whether it is more."""
    bundle = trial.placement_group_factory.bundles[0]  # type: ignore[attr-defined]  # Every trial here has one.
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    most = {name: max(node.get(name, 0.0) for node in nodes) for name in bundle}
    wanted = {name: max(amount, min(2 * amount, most[name])) for name, amount in bundle.items() if name != "GPU"}
    trial.update_resources(dict(bundle) | wanted)
    return any(wanted[name] > bundle[name] for name in wanted)


def survive_memory_kills() -> None:
    """Have Tune treat a trial that Ray's memory monitor ended like any other that lost its process.

    Tune 2.60 knows only RayActorError there, and ends the whole grid at an OutOfMemoryError.
    """
    handle = RayActorManager._actor_task_failed
    if getattr(handle, "knows_memory", False):
        return

    def handle_memory_too(manager: RayActorManager, tracked_actor_task: TrackedActorTask, exception: Exception) -> None:
        known = _MemoryLossError(str(exception)) if isinstance(exception, OutOfMemoryError) else exception
        handle(manager, tracked_actor_task, known)

    handle_memory_too.knows_memory = True  # type: ignore[attr-defined]
    RayActorManager._actor_task_failed = handle_memory_too  # type: ignore[assignment, method-assign]  # That is the purpose


class _MemoryLossError(RayActorError):
    def __init__(self, text: str) -> None:
        super().__init__(error_msg=text)
