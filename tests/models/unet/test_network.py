import shutil
import subprocess
import sys

import pytest
import torch

from histoseg.models.unet.network import build, names_for, statistics_kept, with_new_heads


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("norm", ["group", "batch", "frozen"])
def test_the_body_has_the_published_number_of_parameters(norm):
    # Counted from the published network: 7,763,008 for the body, 33 per class for a head of 32 inputs.
    model = build(32, norm, {"a": 6, "b": 4, "c": 2, "d": 2, "e": 2}, 0)
    heads = count(model.heads)
    assert count(model) - heads == 7_763_008
    assert heads == 33 * 16
    assert count(model) == 7_763_536


def test_the_same_seed_builds_the_same_network_and_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    models = [build(4, "group", {"a": 2}, seed) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_logits_have_one_plane_per_class_of_their_task():
    model = build(4, "group", {"a": 2, "b": 5}, 0)
    images = torch.zeros(3, 48, 32, 3, dtype=torch.uint8)
    assert model(images, "a").shape == (3, 2, 48, 32)
    assert model(images, "b").shape == (3, 5, 48, 32)


def test_images_of_a_batch_do_not_see_each_other_with_group_normalisation():
    model = build(4, "group", {"a": 2}, 0)
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    together, alone = model(images, "a")[1:2], model(images[1:2], "a")
    torch.testing.assert_close(together, alone)


def test_new_heads_keep_the_body():
    model = build(4, "group", {"a": 2}, 0)
    fresh = with_new_heads(model, {"new": 3, "other": 2}, seed=5)
    assert [(name, fresh.num_classes(name)) for name in fresh.heads] == [("new", 3), ("other", 2)]
    for name in names_for(model, []):
        assert torch.equal(fresh.state_dict()[name], model.state_dict()[name])


def test_a_task_uses_the_body_and_its_own_head_only():
    model = build(4, "group", {"a": 2, "b": 2}, 0)
    used = names_for(model, ["b"])
    assert "heads.b.weight" in used
    assert "heads.a.weight" not in used


@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_running_statistics_move_only_where_they_may(norm):
    model = build(4, norm, {"a": 2}, 0)
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    before = {name: value.clone() for name, value in model.named_buffers() if "running" in name}
    with statistics_kept(model):
        model(images, "a")
    assert all(torch.equal(before[name], dict(model.named_buffers())[name]) for name in before)
    model(images, "a")
    assert not any(torch.equal(before[name], dict(model.named_buffers())[name]) for name in before)


def test_bfloat16_gives_nearly_the_same_logits_in_float32():
    model = build(8, "group", {"a": 3}, 0)
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    exact = model(images, "a")
    model.bf16 = True
    rounded = model(images, "a")
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    # bfloat16 keeps 8 bits: a relative error of 2**-9 a step, through some twenty layers.
    assert (rounded - exact).abs().max() < 0.1 * exact.abs().max()


COMPILED = """
import torch
from histoseg.models.unet.network import build

images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
found = []
for compiled in (False, True):
    model = build(4, "group", {"a": 2}, 0)
    if compiled:
        model.compile_parts()
    logits = model(images, "a")
    logits.square().mean().backward()
    found.append((logits.detach(), model.down[0][0].weight.grad))
torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler; install g++")
def test_a_compiled_body_has_the_same_logits_and_gradients():
    # In a process of its own: the checks of shapes that tests add to every function cannot be compiled.
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_wrong_shape_and_dtype_are_refused():
    model = build(4, "group", {"a": 2}, 0)
    with pytest.raises(Exception, match="images"):
        model(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "a")
    with pytest.raises(Exception, match="images"):
        model(torch.zeros(1, 32, 32, 3), "a")
