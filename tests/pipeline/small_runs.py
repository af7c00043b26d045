"""Runs of both kinds that take a fraction of a second, on stores with a few tiny images."""

from dataclasses import replace

import numpy as np

from histoseg.methods.maml import Maml
from histoseg.methods.multitask import MultiTask
from histoseg.methods.probe import Probing
from histoseg.methods.simclr import SimClr
from histoseg.methods.subtyping import Subtyping
from histoseg.methods.transfer import Transfer
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.probe import ProbeSpec
from histoseg.models.unet import UNetSpec
from histoseg.runs.config import Data, Optim, Run, Select, Stage
from histoseg.scoring.object_classes import ObjectClasses
from histoseg.scoring.objects import Objects
from histoseg.scoring.pixels import Pixels
from histoseg.shards.in_memory import put_source
from histoseg.store.objects import FileStore
from tests.small_store import make_task, squares_samples

TASKS = Data(patch_px=32, scale=(1.0, 1.0), rotate_deg=0.0)
FOLDS = Data(patch_px=32, tissue_px=16, mpp=0.5, folds=True, scale=(1.0, 1.0), rotate_deg=0.0)
CELLS = ("background", "round", "long")
TISSUES = ("mucosa", "muscle", "fat")


def leave_one_out_store(folder):
    """Two sources to pretrain on and one to refine on: 3 images to train, 2 to validate, 3 to test."""
    store = FileStore(folder)
    for seed, name in enumerate(("first", "second", "new")):
        rng = np.random.default_rng(seed)
        splits = {"train": ["a", "b", "c"], "val": ["d", "e"], "test": ["f", "g", "h"]}
        samples = {split: squares_samples(rng, keys, "semantic") for split, keys in splits.items()}
        put_source(store, make_task(name), TASKS, samples)
    return store


def folds_store(folder):
    """Cells of two classes and tiles of tissue of three, in two folds and an external test set."""
    store, rng = FileStore(folder), np.random.default_rng(0)
    splits = {"fold1": ["a", "b", "c"], "fold3": ["d", "e"], "external": ["f"]}
    cells = {split: squares_samples(rng, keys, "instance", 3) for split, keys in splits.items()}
    put_source(store, make_task("cells", CELLS, "instance", "nuclei"), FOLDS, cells)
    tiles = {split: squares_samples(rng, [f"{split}{i}" for i in range(3)], "patch", 3, 24) for split in splits}
    put_source(store, make_task("tissue", TISSUES, "patch", "tissue"), FOLDS, tiles)
    return store


def leave_one_out_run():
    """Two steps of pretraining, two epochs of one step each of refining."""
    pretrain = Stage(
        label="pretrain",
        method=Maml(support=1, query=1, episodes=1),
        select=Select(sources=("first", "second")),
        optim=Optim(lr=1e-3, steps=2),
    )
    refine = Stage(
        label="refine",
        method=Transfer(batch=3),
        select=Select(sources=("new",), splits=("train",)),
        optim=Optim(lr=1e-3, steps=0, epochs=2),
        keep="best val",
    )
    return Run(
        experiment="lab",
        scale="tiny",
        row="new",
        column="all_others.maml",
        data=TASKS,
        network=UNetSpec(width=4),
        stages=(pretrain, refine),
        score=Select(sources=("new",), splits=("test",)),
        evaluator=Pixels(window_px=48, bootstrap=20),
    )


def folds_run():
    """Two steps of a Cerberus, then two of subtyping."""
    learn = Stage(
        label="train",
        method=MultiTask(batch=4),
        select=Select(sources=("cells", "tissue"), splits=("fold1",)),
        optim=Optim(lr=1e-3, steps=2),
    )
    subtype = Stage(
        label="subtype",
        method=Subtyping(batch=2),
        select=Select(sources=("cells",), splits=("fold1",)),
        optim=Optim(lr=1e-3, steps=2),
    )
    return Run(
        experiment="lab_folds",
        scale="tiny",
        row="cerberus",
        division="fold1 to fold3",
        data=FOLDS,
        network=CerberusSpec(encoder="resnet18", width=4),
        stages=(learn, subtype),
        score=Select(sources=("cells", "tissue"), splits=("fold3", "external")),
        evaluator=Objects(window_px=80, margin_px=16),
    )


def probe_run():
    """Two steps of SimCLR, then two of classification of patches on its frozen features."""
    contrast = Stage(
        label="contrast",
        method=SimClr(batch=3),
        select=Select(sources=("cells", "tissue"), splits=("fold1",)),
        optim=Optim(lr=1e-3, steps=2),
        network=ProbeSpec(encoder="resnet18", width=4, depths=1, hidden=8),
    )
    network = ProbeSpec(encoder="resnet18", width=4, hidden=8, patch_px=16)
    probe = Stage(
        label="probe",
        method=Probing(batch=5),
        select=Select(sources=("cells",), splits=("fold1",)),
        optim=Optim(lr=1e-3, steps=2),
        network=network,
    )
    return replace(
        folds_run(),
        row="simclr",
        network=network,
        stages=(contrast, probe),
        score=Select(sources=("cells",), splits=("fold3", "external")),
        evaluator=ObjectClasses(window_px=80, margin_px=16),
    )


def rounds_run():
    """Three rounds of annotation by what the network of the round before finds difficult, the first one at random."""
    stages = tuple(
        Stage(
            label=f"round{number}",
            method=MultiTask(batch=2),
            select=Select(sources=("cells",), splits=("fold1",), regions=1, choose=choose),
            optim=Optim(lr=1e-3, steps=2),
        )
        for number, choose in enumerate(("random", "difficult", "representative"), start=1)
    )
    return replace(folds_run(), row="difficult", stages=stages, score=Select(sources=("cells",), splits=("fold3",)))


def forget(store):
    """Delete all but the shards."""
    for key in (*store.list("runs/"), *store.list("records/")):
        store.delete(key)


def without_times(record):
    """A record as JSON without what differs from one attempt to the next."""
    stages = [{name: value for name, value in stage.items() if name != "seconds"} for stage in record["stages"]]
    timed = ("finished_at", "seconds", "gpu_seconds", "stages")
    return {**{name: value for name, value in record.items() if name not in timed}, "stages": stages}
