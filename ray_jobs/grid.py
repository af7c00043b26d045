"""Many groups on one Ray: Tune starts each as a Ray Train run, as many at a time as fit.

Tune decides only when and where. The records in the store say what is done, so a cell that is submitted again costs
nothing if its record exists.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoseg.errors import ConfigError, HistosegError, StorageError, TrainingError
from histoseg.store.holders import Holder
from histoseg.store.leases import leased
from histoseg.store.objects import BRISK, connect
from ray_jobs.gauges import FAILED, SetGauges, gauges, training_begun
from ray_jobs.logs import log_worker
from ray_jobs.train import Group, train

if TYPE_CHECKING:
    from ray.train import ScalingConfig
    from ray.tune import Callback
    from ray.tune.experiment import Trial

logger = logging.getLogger("histoseg.grid")

# A driver only waits for its run, so it takes no CPU; it stays on the head, where no worker is reclaimed.
DRIVER = {"CPU": 0, "node:__internal_head__": 0.001}


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

    def scaling(self) -> "ScalingConfig":
        """The same for Ray Train."""
        from ray.train import ScalingConfig

        return ScalingConfig(num_workers=self.num_workers, use_gpu=self.use_gpu, resources_per_worker=self.resources)


def run(groups: Sequence[Group], workers: Workers, notes: Path, resources: Mapping[str, float], holder: Holder) -> None:
    """Complete all groups; one that fails does not stop the others. Ray must have been started.

    Args:
        groups: What to do, in this order.
        workers: What each group gets.
        notes: An absolute folder for Ray's own notes, on this node, where drivers run as well. Checkpoints and records
            go to the store.
        resources: What the cluster has or will have.
        holder: Whose leases on groups are.

    Raises:
        ConfigError: If the cluster is too small for one run.
        TrainingError: If groups failed, with the cause of each.
    """
    with gauges(FAILED) as show:
        outcomes = _tune(groups, workers, notes, resources, holder, show)
    failed = [f"{group.id}: {error}" for group, error in zip(groups, outcomes, strict=True) if error]
    if failed:
        title = f"{len(failed)} of {len(groups)} groups failed, the others are recorded:"
        raise TrainingError("\n  ".join([title, *failed]))


def _tune(
    groups: Sequence[Group],
    workers: Workers,
    notes: Path,
    resources: Mapping[str, float],
    holder: Holder,
    show: SetGauges,
) -> list[str]:
    """Have Tune start every group; returns the error of each, or ""."""
    from ray import tune

    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.CRITICAL)  # It misses Tune's logs.
    drive = tune.with_parameters(_drive, groups=groups, workers=workers, path=str(notes), holder=holder)
    run_config = tune.RunConfig(
        name="grid",
        storage_path=str(notes),
        verbose=0,
        # Drivers return errors as values, so what is tried again here is a lost driver, or a store that was away.
        failure_config=tune.FailureConfig(max_failures=3),
        callbacks=[_failure_callback(groups, show)],
    )
    tune_config = tune.TuneConfig(max_concurrent_trials=num_concurrent(resources, workers), reuse_actors=True)
    trainable = tune.with_resources(drive, DRIVER)
    space = {"group": tune.grid_search(list(range(len(groups))))}
    try:
        results = tune.Tuner(trainable, param_space=space, tune_config=tune_config, run_config=run_config).fit()
    except (OSError, tune.TuneError) as error:  # Of Ray's notes, or of what Tune asks of Ray
        raise TrainingError(f"Ray could not run the groups: {first_line(error)}; submit again") from error
    trials = [results[i] for i in range(len(groups))]
    return [first_line(trial.error) if trial.error else _reported(trial.metrics) for trial in trials]


def _failure_callback(groups: Sequence[Group], show: SetGauges) -> "Callback":
    """A Tune callback that logs a group's failure at once, while the other groups go on."""
    from ray import tune

    failed = set[str]()

    def report(trial: "Trial", error: str) -> None:
        group = groups[trial.config["group"]].id
        logger.warning("group %s has failed, the others go on: %s", group, error)
        failed.add(group)
        show(len(failed))

    def on_trial_complete(_: object, *, trial: "Trial", **__: object) -> None:
        if error := _reported(trial.last_result):
            report(trial, error)

    def on_trial_error(_: object, *, trial: "Trial", **__: object) -> None:
        report(trial, first_line(trial.get_error() or RuntimeError("its driver was lost")))

    show(0)
    hooks = {"on_trial_complete": on_trial_complete, "on_trial_error": on_trial_error}
    callback: Callback = type("FailureCallback", (tune.Callback,), hooks)()
    return callback


def available(capacity: Mapping[str, float]) -> dict[str, float]:
    """What the cluster has, or will have when all its nodes have joined."""
    import ray

    now: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray does not annotate it
    return {**now, **{name: max(amount, now.get(name, 0.0)) for name, amount in capacity.items()}}


def num_concurrent(resources: Mapping[str, float], workers: Workers) -> int:
    """How many runs fit on a cluster at a time.

    Tune itself does not count what a Ray Train run takes, and more runs than fit would wait for each other.
    """
    needs = {name: amount * workers.num_workers for name, amount in workers.resources.items()}
    counts = {name: int(resources.get(name, 0) // amount) for name, amount in needs.items()}
    if min(counts.values()) < 1:
        need = ", ".join(f"{amount:g} {name}" for name, amount in needs.items())
        have = ", ".join(f"{resources.get(name, 0):g} {name}" for name in needs)
        raise ConfigError(f"one run needs {need}, but Ray has {have}; use fewer workers per run or a larger cluster")
    return min(counts.values())


def _reported(metrics: Mapping[str, Any] | None) -> str:
    error: str = (metrics or {}).get("error", "its driver ended without a report")
    return error.partition("\n")[0]


def _drive(config: dict[str, Any], groups: Sequence[Group], workers: Workers, path: str, holder: Holder) -> None:
    """One Tune trial: a Ray Train run from start to end, while its group is leased. Reports its error, or ""."""
    from ray import tune
    from ray.train.v2.api.exceptions import WorkerGroupError

    group = groups[config["group"]]
    log_worker(logging.INFO)
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
    from ray.train.torch import TorchTrainer

    result: Any = TorchTrainer(
        _train,  # type: ignore[arg-type]  # rank 0's return value is passed on, which Ray's stub does not know
        train_loop_config={"group": group},
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


def _train(config: dict[str, Any]) -> str:
    return train(config["group"])


def first_line(error: BaseException) -> str:
    """The error in one line, without what Ray wrapped around it."""
    failures = getattr(error, "worker_failures", None) or {}  # Ray Train: by rank
    inner = next(iter(failures.values()), None)
    for name in ("controller_failure", "cause", "_base_exc"):  # the controller, a task, a worker's function
        inner = inner or getattr(error, name, None)
    if isinstance(inner, BaseException):
        return first_line(inner)
    if isinstance(error, HistosegError):
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
