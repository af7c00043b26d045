"""What README.md shows works as it stands there."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoseg.models.cerberus import CerberusSpec
from histoseg.models.spec import Heads
from histoseg.models.weights import Model, save_model
from histoseg.store.objects import FileStore

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with what the example names: a model (random weights, small) and an image."""
    spec = CerberusSpec(encoder="unet", width=4)
    network = spec.rebuild(Heads(num_classes={"gland": 2, "lumen": 2, "nuclei": 2, "nuclei_type": 3}, tissue_px=96))
    classes = {"nuclei_type": ("background", "epithelial", "other")}
    model = Model(spec=spec, network=network, classes=classes, mpp=0.5, origin="a test")
    save_model(model, FileStore(tmp_path / "model"), "")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "region.png")
    monkeypatch.chdir(tmp_path)


def test_its_python_segments_an_image(files, capsys):
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(program.splitlines()) <= 10
    found = {}
    exec(program, found)  # the program is ours
    assert found["prediction"].instance_maps["nuclei"].shape == (64, 96)
    assert list(ast.literal_eval(capsys.readouterr().out)) == ["gland", "lumen", "nuclei"]


def test_its_links_and_pictures_are_there():
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    assert targets
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []
