"""Random images and batches for networks of objects, and how many parameters a module has."""

import numpy as np
import torch

from histoseg.types import MixedBatch


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def images(batch=2, side=64, seed=0):
    shape = (batch, side, side, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def batch_of(structures, side=32):
    rng = np.random.default_rng(side)
    size = (len(structures), side, side)
    return MixedBatch(
        images=rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        classes=rng.integers(0, 3, size, dtype=np.uint8),
        weights=np.ones(size, np.float32),
        types=np.zeros(size, np.uint8),
        structures=structures,
        keys=structures,
        seeds=tuple(range(len(structures))),
        counts={name: structures.count(name) for name in structures},
    )
