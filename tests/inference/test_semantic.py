import numpy as np
import torch
from histoseg.inference.semantic import score

from histoseg.maps.windows import OverlapWindows
from histoseg.models.unet.network import build
from histoseg.types import Sample


def test_scoring_leaves_the_model_in_the_mode_it_was_in():
    model = build(4, "batch", {"a": 2}, 0).train()
    rng = np.random.default_rng(0)
    sample = Sample(
        key="k",
        patient="p",
        image=rng.integers(0, 256, (40, 50, 3), dtype=np.uint8),
        semantic_map=rng.integers(0, 2, (40, 50), dtype=np.uint8),
        mpp=0.5,
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ((_, predicted, counts),) = score(model, "a", [sample], OverlapWindows(window_px=32))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert counts.sum() == 40 * 50
    assert counts.trace() == (predicted == sample.semantic_map).sum()
