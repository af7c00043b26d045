"""Cerberus: the published counts (docs/protocols.md), what is frozen stays, and what the seed decides."""

import shutil
import subprocess
import sys

import pytest
import torch

from histoseg.models.cerberus.network import CerberusParts, build, with_type_decoder

FIVE = {"gland": 3, "lumen": 3, "nuclei": 3, "nuclei_type": 7}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def small(**changes):
    parts = {"encoder": "resnet18", "width": 4, "decoders": {"gland": 2, "nuclei": 3}, "tissue": 9}
    return build(CerberusParts(**(parts | changes)), 0)


def images(batch, side, seed=0):
    return torch.randint(
        0, 256, (batch, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def test_the_five_tasks_have_as_many_parameters_as_published():
    """Each number is that of the published code's module; 27,114,689 there holds 513,000 of an unused classifier."""
    model = build(CerberusParts(decoders=FIVE, tissue=9), 0)
    assert count(model.encoder) == 21_284_672
    assert count(model.conv_map) == 131_072
    assert count(model.decoders["gland"]) == 1_262_595
    assert count(model.decoders["nuclei_type"]) == 1_262_983
    assert count(model.tissue) == 135_177
    assert count(model) == 26_601_689 == 27_114_689 - 513_000


def test_two_classes_and_six_heads_too():
    assert (
        count(build(CerberusParts(decoders=dict.fromkeys(("gland", "lumen", "nuclei"), 2) | {"t": 7}, tissue=9), 0))
        == 26_601_398
    )
    assert count(build(CerberusParts(decoders={**FIVE, "gland_type": 3}, tissue=9), 0)) == 27_864_284


def test_other_encoders():
    """torchvision's ResNet18 has 11,689,512 parameters, of which fc 513,000; its ResNet50 25,557,032, fc 2,049,000."""
    assert count(build(CerberusParts(encoder="resnet18"), 0).encoder) == 11_689_512 - 513_000
    assert count(build(CerberusParts(encoder="resnet50"), 0).encoder) == 25_557_032 - 2_049_000


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34", "resnet50", "unet"])
def test_every_decoder_answers_at_full_size(encoder):
    model = small(encoder=encoder, tissue_cells=3)
    logits = model(images(2, 80))
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        "gland": (2, 2, 80, 80),
        "nuclei": (2, 3, 80, 80),
        "tissue": (2, 9, 1, 1),
    }


def test_features_halve_from_full_size():
    sizes = [tuple(feature.shape[2:]) for feature in small().encode(images(1, 96))]
    assert sizes == [(96, 96), (48, 48), (24, 24), (12, 12), (6, 6)]


def test_a_rank_without_patches_computes_nothing_and_fails_at_nothing():
    model = small()
    logits = model.decode(model.encode(images(0, 64)), "gland")
    assert logits.shape == (0, 2, 64, 64)
    logits.sum().backward()


def test_an_encoder_does_not_depend_on_which_decoders_there_are():
    one, two = small(decoders={"gland": 2}), small(decoders={"lumen": 2, "gland": 2})
    assert torch.equal(one.encoder.conv1.weight, two.encoder.conv1.weight)
    assert torch.equal(one.decoders["gland"].head[1].weight, two.decoders["gland"].head[1].weight)


def test_every_part_depends_on_the_seed():
    """torch's generator keeps the low 32 bits of a seed, so all that tells seeds apart has to be in these."""
    one, same, other = (build(CerberusParts(encoder="resnet18", width=4, decoders={"gland": 2}), s) for s in (0, 0, 1))
    for name in ("encoder.conv1.weight", "conv_map.weight", "decoders.gland.head.1.weight"):
        first = one.state_dict()[name]
        assert torch.equal(first, same.state_dict()[name])
        assert not torch.equal(first, other.state_dict()[name])


def test_first_weights_and_biases_are_drawn_as_published():
    """A deviation of √(2 / fan-out) for weights, by He et al. 2015; torch's own uniform ±1/√fan-in for biases."""
    model = build(CerberusParts(decoders=FIVE, tissue=9), 0)
    for conv in (model.decoders["gland"].stages[0][0], model.tissue.conv1):
        outputs, inputs, side, _ = conv.weight.shape
        assert conv.weight.std().item() == pytest.approx((2 / (outputs * side**2)) ** 0.5, rel=0.02)
        bound = (inputs * side**2) ** -0.5
        assert 0.9 * bound < conv.bias.abs().max().item() <= bound
        assert conv.bias.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)


def test_the_global_random_state_is_left_alone():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        before = torch.random.get_rng_state()
        small()
        assert torch.equal(before, torch.random.get_rng_state())


def test_compiled_parts_can_be_left_again(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)  # What it would make of it is not asked here.
    model = small(**ON_BRANCH)
    model.compile_parts()
    assert "climb" in vars(model.decoders["nuclei"])
    assert "climb" not in vars(model.decoders["gland"])
    compiled = [vars(model), *map(vars, model.decoders.values())]
    assert [{"encode", "forward"} & set(names) for names in compiled] == [{"encode"}, *[{"forward"}] * 3]
    model.interpret_parts()
    assert not any({"encode", "forward", "climb"} & set(names) for names in compiled)
    assert model.encode(images(1, 32))[0].shape == (1, 4, 32, 32)


def test_frozen_parts_stay_out_of_training():
    model = small()
    model.freeze_all_but("gland")
    model.train()
    assert model.decoders["gland"].training
    assert not any(part.training for part in (model.encoder, model.decoders["nuclei"], model.tissue))
    trained = {name.split(".")[1] for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {"gland"}


ON_BRANCH = {"decoders": {"gland": 2, "nuclei": 3, "nuclei_type": 4}, "branches": {"nuclei_type": "nuclei"}}


def test_a_head_on_a_branch_sees_the_features_of_that_branch():
    """Its logits are its two convolutions over what the branch's own head sees, found by a hook."""
    model, seen = small(**ON_BRANCH, tissue=0).eval(), []
    model.decoders["nuclei"].head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    logits = model(images(2, 64))
    assert logits["nuclei_type"].shape == (2, 4, 64, 64)
    assert len(seen) == 1
    assert torch.equal(logits["nuclei_type"], model.decoders["nuclei_type"].layers(seen[0]))


def test_decoders_together_or_one_by_one_give_the_same(monkeypatch):
    model, climbs = small(**ON_BRANCH).eval(), []
    features, names = model.encode(images(1, 64)), ("gland", "nuclei", "nuclei_type")
    alone = [model.decode(features, name) for name in names]
    branch = model.decoders["nuclei"]
    climb = branch.climb
    monkeypatch.setattr(branch, "climb", lambda *inputs: climbs.append(1) or climb(*inputs))
    together = model.decode_all(features, names)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    assert len(climbs) == 1  # What several need is computed once.


def test_a_head_on_a_branch_is_small():
    """96 · 64 + 96 of a convolution, 2 · 96 of its normalisation, 7 · 96 + 7 of another convolution."""
    model = build(CerberusParts(decoders=FIVE, branches={"nuclei_type": "nuclei"}), 0)
    assert count(model.decoders["nuclei_type"]) == 96 * 64 + 96 + 2 * 96 + 7 * 96 + 7


@pytest.mark.parametrize(
    "branches", [{"nuclei_type": "lumen"}, {"lumen_type": "nuclei"}, {"gland": "nuclei", "nuclei_type": "gland"}]
)
def test_a_head_needs_a_branch_to_stand_on(branches):
    with pytest.raises(ValueError, match=r"is to stand on.*choose from"):
        small(**{**ON_BRANCH, "branches": branches})


def test_a_trained_head_on_a_branch_leaves_the_branch_in_evaluation():
    model = small(**ON_BRANCH)
    model.freeze_all_but("nuclei_type")
    model.train()
    assert model.decoders["nuclei_type"].training
    assert not any(part.training for part in model.decoders["nuclei"].modules())
    assert {name.split(".")[1] for name, value in model.named_parameters() if value.requires_grad} == {"nuclei_type"}


def test_classes_move_from_a_branch_to_a_decoder_of_their_own():
    """Nothing of the head fits the decoder, which begins as that of a network that had no classes."""
    model, plain = small(**ON_BRANCH), small()
    own, other = with_type_decoder(model, "nuclei", 4, 3), with_type_decoder(plain, "nuclei", 4, 3)
    assert own.parts.branches == {}
    assert own.state_dict().keys() == other.state_dict().keys()
    own_state, other_state = own.decoders["nuclei_type"].state_dict(), other.decoders["nuclei_type"].state_dict()
    assert all(torch.equal(own_state[name], value) for name, value in other_state.items())


def test_without_a_head_for_tissue_there_is_no_class_of_tissue():
    model = small(tissue=0)
    assert "tissue" not in model(images(1, 64))
    with pytest.raises(ValueError, match="no head for tissue"):
        model.classify(model.encode(images(1, 64)))


def test_bf16_computes_in_half_and_answers_in_single_precision():
    model = small()
    model.eval()
    exact = model.decode(model.encode(images(1, 64)), "gland")
    model.bf16 = True
    rough = model.decode(model.encode(images(1, 64)), "gland")
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()  # bfloat16 has 8 bits; errors add up over 30 layers.


@pytest.mark.parametrize("wrong", [torch.zeros(1, 64, 64, 3), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)])
def test_images_of_another_kind_are_refused(wrong):
    with pytest.raises(Exception, match=r"(?i)type-check|jaxtyping"):
        small().encode(wrong)


TRAINED = """
import torch
from histoseg.models.cerberus.network import CerberusParts, build

model = build(CerberusParts(encoder="resnet18", width=8, decoders={"gland": 2}), 0)
images = torch.randint(0, 256, (8, 128, 128, 3), dtype=torch.uint8)
for threads in (1, 1, 2, 2):
    torch.set_num_threads(threads)
    sum(feature.square().mean() for feature in model.encode(images)).backward()
print("trained")
"""


def test_narrow_networks_train_without_a_crash():
    """With the stride in the shortcut's convolution, oneDNN's backward pass ends this process."""
    done = subprocess.run([sys.executable, "-c", TRAINED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr


def test_a_shortcut_has_the_numbers_of_a_convolution_with_a_stride():
    """Which is how the published networks have it; torch's convolution with that stride is the reference."""
    model = small().double().eval()
    seen = []
    shortcut = model.encoder.layer2[0].downsample
    shortcut[0].register_forward_hook(lambda _, __, output: seen.append(output))
    features = model.encode(images(2, 64))
    wanted = torch.nn.functional.conv2d(features[1], shortcut[0].weight, stride=2)
    torch.testing.assert_close(seen[0], wanted)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


COMPILED = """
import torch
from histoseg.models.cerberus.network import CerberusParts, build

found = []
for compiled in (False, True):
    model = build(CerberusParts(encoder="resnet18", width=4, decoders={"gland": 2}), 0)
    if compiled:
        model.compile_parts()
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for count in (2, 3):  # How many patches a decoder gets changes from step to step.
        features = model.encode(images)
        logits = model.decode([feature[:count] for feature in features], "gland")
        model.zero_grad()
        logits.square().mean().backward()
        found.append((logits.detach(), model.encoder.conv1.weight.grad.clone()))
for plain, fast in zip(found[:2], found[2:]):
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler; install g++")
def test_compiled_parts_have_the_same_logits_and_gradients():
    # In a process of its own: the checks of shapes that tests add to every function cannot be compiled.
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


GRAPHS = """
import torch
from torch._dynamo.testing import CompileCounter
from histoseg.models.cerberus.network import CerberusParts, build

torch._dynamo.config.fail_on_recompile_limit_hit = True
counter, compile = CompileCounter(), torch.compile
torch.compile = lambda call, **options: compile(call, backend=counter, **options)
decoders = {"gland": 2, "lumen": 2, "nuclei": 2, "nuclei_type": 7}
model = build(CerberusParts(encoder="resnet18", width=4, decoders=decoders), 0)
model.compile_parts()
features = [torch.rand(4, width, 32 >> i, 32 >> i) for i, width in enumerate(model.encoder.widths)]
for name in decoders:
    for count in (0, 1, 2, 3, 4):
        model.decode([feature[:count] for feature in features], name)
    print(name, counter.frame_count)
"""


@pytest.mark.slow
def test_decoders_share_graphs_and_none_is_left_out():
    """No, one and more patches are a graph each, for heads of two classes and again for one of seven: six at most."""
    done = subprocess.run([sys.executable, "-c", GRAPHS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    graphs = dict(line.split() for line in done.stdout.splitlines())
    assert 1 <= int(graphs["gland"]) == int(graphs["nuclei"]) < int(graphs["nuclei_type"]) <= 6, graphs
