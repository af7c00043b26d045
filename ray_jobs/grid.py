"""Many groups on one Ray: Tune starts each as a Ray Train run, as many at a time as fit.

Tune decides only when and where. The records in the store say what is done, so a cell that is submitted again costs
nothing if its record exists.

A run of one worker trains within its Tune trial, by Ray Train's local mode, so it needs no other process, and the next
run is given the same process. A run of several workers has a trial that waits for them.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoseg.errors import HistosegError, StorageError, TrainingError
from histoseg.machine import available_memory
from histoseg.runs.head import HEAD_BYTES_PER_RUN
from histoseg.store.holders import Holder
from histoseg.store.leases import leased
from histoseg.store.objects import BRISK, connect
from ray_jobs.calls import Remote
from ray_jobs.failures import first_line
from ray_jobs.gauges import FAILED, SetGauges, gauges, training_begun
from ray_jobs.logs import log_worker
from ray_jobs.train import Group, leave_if_reclaimed, rank, this_process, train

if TYPE_CHECKING:
    from ray.train import ScalingConfig
    from ray.tune import Callback
    from ray.tune.experiment import Trial

logger = logging.getLogger("histoseg.grid")

# A trial that only waits for its workers takes no CPU. Its memory is that of six processes: itself, Ray Train's
# controller and four helpers of that. The chart's head offers no memory, so there they lie beside the workers.
WAITING_TRIAL: dict[str, float] = {"CPU": 0, "memory": 1200 * 2**20}


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The Ray workers of each run."""

    num_workers: int = 1
    use_gpu: bool = False
    cpus: int = 1  # CPUs of each worker
    max_failures: int = 3  # How often a run is started again after a worker was lost

    @property
    def resources(self) -> dict[str, float]:
        """What one worker holds, in Ray's words."""
        return {"CPU": self.cpus, **({"GPU": 1} if self.use_gpu else {})}

    @property
    def is_one(self) -> bool:
        """Whether a run has one worker, which is then its Tune trial."""
        return self.num_workers == 1

    def scaling(self) -> "ScalingConfig":
        """The same for Ray Train, for which 0 workers are this process."""
        from ray.train import ScalingConfig

        if self.is_one:
            return ScalingConfig(num_workers=0)
        return ScalingConfig(num_workers=self.num_workers, use_gpu=self.use_gpu, resources_per_worker=self.resources)


def run(groups: Sequence[Group], workers: Workers, notes: Path, resources: Mapping[str, float], holder: Holder) -> None:
    """Complete all groups; one that fails does not stop the others. Ray must have been started.

    Args:
        groups: What to do, in this order.
        workers: What each group gets.
        notes: An absolute folder for Ray's own notes, on any node. Checkpoints and records go to the store.
        resources: What the cluster has or will have, enough for one run.
        holder: Whose leases on groups are.

    Raises:
        TrainingError: If groups failed, with the cause of each.
    """
    with gauges(FAILED) as show:
        errors = _tune(groups, workers, notes, resources, holder, show)
    if errors:
        failed = [f"{group.id}: {errors[group.id]}" for group in groups if group.id in errors]
        title = f"{len(failed)} of {len(groups)} groups failed, the others are recorded:"
        raise TrainingError("\n  ".join([title, *failed]))


def _tune(
    groups: Sequence[Group],
    workers: Workers,
    notes: Path,
    resources: Mapping[str, float],
    holder: Holder,
    show: SetGauges,
) -> dict[str, str]:
    """Have Tune start every group; returns the errors of those that failed, by their ids."""
    from ray import tune

    from ray_jobs.retries import Retries, survive_memory_kills

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # What it says of failures is said below in one line each.
    survive_memory_kills()
    concurrent = min(num_concurrent(resources, workers), _most_on_this_head())
    logger.info("groups: %d, up to %d at a time; a group is the runs that share a training", len(groups), concurrent)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(concurrent)  # Ask for all of them at once, so that nodes are added.
    trial = tune.with_parameters(training, groups=groups, workers=workers, path=str(notes), holder=holder)
    ids, errors = [group.id for group in groups], dict[str, str]()
    run_config = tune.RunConfig(
        name="grid",
        storage_path=str(notes),
        verbose=0,
        failure_config=tune.FailureConfig(max_failures=workers.max_failures),
        callbacks=[_failure_callback(ids, errors, show)],
    )
    tune_config = tune.TuneConfig(max_concurrent_trials=concurrent, reuse_actors=True, scheduler=Retries(ids))
    trainable = tune.with_resources(trial, workers.resources if workers.is_one else WAITING_TRIAL)
    space = {"group": tune.grid_search(list(range(len(groups))))}
    try:
        tune.Tuner(trainable, param_space=space, tune_config=tune_config, run_config=run_config).fit()
    except (OSError, RuntimeError, tune.TuneError) as error:  # Of Ray's notes, or of what Tune asks of Ray
        raise TrainingError(f"Ray could not run the groups: {first_line(error)}; submit again") from error
    return errors


def _failure_callback(ids: Sequence[str], errors: dict[str, str], show: SetGauges) -> "Callback":
    """A Tune callback that notes and logs a group's failure at once, while the other groups go on."""
    from ray import tune

    from ray_jobs.retries import error_of

    def report(trial: "Trial", error: str) -> None:
        group = ids[trial.config["group"]]
        logger.warning("group %s has failed, the others go on: %s", group, error)
        errors[group] = error
        show(len(errors))

    def on_trial_complete(_: object, *, trial: "Trial", **__: object) -> None:
        if error := _reported(trial.last_result):
            report(trial, error)

    def on_trial_error(_: object, *, trial: "Trial", **__: object) -> None:
        report(trial, first_line(error_of(trial)))

    show(0)
    hooks = {"on_trial_complete": on_trial_complete, "on_trial_error": on_trial_error}
    callback: Callback = type("FailureCallback", (tune.Callback,), hooks)()
    return callback


def num_concurrent(resources: Mapping[str, float], workers: Workers) -> int:
    """How many runs fit on a cluster at a time, at least one.

    Tune does not count what the workers of a Ray Train run take, and more runs than fit would wait for each other.
    """
    needs = {name: amount * workers.num_workers for name, amount in workers.resources.items()}
    if not workers.is_one and resources.get("memory"):  # Nodes that are still to come are not in it.
        needs["memory"] = WAITING_TRIAL["memory"]
    return max(1, min(int(resources.get(name, 0) // amount) for name, amount in needs.items()))


def _most_on_this_head() -> int:
    """How many runs this machine's free memory allows, of which Ray has taken its part already."""
    free = available_memory()
    return max(1, free // HEAD_BYTES_PER_RUN) if free is not None else sys.maxsize


def _reported(metrics: Mapping[str, Any] | None) -> str:
    error: str = (metrics or {}).get("error", "its trial ended without a report")
    return error.partition("\n")[0]


def training(config: dict[str, Any], groups: Sequence[Group], workers: Workers, path: str, holder: Holder) -> None:
    """One Tune trial: a Ray Train run from start to end, while its group is leased. Reports its error, or "".

    Its name is before each line that its process logs.
    """
    from ray import tune
    from ray.train.v2.api.exceptions import WorkerGroupError

    group = groups[config["group"]]
    log_worker(logging.INFO)
    leave_if_reclaimed()  # Tune gives a process one group after another, also on a node that takes no new process.
    try:
        with leased(connect(group.request.store, BRISK), group.id, holder) as lease, training_begun(group.short_id):
            error = _fit(replace(group, attempt=lease.number), workers, path)
    except StorageError:
        raise  # What is raised, as when the store or Ray Train's controller is away, is tried again.
    except (HistosegError, WorkerGroupError) as failure:  # Ray Train has tried the latter often enough.
        error = first_line(failure)
    tune.report({"error": error})


def _fit(group: Group, workers: Workers, path: str) -> str:
    """The error that the group's rank 0 returned, or ""."""
    from ray.train import FailureConfig, LoggingConfig, RunConfig

    result: Remote = _trainer(workers)(
        _train,
        train_loop_config={"group": group, "is_trial": workers.is_one},
        scaling_config=workers.scaling(),
        run_config=RunConfig(  # type: ignore[call-arg]  # the stub is of Ray Train V1, without logging_config
            name=group.id,
            storage_path=path,
            failure_config=FailureConfig(max_failures=workers.max_failures),
            logging_config=LoggingConfig(log_level="WARNING"),  # The workers log their progress themselves.
        ),
    ).fit()
    error: str = result.return_value
    return error


def _trainer(workers: Workers) -> Callable[..., Remote]:
    """Ray Train's trainer for a run; only several processes need what torch adds, a process group."""
    if workers.is_one:
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

        return DataParallelTrainer
    from ray.train.torch import TorchTrainer

    return TorchTrainer


def _train(config: dict[str, Any]) -> str:
    return train(config["group"], this_process() if config["is_trial"] else rank())
