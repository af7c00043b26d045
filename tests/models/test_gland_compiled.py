"""What torch.compile is given of MILD-Net and Rota-Net is one graph, with the same losses and gradients."""

import subprocess
import sys

import pytest

COMPILED = """
import sys
import numpy as np
import torch
from histoseg.models.mildnet.network import MildNetParts, build as build_mildnet
from histoseg.models.rotanet.network import RotaNetParts, build as build_rotanet
from histoseg.types import MixedBatch

compile = torch.compile  # As a graph is found, but without a compiler, which would take minutes
torch.compile = lambda call, **_: compile(call, backend="eager", fullgraph=True)
structures = ("gland", "gland", "lumen")
rng = np.random.default_rng(0)
batch = MixedBatch(
    images=rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8),
    classes=rng.integers(0, 2, (3, 32, 32), dtype=np.uint8),
    weights=np.ones((3, 32, 32), np.float32),
    types=np.zeros((3, 32, 32), np.uint8),
    structures=structures,
    keys=structures,
    seeds=(0, 1, 2),
    counts={"gland": 2, "lumen": 1},
)
found = []
for compiled in (False, True):
    if sys.argv[1] == "mildnet":
        network = build_mildnet(MildNetParts(structures=("gland", "lumen"), width=4), 0)
    else:
        network = build_rotanet(RotaNetParts(num_classes={"gland": 3, "lumen": 2}, width=2), 0)
    if compiled:
        network.compile_parts()
    for _ in range(2):
        network.zero_grad()
        loss = network.step_loss(batch, {})
        loss.backward()
    found.append((loss.detach(), next(network.encoder.parameters()).grad.clone()))
torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mildnet", "rotanet"])
def test_compiled_parts_have_the_same_losses_and_gradients(name):
    # In a process of its own: the checks of shapes that tests add to every function cannot be compiled.
    done = subprocess.run([sys.executable, "-c", COMPILED, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
