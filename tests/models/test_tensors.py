"""Batches on their way to a device."""

import numpy as np
import pytest
import torch

from histoseg.models import tensors
from histoseg.types import Batch, Episode, MetaBatch, Patches


@pytest.fixture
def copies(monkeypatch):
    """Copies for pinned memory, which only a machine with a GPU has."""
    monkeypatch.setattr(tensors, "_pin", np.copy)


def patches(task):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    return Patches(images=images, semantic_maps=images[..., 0], tasks=(task,) * 2, keys=("a", "b"))


@pytest.mark.parametrize("kind", ["batch", "episodes"])
def test_a_pinned_batch_is_the_same_in_other_memory(copies, kind):
    if kind == "batch":
        batch = Batch(patches=patches("a"), global_size=5)
        old, new = [batch.patches], [tensors.pinned(batch).patches]
    else:
        batch = MetaBatch(episodes=(Episode(task="a", support=patches("a"), query=patches("b")),), global_size=3)
        (before,), (after,) = batch.episodes, tensors.pinned(batch).episodes
        old, new = [before.support, before.query], [after.support, after.query]
        assert after.task == "a"
    assert tensors.pinned(batch).global_size == batch.global_size
    for one, other in zip(old, new, strict=True):
        assert (other.tasks, other.keys) == (one.tasks, one.keys)
        for name in ("images", "semantic_maps"):
            np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
            assert not np.shares_memory(getattr(other, name), getattr(one, name))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.gpu
def test_a_gpu_fetches_pinned_arrays_without_another_copy():
    array = tensors.pinned(patches("a")).images
    assert torch.from_numpy(array).is_pinned()
    assert torch.from_numpy(array[1:]).is_pinned()
    assert torch.equal(tensors.to_device(array, torch.device("cuda")).cpu(), torch.from_numpy(patches("a").images))
