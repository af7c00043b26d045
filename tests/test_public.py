"""What `import histoseg` offers, and that it costs nothing until it is used."""

import subprocess
import sys

import numpy as np
import pytest

import histoseg
from histoseg.inference.array import segment
from histoseg.maps.windows import MarginWindows
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.spec import Heads
from histoseg.models.unet import UNetSpec
from histoseg.models.weights import Model, load_model, save_model
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import FileStore, connect

WINDOWS = MarginWindows(window_px=96, margin_px=16)
SIZE = (80, 112)
HEAVY = "cv2 numpy pydantic scipy torch typer"


def test_importing_the_package_imports_nothing_large():
    program = f"import sys, histoseg; print(sorted(set('{HEAVY}'.split()) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_that_of_its_module():
    assert (histoseg.MetaDataset, histoseg.connect) == (MetaDataset, connect)
    assert (histoseg.load_model, histoseg.segment) == (load_model, segment)
    assert set(histoseg.__all__) <= set(dir(histoseg))
    assert all(hasattr(histoseg, name) for name in histoseg.__all__)


def test_an_unknown_name_is_refused_with_the_choices():
    with pytest.raises(AttributeError, match=r"'segmnt'; choose from MetaDataset, .*, segment"):
        histoseg.segmnt  # noqa: B018  # the access is what is tested


@pytest.fixture
def folder(tmp_path):
    """The folder of a U-Net with random weights, for tissue at 0.5 microns per pixel."""
    spec = UNetSpec(width=4)
    network = spec.rebuild(Heads(num_classes={"glas": 2}))
    classes = {"glas": ("background", "gland")}
    save_model(Model(spec=spec, network=network, classes=classes, mpp=0.5, origin="a test"), FileStore(tmp_path), "")
    return tmp_path


def draw():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def test_an_array_is_segmented_as_the_network_does(folder):
    model = histoseg.load_model(str(folder))
    found = histoseg.segment(model, draw(), windows=WINDOWS)
    expected = model.spec.predict(model.network, draw(), WINDOWS, mpp=0.5)
    np.testing.assert_array_equal(found.semantic_maps["glas"], expected.semantic_maps["glas"])


def test_maps_have_the_size_of_an_image_of_another_resolution(folder):
    model = histoseg.load_model(folder)
    fine = draw().repeat(2, axis=0).repeat(2, axis=1)  # The mean of four equal pixels is that pixel.
    found = histoseg.segment(model, fine, mpp=0.25, windows=WINDOWS).semantic_maps["glas"]
    coarse = histoseg.segment(model, draw(), mpp=0.5, windows=WINDOWS).semantic_maps["glas"]
    np.testing.assert_array_equal(found, coarse.repeat(2, axis=0).repeat(2, axis=1))


def test_objects_have_the_size_of_the_image_too():
    spec = CerberusSpec(encoder="unet", width=4)
    network = spec.rebuild(Heads(num_classes={"gland": 2, "nuclei": 2}, tissue_px=96)).eval()
    model = Model(spec=spec, network=network, classes={}, mpp=0.5, origin="a test")
    found = histoseg.segment(model, draw(), mpp=0.25, windows=WINDOWS)
    assert {name: found.shape for name, found in found.instance_maps.items()} == {"gland": SIZE, "nuclei": SIZE}


@pytest.mark.parametrize(
    ("image", "mpp", "message"),
    [
        (draw()[..., 0], 0.5, r"\(80, 112\)"),
        (draw().astype(np.float32), 0.5, "float32"),
        (draw(), 0.0, "mpp = 0"),
        (draw(), float("nan"), "mpp = nan"),
    ],
)
def test_an_image_that_cannot_be_is_refused(folder, image, mpp, message):
    with pytest.raises(ValueError, match=message):
        histoseg.segment(histoseg.load_model(folder), image, mpp)
