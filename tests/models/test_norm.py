"""What batch normalisation over ranks costs; that it is right is tested on ranks, in tests/training."""

import pytest
import torch

from histoseg.models import norm
from histoseg.models.norm import SyncedBatchNorm


@pytest.fixture
def alone(monkeypatch):
    """One process that computes as if there were others."""
    monkeypatch.setattr(norm, "is_distributed", lambda: True)


def test_no_value_is_asked_of_the_device(alone):
    """A tensor on "meta" has no values, so whatever waits for one fails: the GPU's queue must not run dry."""
    layer = SyncedBatchNorm(3).to("meta")
    assert layer(torch.empty(2, 3, 4, 4, device="meta")).shape == (2, 3, 4, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_input_is_kept_once_and_as_it_is(alone, dtype):
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        SyncedBatchNorm(3)(x)
    large = [size for size in kept.values() if size > 1000]  # Not what there is one of for each channel
    assert large == [x.untyped_storage().nbytes()]


@pytest.mark.parametrize("offset", [0.0, 3000.0])
def test_gradients_are_torchs_also_where_the_mean_is_large(alone, offset):
    x = offset + torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    factors = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for kind, dtype in ((SyncedBatchNorm, torch.float32), (torch.nn.BatchNorm2d, torch.float64)):
        own = x.float().to(dtype).requires_grad_()  # The same numbers for both
        (kind(3).to(dtype)(own) * factors.to(dtype)).sum().backward()
        found.append(own.grad.double())
    # Torch in double precision stands for the truth. Single precision has 2^-24 of the input itself as its step.
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=2e-4)
