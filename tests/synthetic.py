"""Patches and episodes made of random numbers, for tests that need no files."""

import numpy as np
import torch


def make_patches(rng, task, count, size_px=16, num_classes=2):
    from histoseg.types import Patches

    return Patches(
        images=rng.integers(0, 256, (count, size_px, size_px, 3), dtype=np.uint8),
        semantic_maps=rng.integers(0, num_classes, (count, size_px, size_px), dtype=np.uint8),
        tasks=(task,) * count,
        keys=tuple(f"{task}{i}" for i in range(count)),
    )


def make_episode(rng, task="a", support=3, query=2):
    from histoseg.types import Episode

    return Episode(task=task, support=make_patches(rng, task, support), query=make_patches(rng, task, query))


def gradient_of(model):
    """All gradients as one vector, zeros where there is none."""
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()]
    ).clone()
