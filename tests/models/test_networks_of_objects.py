"""What MILD-Net, nnU-Net and Rota-Net have in common: what they refuse, half precision, and parts to compile."""

import pytest
import torch

from histoseg.models import mildnet, nnunet, rotanet
from tests.models.drawn_batch import images

BUILT = {
    "mildnet": lambda: mildnet.network.build(mildnet.network.MildNetParts(structures=("gland",), width=4), 0),
    "nnunet": lambda: nnunet.network.build(nnunet.network.NNUNetParts(structures=("gland",), width=2, num_stages=4), 0),
    "rotanet": lambda: rotanet.network.build(rotanet.network.RotaNetParts(num_classes={"gland": 3}, width=2), 0),
}


@pytest.fixture(params=BUILT)
def network(request):
    return BUILT[request.param]()


@pytest.mark.parametrize("wrong", [torch.zeros(1, 64, 64, 3), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)])
def test_images_of_another_kind_are_refused(network, wrong):
    with pytest.raises(Exception, match=r"(?i)type-check|jaxtyping"):
        network.encode(wrong)


def test_bf16_computes_in_half_and_answers_in_single_precision(network):
    exact = gland(network.eval())
    network.bf16 = True
    rough = gland(network)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()  # bfloat16 has 8 bits; errors add up over layers.


def test_compiled_parts_can_be_left_again(network, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)  # What it would make of it is not asked here.
    network.compile_parts()
    assert "encode" in vars(network)
    network.interpret_parts()
    assert "encode" not in vars(network)


def gland(network):
    """What it says of glands, as logits; MILD-Net says more than one thing."""
    found = network(images())["gland"]
    return getattr(found, "objects", found)
