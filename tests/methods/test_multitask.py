"""What a step of multi-task training changes, and what it leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from histoseg.errors import ConfigError
from histoseg.methods.multitask import MultiTask
from histoseg.models.cerberus.loss import draw_kept
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.unet.network import build as build_unet
from histoseg.types import MixedBatch, Place


def network(tissue=3):
    decoders = {"gland": 2, "lumen": 2, "nuclei": 2}
    return build(CerberusParts(encoder="resnet18", width=4, decoders=decoders, tissue=tissue, tissue_cells=2), 0)


def batch(structures, side=32, seed=0, counts=None):
    rng, size = np.random.default_rng(seed), len(structures)
    place = (1, 1) if "tissue" in structures else (side, side)
    return MixedBatch(
        images=rng.integers(0, 256, (size, side, side, 3), dtype=np.uint8),
        classes=rng.integers(0, 2, (size, *place), dtype=np.uint8),
        weights=rng.uniform(1, 11, (size, *place)).astype(np.float32),
        types=rng.integers(0, 3, (size, *place), dtype=np.uint8),
        structures=tuple(structures),
        keys=tuple(f"k{i}" for i in range(size)),
        seeds=tuple(range(size)),
        counts=counts or {name: structures.count(name) for name in dict.fromkeys(structures)},
    )


def gradients(model, method, *batches):
    model.zero_grad(set_to_none=True)
    losses = [method.backward(model, one) for one in batches]
    return sum(losses), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_a_decoder_without_patches_is_not_changed_at_all():
    """Not its weights, though Adam has momentum for it, and not its running statistics; nor is it run."""
    model, method = network(), MultiTask(batch=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model.train()
    method.backward(model, batch(["gland", "lumen", "nuclei", "nuclei"]))
    optimizer.step()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    runs = []
    for name in ("lumen", "gland", "nuclei"):
        model.decoders[name].register_forward_hook(lambda *_, name=name: runs.append(name))
    optimizer.zero_grad(set_to_none=True)
    method.backward(model, batch(["gland", "gland", "nuclei"], seed=1))
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert sorted(runs) == ["gland", "nuclei"]
    assert not {name for name in changed if name.startswith(("decoders.lumen.", "tissue."))}
    assert {name.split(".")[1] for name in changed if name.startswith("decoders.")} == {"gland", "nuclei"}
    assert any(name.startswith("encoder.") for name in changed)


def test_tissue_changes_encoder_and_its_own_head_only():
    model = network()
    _, found = gradients(model, MultiTask(batch=3), batch(["tissue"] * 3))
    assert {name.split(".")[0] for name in found} == {"encoder", "tissue"}


def test_the_loss_is_a_mean_over_each_structures_patches():
    """Worked out apart: each decoder alone, weighted cross-entropy by its definition in NumPy."""
    model, drawn = network().eval(), batch(["gland", "nuclei", "nuclei"])
    loss, _ = gradients(model, MultiTask(batch=3, loss_weights=(("nuclei", 0.25),)), drawn)
    wanted = 0.0
    with torch.no_grad():
        features = model.encode(torch.from_numpy(drawn.images))
        for structure, factor in (("gland", 1.0), ("nuclei", 0.25)):
            logits = model.decode(features, structure).numpy().astype(np.float64)
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            each = [
                (-np.log(np.take_along_axis(p[i], drawn.classes[i][None].astype(int), 0))[0] * drawn.weights[i]).mean()
                for i, owner in enumerate(drawn.structures)
                if owner == structure
            ]
            wanted += factor * np.mean(each)
    assert loss == pytest.approx(wanted, rel=1e-5)


def test_shares_of_ranks_add_up_however_patches_are_dealt():
    """Evaluation mode, so that batch statistics, which real ranks share, stay out of it."""
    model, method = network().eval(), MultiTask(batch=3)
    whole = batch(["gland", "nuclei", "nuclei"])
    parts = []
    for chosen in ([0, 1, 2], [0, 1], [2]):
        own = {name: getattr(whole, name)[chosen] for name in ("images", "classes", "weights", "types")}
        names = {name: tuple(getattr(whole, name)[i] for i in chosen) for name in ("structures", "keys", "seeds")}
        parts.append(replace(whole, **own, **names))
    loss, wanted = gradients(model, method, parts[0])
    split_loss, found = gradients(model, method, *parts[1:])
    assert split_loss == pytest.approx(loss, rel=1e-6)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=5e-6)


def test_counts_may_come_in_any_order():
    model = network().eval()
    counts = {"nuclei": 2, "lumen": 4, "gland": 1}  # Lumen: other ranks' patches alone.
    drawn = batch(["gland", "nuclei", "nuclei"], counts=counts)
    loss, wanted = gradients(model, MultiTask(batch=3), drawn)
    other_loss, found = gradients(model, MultiTask(batch=3), replace(drawn, counts=dict(sorted(counts.items()))))
    assert other_loss == pytest.approx(loss, rel=1e-6)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=5e-6)


class Operations(TorchDispatchMode):
    """Notes what torch computes."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_features_are_split_among_structures_not_sliced():
    """The gradient of a slice is as large as all features, once for each structure and level."""
    decoders = {"gland": 2, "lumen": 2, "nuclei": 2}
    model = build(CerberusParts(encoder="unet", width=4, decoders=decoders), 0)
    with Operations() as seen:
        MultiTask(batch=3).backward(model, batch(["gland", "lumen", "nuclei"]))
    assert any("convolution_backward" in name for name in seen.names)
    assert not [name for name in seen.names if "slice_backward" in name]


def test_masked_decoders_see_all_patches_and_learn_the_same_in_evaluation():
    model, drawn = network().eval(), batch(["gland", "nuclei", "nuclei"])
    loss, wanted = gradients(model, MultiTask(batch=3), drawn)
    seen = []
    model.decoders["gland"].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0][0])))
    masked_loss, found = gradients(model, MultiTask(batch=3, masked=True), drawn)
    assert seen == [3]
    assert masked_loss == pytest.approx(loss, rel=1e-6)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=5e-6)


def statistics(model):
    return {name: value.clone() for name, value in model.state_dict().items() if "running" in name}


@pytest.mark.parametrize(
    ("structures", "absent"), [(["gland"] * 3, "decoders.lumen"), (["tissue"] * 3, "decoders.gland")]
)
def test_running_statistics_of_absent_heads_move_if_masked(structures, absent):
    """As in the published code, which runs every head in every step; their weights get no gradient."""
    drawn, model, same = batch(structures), network().train(), network().train()
    _, alone = gradients(same, MultiTask(batch=3), drawn)
    before = statistics(model)
    _, found = gradients(model, MultiTask(batch=3, masked=True), drawn)
    after = statistics(model)
    moved = {name.rsplit(".", 1)[0] for name in after if not torch.equal(after[name], before[name])}
    assert any(name.startswith(absent) for name in moved)
    assert not any(name.startswith(absent) for name in found)
    assert found.keys() == alone.keys()
    assert not any(torch.equal(after[name], before[name]) for name in after if name.startswith(absent))


def test_running_statistics_of_tissue_come_from_the_square_in_the_middle_if_masked():
    """The published head pools 9 x 9 cells of the middle: 144 of 176 pixels here."""
    model = build(CerberusParts(encoder="unet", width=4, decoders={"gland": 2}, tissue=3), 0).train()
    whole = batch(["gland"] * 2, side=176)
    before = model.tissue.bn1.running_mean.clone()
    with torch.no_grad():
        features = build(model.parts, 0).train().encode(torch.from_numpy(whole.images))[-1]
    MultiTask(batch=2, masked=True).backward(model, whole)
    wanted = 0.9 * before + 0.1 * features[:, :, 1:10, 1:10].mean(dim=(0, 2, 3))
    torch.testing.assert_close(model.tissue.bn1.running_mean, wanted, rtol=1e-4, atol=1e-6)


def test_dropout_is_drawn_by_patch():
    kept = draw_kept((1, 2, 3), 2000)
    np.testing.assert_array_equal(draw_kept((2,), 2000)[0], kept[1])
    assert 0.66 < kept.mean() < 0.74  # 0.7 of 6,000 coin tosses, within 6 standard errors
    assert draw_kept((), 5).shape == (0, 5)


def test_decoders_alone_are_trained_if_so_chosen(fold_dataset, tiny_fold_run):
    """The encoder's weights have no gradient, its running statistics move; the next stage trains it again."""
    tasks = {source: index.task for source, index in fold_dataset.sources.items()}
    first = MultiTask(trains="decoders").network(tiny_fold_run, tasks, None, 0)
    encoder = {f"encoder.{name}" for name, _ in first.encoder.named_parameters()}
    before = statistics(first)
    drawn = batch(["gland", "lumen", "nuclei"])
    _, found = gradients(first.train(), MultiTask(batch=3, trains="decoders"), drawn)
    assert set(found) == {name for name, _ in first.named_parameters()} - encoder - {
        name for name, _ in first.named_parameters() if name.startswith("tissue.")
    }
    assert not torch.equal(statistics(first)["encoder.bn1.running_mean"], before["encoder.bn1.running_mean"])
    _, all_of_it = gradients(MultiTask().network(tiny_fold_run, tasks, first, 1), MultiTask(batch=3), drawn)
    assert set(all_of_it) == set(found) | encoder


def test_a_network_that_learns_no_structures_is_refused():
    with pytest.raises(ConfigError, match="trains no UNet"):
        MultiTask().backward(build_unet(4, "group", {"glas": 2}, 0), batch(["gland"]))


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"loss_weights": (("gland", 0.0),)}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ConfigError, match="must be"):
        MultiTask(**wrong)


def test_one_patch_of_tissue_cannot_be_normalised(fold_dataset, tiny_fold_run):
    with pytest.raises(ConfigError, match=r"method\.batch = 1: must be 2 or more with tissue"):
        MultiTask(batch=1).batches(fold_dataset, tiny_fold_run, seed=0, place=Place(), first_step=0)


def test_an_epoch_shows_as_many_patches_as_there_are_samples(fold_dataset):
    rows = sum(len(fold_dataset.training_rows(source)) for source in fold_dataset.sources)
    assert MultiTask(batch=rows).steps_per_epoch(fold_dataset) == 1
    assert MultiTask(batch=rows - 1).steps_per_epoch(fold_dataset) == 2


def test_a_network_has_a_decoder_for_what_the_tasks_teach(fold_dataset, tiny_fold_run):
    tasks = {source: index.task for source, index in fold_dataset.sources.items()}
    first = MultiTask().network(tiny_fold_run, tasks, None, 0)
    assert (set(first.decoders), first.parts.tissue) == ({"gland", "lumen", "nuclei"}, 9)
    later = MultiTask().network(tiny_fold_run, tasks, first, 1)
    assert later is not first
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in later.state_dict().items())
