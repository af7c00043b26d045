"""From a run to its record: train its stages in turn, score the network, write the record once.

A record is put only if there is none, under the name of its run. So whatever process dies, and however often a command
is repeated, each run is recorded once, and tables are built from records alone. A finished stage is its folder's
`stage.json` and `model/`, which every run that shares the stage goes on from.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from histoseg.distributed import sum_over_ranks
from histoseg.errors import DataError
from histoseg.machine import git_commit, versions
from histoseg.pipeline.stage import evaluator_of, train_stage
from histoseg.records.schema import Record, StageRecord
from histoseg.records.write import put_record
from histoseg.runs.config import Run
from histoseg.runs.names import run_name, stage_name, to_json
from histoseg.scoring._pictures import Pictures
from histoseg.scoring._protocol import Scores
from histoseg.shards.reader import MetaDataset
from histoseg.shards.tiles import smallest_tile_px
from histoseg.store.keys import model_folder, panels_folder, record_key
from histoseg.store.objects import Store
from histoseg.training.loop import Trained, as_saved
from histoseg.training.process import Process

logger = logging.getLogger(__name__)


def complete(runs: Sequence[Run], store: Store, cache: Path, process: Process) -> list[str]:
    """Record every run of a group that shares its first stage; what is recorded already is left alone.

    `cache` is a folder for verified copies of shards. Returns the store keys of the runs' records.
    """
    dataset = open_dataset(runs, store, cache)
    by_key = {record_key(run.experiment, run_name(run, dataset.checksums)): run for run in runs}
    first: Trained | None = None
    for run in _not_recorded(by_key, store, process):
        first = first or train_stage(run, 0, None, dataset, store, process)
        _complete_run(run, first, dataset, store, process)
    return list(by_key)


def open_dataset(runs: Sequence[Run], store: Store, cache: Path) -> MetaDataset:
    """Every source that some runs read, which store their patches alike."""
    names = dict.fromkeys(source for run in runs for source in run.sources)
    data = runs[0].data
    dataset = MetaDataset.open(store, names, data.layout, cache)
    needed = smallest_tile_px(data)
    if small := [name for name, index in dataset.sources.items() if index.tile_px < needed]:
        found = dataset.sources[small[0]].tile_px
        raise DataError(
            f"{', '.join(small)} lies in tiles of {found} px, but this augmentation needs {needed}; "
            "`make submit` with DATA=FOLDER and the same SET prepares it again"
        )
    return dataset


def _not_recorded(runs: Mapping[str, Run], store: Store, process: Process) -> list[Run]:
    """The runs without a record. If ranks saw the store at different moments, they agree on the longer list."""
    missing = [store.size(key) is None for key in runs]
    votes = sum_over_ranks(torch.tensor(missing, dtype=torch.int64, device=process.device)).tolist()
    return [run for run, count in zip(runs.values(), votes, strict=True) if count]


def _complete_run(run: Run, first: Trained, dataset: MetaDataset, store: Store, process: Process) -> None:
    """Train the stages after the first, score the network and write the record."""
    stages = [first]
    for number in range(1, len(run.stages)):
        stages.append(train_stage(run, number, stages[-1].model, dataset, store, process))
    begin = time.monotonic()
    folder = panels_folder(run.experiment, run_name(run, dataset.checksums))
    pictures = Pictures(store=store, folder=folder, leads=process.leads)
    scored = evaluator_of(run).score(as_saved(stages[-1].model), run.at(-1), dataset, process, pictures)
    if process.leads:
        record = _record(run, stages, scored, dataset, process, time.monotonic() - begin)
        if put_record(record, store):
            logger.info("run %s recorded: %s", record.name, scored.headline)


def _record(
    run: Run, stages: Sequence[Trained], scored: Scores, dataset: MetaDataset, process: Process, evaluate_s: float
) -> Record:
    checksums = dataset.checksums
    names = [stage_name(run, number, checksums) for number in range(len(stages))]
    labels = [stage.label for stage in run.stages]
    seconds = {label: trained.seconds for label, trained in zip(labels, stages, strict=True)} | {"evaluate": evaluate_s}
    on_gpu = process.device.type == "cuda"
    return Record(
        name=run_name(run, checksums),
        experiment=run.experiment,
        scale=run.scale,
        row=run.row,
        column=run.column,
        replicate=run.replicate,
        seed=run.seed,
        run=to_json(run),
        sources=run.sources,
        checksums={source: checksums[source] for source in run.sources},
        origins={source: dataset.sources[source].origin for source in run.sources},
        stages=tuple(
            StageRecord(
                stage=name, label=label, curve=trained.curve, best_step=trained.best_step, seconds=trained.seconds
            )
            for name, label, trained in zip(names, labels, stages, strict=True)
        ),
        scores=dict(scored.scores),
        measures=dict(scored.measures),
        per_class={name: dict(classes) for name, classes in scored.per_class.items()},
        sizes=dict(scored.sizes),
        images=scored.images,
        panels=scored.panels,
        model=model_folder(names[-1]),
        git_commit=git_commit(),
        versions=versions(),
        precision="fp32",  # See `as_saved`.
        device=torch.cuda.get_device_name(process.device) if on_gpu else "cpu",
        world_size=process.place.world_size,
        attempt=process.attempt,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        seconds=seconds,
        gpu_seconds=sum(seconds.values()) * (process.place.world_size if on_gpu else 0),
    )
