"""Runs with other stages, and one stage of a run trained alone."""

from dataclasses import replace

from histoseg.training.loop import Training, train
from histoseg.training.process import Process


def with_stage(run, number=0, **changes):
    """The run with fields of one stage changed; `optim` may be a dictionary of changes."""
    stages = list(run.stages)
    if isinstance(optim := changes.get("optim"), dict):
        changes["optim"] = replace(stages[number].optim, **optim)
    stages[number] = replace(stages[number], **changes)
    return replace(run, stages=tuple(stages))


def training_of(run, dataset, number=0, validate=None):
    """A stage as the training loop takes it."""
    stage = run.stages[number]
    part = dataset.select(stage.select, run.seed)
    return Training(label=stage.label, run=run, stage=stage, dataset=part, seed=run.seed, validate=validate)


def network_of(training, before=None):
    """The network that a stage begins with."""
    tasks = {source: index.task for source, index in training.dataset.sources.items()}
    return training.stage.method.network(training.run, tasks, before, training.seed)


def train_first(run, dataset, checkpoints, process=None):
    """The first stage of a run, trained from a new network."""
    training = training_of(run, dataset)
    return train(network_of(training), training, checkpoints, process or Process())
