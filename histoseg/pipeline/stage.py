"""One stage of a run: its network is trained, or resumed, or taken from the folder of a stage that is finished."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load
from torch import Tensor

from histoseg.distributed import sum_over_ranks
from histoseg.errors import CheckpointError
from histoseg.machine import git_commit, versions
from histoseg.models.network import Network
from histoseg.models.spec import network_of
from histoseg.models.weights import Model, save_model, start_from
from histoseg.pipeline.rounds import stage_samples
from histoseg.records.schema import Point
from histoseg.runs.config import Run, Select
from histoseg.runs.names import stage_name, to_json
from histoseg.scoring._protocol import Evaluator
from histoseg.seeds import number_of
from histoseg.shards.reader import MetaDataset
from histoseg.store.keys import model_folder, stage_folder
from histoseg.store.objects import Store
from histoseg.structures import TISSUE
from histoseg.training.checkpoint import Checkpoints
from histoseg.training.loop import Trained, Training, train, use_device
from histoseg.training.method import method_of
from histoseg.training.process import Process
from histoseg.types import Task

logger = logging.getLogger(__name__)


class _Finished(BaseModel):
    """`stage.json`: put last, so a stage that has one is finished."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    curve: tuple[Point, ...]
    best_step: int
    seconds: float


def train_stage(
    run: Run, number: int, before: Network | None, dataset: MetaDataset, store: Store, process: Process
) -> Trained:
    """The trained network of a stage, counted from 0, which all runs that agree up to it share.

    `before` is the network of the stage before, None for the first.
    """
    stage, name, own = run.stages[number], stage_name(run, number, dataset.checksums), run.at(number)
    part = stage_samples(run, number, before, dataset, store, process)
    tasks = {source: index.task for source, index in part.sources.items()}
    seed = _seed(run, number)
    network = method_of(stage).network(own, tasks, before, seed)
    checkpoints = Checkpoints(store, stage_folder(name))
    if _is_finished(name, store, process):
        if process.leads:
            checkpoints.clear()  # A process that was killed may have left some.
        use_device(network, stage, process)
        return _load(network, name, store)
    learnt = frozenset(before.state_dict()) if before is not None else frozenset()  # By the stages before
    spec = network_of(own)
    start_from(network, spec.starting_weights(store), getattr(spec, "weights", run.address), learnt)
    if process.leads:
        about = {"run": to_json(run), "checksums": dataset.checksums, "git_commit": git_commit()}
        store.put(f"{stage_folder(name)}/run.json", json.dumps({**about, "versions": versions()}).encode())
    training = Training(
        label=label_of(run, number),
        run=own,
        stage=stage,
        dataset=part,
        seed=seed,
        validate=_validation(run, number, dataset, process) if stage.keep == "best val" else None,
    )
    trained = train(network, training, checkpoints, process)
    if process.leads:
        _save(trained, run, number, dataset, store)
        checkpoints.clear()
    return trained


def _seed(run: Run, number: int) -> int:
    """The seed of a stage.

    A later stage draws its numbers by what it trains on: equal seeds would give heads of equal first weights. Rounds of
    annotation train on the same sources, and are told apart by their number.
    """
    if not number:
        return run.seed
    stage = run.stages[number]
    order = f" {number}" if stage.select.regions else ""
    return number_of(f"{' '.join(stage.select.sources)} {run.seed}{order}")


def label_of(run: Run, number: int) -> str:
    """What a stage trains, for people; a first stage that other rows share is named by the column."""
    of_column = number == 0 and len(run.stages) > 1 and run.column
    return f"{run.stages[number].label} {run.column if of_column else run.address}"


def _validation(run: Run, number: int, dataset: MetaDataset, process: Process) -> Callable[[Network], float]:
    """What scores a network on the val split of the sources that a stage trains on."""
    evaluator, own = evaluator_of(run), run.at(number)
    select = Select(sources=run.stages[number].select.sources, splits=("val",))
    return lambda network: evaluator.validate(network, own, dataset, select, process)


def evaluator_of(run: Run) -> Evaluator:
    """The evaluator of a run."""
    if not isinstance(run.evaluator, Evaluator):
        raise TypeError(f"{type(run.evaluator).__name__} is not an evaluator: it lacks validate or score")
    return run.evaluator


def _is_finished(name: str, store: Store, process: Process) -> bool:
    """Whether every rank sees the stage finished; if only some do, all train what is left of it."""
    seen = is_stored(name, store)
    votes = sum_over_ranks(torch.tensor(int(seen), device=process.device))
    return int(votes) == process.place.world_size


def is_stored(name: str, store: Store) -> bool:
    """Whether a stage's network is in a store."""
    return store.size(_finished_key(name)) is not None


def _finished_key(name: str) -> str:
    return f"{stage_folder(name)}/stage.json"


def _load(network: Network, name: str, store: Store) -> Trained:
    """A finished stage's network."""
    where = f"{store.url}/{stage_folder(name)}"
    try:
        finished = _Finished.model_validate_json(store.get(_finished_key(name)))
        network.load_state_dict(_weights(name, store))
    except (ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{where} is damaged ({reason}); delete it to train the stage again") from error
    logger.info("%s: finished already", stage_folder(name))
    return Trained(model=network, curve=finished.curve, best_step=finished.best_step, seconds=finished.seconds)


def _weights(name: str, store: Store) -> dict[str, Tensor]:
    """The weights in a finished stage's folder."""
    keys = [f"{model_folder(name)}/model.{kind}" for kind in ("safetensors", "json")]
    if missing := [key for key in keys if store.size(key) is None]:
        raise ValueError(f"{missing[0]} is missing")
    body, about = map(store.get, keys)
    if hashlib.sha256(body).hexdigest() != json.loads(about)["sha256"]:
        raise ValueError(f"{keys[0]} differs from its SHA-256 in model.json")
    return load(body)


def _save(trained: Trained, run: Run, number: int, dataset: MetaDataset, store: Store) -> None:
    """Leave the network as `histoseg segment` takes it, then the mark that the stage is finished."""
    name = stage_name(run, number, dataset.checksums)
    sources = [source for stage in run.stages[: number + 1] for source in stage.select.sources]
    tasks = {source: dataset.sources[source].task for source in sources}
    spec = network_of(run.at(number))
    model = Model(
        spec=spec,
        network=trained.model,
        classes=class_names(spec.heads(trained.model).num_classes, tasks),
        mpp=run.data.mpp or tasks[sources[-1]].mpp,
        origin=f"{run.experiment} {run.scale}, {label_of(run, number)}, seed {run.seed}",
        steps=_total_steps(trained, run, number, dataset, store),
        made_up=tuple(dict.fromkeys(name for name in sources if dataset.sources[name].origin == "demo")),
    )
    save_model(model, store, model_folder(name))
    finished = _Finished(curve=trained.curve, best_step=trained.best_step, seconds=trained.seconds)
    store.put(_finished_key(name), finished.model_dump_json().encode())


def _total_steps(trained: Trained, run: Run, number: int, dataset: MetaDataset, store: Store) -> int | None:
    """The steps of a stage and those before it; None if an earlier version left a stage before without its steps."""
    if number == 0:
        return trained.best_step
    about = store.get(f"{model_folder(stage_name(run, number - 1, dataset.checksums))}/model.json")
    before: int | None = json.loads(about).get("steps")
    return None if before is None else before + trained.best_step


def class_names(heads: Iterable[str], tasks: Mapping[str, Task]) -> dict[str, tuple[str, ...]]:
    """What the classes of each head are called: of a task's pixels, of tissue, or of a structure's objects."""
    named = {name: task.classes for name, task in tasks.items()}
    named |= {TISSUE if task.structure == TISSUE else f"{task.structure}_type": task.classes for task in tasks.values()}
    return {name: named[name] for name in heads if name in named}
