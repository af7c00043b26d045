import numpy as np
import pytest
import torch

from histoseg.config import Model
from histoseg.errors import ConfigError
from histoseg.losses import cross_entropy_per_image
from histoseg.methods.transfer import Transfer
from histoseg.models.unet import build
from histoseg.types import Batch, Patches
from tests.synthetic import gradient_of, make_patches


def mixed(tasks):
    drawn = [make_patches(np.random.default_rng(i), task, 1) for i, task in enumerate(tasks)]
    return Patches(
        images=np.concatenate([part.images for part in drawn]),
        semantic_maps=np.concatenate([part.semantic_maps for part in drawn]),
        tasks=tuple(tasks),
        keys=tuple(str(i) for i in range(len(tasks))),
    )


@pytest.fixture
def model():
    return build(Model(width=4), {"a": 2, "b": 2, "c": 2}, 0)


def test_the_loss_is_the_mean_over_images_of_each_images_own_head(model):
    patches = mixed("abba")
    loss = Transfer().backward(model, Batch(patches=patches, global_size=4))
    single = [
        cross_entropy_per_image(
            model(torch.from_numpy(patches.images[i : i + 1]), task),
            torch.from_numpy(patches.semantic_maps[i : i + 1]).long(),
        ).item()
        for i, task in enumerate("abba")
    ]
    assert loss == pytest.approx(np.mean(single), rel=1e-5)


def test_a_head_whose_task_is_absent_gets_no_gradient(model):
    Transfer().backward(model, Batch(patches=mixed("ab"), global_size=2))
    assert model.heads["c"].weight.grad is None


def test_shares_of_a_step_add_up(model):
    patches = mixed("abcab")
    loss = Transfer().backward(model, Batch(patches=patches, global_size=5))
    whole = gradient_of(model)
    model.zero_grad(set_to_none=True)
    total = 0.0
    for chosen in (slice(0, 3), slice(3, 5), slice(5, 5)):
        share = Patches(
            images=patches.images[chosen],
            semantic_maps=patches.semantic_maps[chosen],
            tasks=patches.tasks[chosen],
            keys=patches.keys[chosen],
        )
        total += Transfer().backward(model, Batch(patches=share, global_size=5))
    assert total == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(gradient_of(model), whole, rtol=1e-4, atol=1e-6)


def test_an_empty_batch_is_refused():
    with pytest.raises(ConfigError, match=r"method\.batch"):
        Transfer(batch=0)
