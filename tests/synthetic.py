"""Patches and episodes made of random numbers, for tests that need no files."""

import numpy as np
import torch

from histoseg.runs import catalog
from histoseg.shards.index import SourceIndex
from histoseg.shards.stored import Samples, Shard
from histoseg.types import Episode, Patches


def make_patches(rng, task, count, size_px=16, num_classes=2):
    return Patches(
        images=rng.integers(0, 256, (count, size_px, size_px, 3), dtype=np.uint8),
        semantic_maps=rng.integers(0, num_classes, (count, size_px, size_px), dtype=np.uint8),
        tasks=(task,) * count,
        keys=tuple(f"{task}{i}" for i in range(count)),
    )


def make_episode(rng, task="a", support=3, query=2):
    return Episode(task=task, support=make_patches(rng, task, support), query=make_patches(rng, task, query))


def gradient_of(model):
    """All gradients as one vector, zeros where there is none."""
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()]
    ).clone()


def make_index(name, splits=("train", "val", "test"), layout="96px"):
    """An index of a source with one sample in each of some splits."""
    task = catalog.load_source(name).TASK
    count = len(splits)
    columns = {column: [0] * count for column in Samples.model_fields if column != "boxes"}
    columns |= {name: list("abcdefg"[:count]) for name in ("key", "image", "patient")}
    columns |= {"mpp": [0.5] * count, "shard": list(range(count)), "class_pixels": [[1] * task.num_classes] * count}
    return SourceIndex(
        task=task,
        origin="demo",
        tile_px=147,
        layout=layout,
        options={},
        shards=tuple(
            Shard(name=f"{split}.tar", split=split, sha256="0", num_bytes=1, num_samples=1) for split in splits
        ),
        samples=Samples(**columns),
        checksum=name,
    )
