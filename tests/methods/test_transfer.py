import numpy as np
import pytest
import torch

from histoseg.errors import ConfigError
from histoseg.methods import transfer
from histoseg.methods.transfer import Transfer
from histoseg.models.losses import cross_entropy_per_image
from histoseg.models.unet.network import build
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
    return build(4, "group", {"a": 2, "b": 2, "c": 2}, 0)


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


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_parts_of_a_batch_have_the_gradient_of_the_whole(model, monkeypatch, at_once):
    model.double()
    batch = Batch(patches=mixed("abcab"), global_size=5)
    loss = Transfer().backward(model, batch)
    whole = gradient_of(model)
    model.zero_grad(set_to_none=True)
    forwards = []
    model.down[0].register_forward_hook(lambda _, inputs, __: forwards.append(len(inputs[0])))
    monkeypatch.setattr(transfer, "KEPT_BYTES_AT_ONCE", at_once * transfer.KEPT_BYTES * 4 * 16**2)
    assert Transfer().backward(model, batch) == pytest.approx(loss, rel=1e-12)
    assert max(forwards) == at_once
    torch.testing.assert_close(gradient_of(model), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_a_batch_whose_statistics_tie_its_images_stays_whole(monkeypatch, norm):
    monkeypatch.setattr(transfer, "KEPT_BYTES_AT_ONCE", 1)
    model = build(4, norm, {"a": 2, "b": 2}, 0)
    forwards = []
    model.down[0].register_forward_hook(lambda _, inputs, __: forwards.append(len(inputs[0])))
    Transfer().backward(model, Batch(patches=mixed("abba"), global_size=4))
    assert forwards == [4]


def test_of_the_papers_patches_eight_are_in_memory_at_a_time():
    # 83 B x 32 channels x 768² = 1.46 GiB each, of 12 GiB
    assert transfer.num_at_once(32, 768) == 8


def test_what_a_forward_keeps_is_what_parts_are_sized_by():
    """Counted by autograd's own hooks: every tensor that is kept, once; a small network's kept weights do not count."""
    model, kept = build(32, "group", {"a": 2}, 0), {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = model.features(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert features.requires_grad
    assert sum(kept.values()) / (32 * 64**2) == pytest.approx(transfer.KEPT_BYTES, rel=0.1)


def test_an_empty_batch_is_refused():
    with pytest.raises(ConfigError, match=r"method\.batch"):
        Transfer(batch=0)


def test_an_epoch_is_the_mixed_pool_of_all_sources(dataset):
    """As many images of each source as the smallest has."""
    pool = len(dataset.sources) * min(len(dataset.training_rows(source)) for source in dataset.sources)
    assert Transfer(batch=pool).steps_per_epoch(dataset) == 1
    assert Transfer(batch=pool - 1).steps_per_epoch(dataset) == 2
