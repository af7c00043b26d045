"""An image as an array, through `histoseg.segment`; tests/test_public.py has more."""

import numpy as np
import pytest

from histoseg.inference.array import segment
from histoseg.maps.windows import MarginWindows
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.weights import Model

WINDOWS = MarginWindows(window_px=96, margin_px=16)


@pytest.fixture(scope="module")
def model():
    decoders = {"gland": 3, "lumen": 3, "nuclei": 3, "nuclei_type": 7, "gland_type": 3}
    network = build(CerberusParts(encoder="unet", width=4, decoders=decoders), 0).eval()
    return Model(
        spec=CerberusSpec(encoder="unet", width=4, contour=True), network=network, classes={}, mpp=0.5, origin="a test"
    )


def draw_pixels():
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)


def test_an_image_is_seen_at_the_resolution_of_the_model(model, monkeypatch, caplog):
    sizes = []
    predict = CerberusSpec.predict

    def watched(self, network, image, windows, **options):
        sizes.append(image.shape[:2])
        return predict(self, network, image, windows, **options)

    monkeypatch.setattr(CerberusSpec, "predict", watched)
    for mpp, expected in [(0.25, (30, 40)), (1.0, (120, 160)), (0.505, (60, 80))]:  # 1 % off is not resampled.
        caplog.clear()
        found = segment(model, draw_pixels(), mpp, WINDOWS)
        assert sizes[-1] == expected
        assert {label_map.shape for label_map in found.instance_maps.values()} == {(60, 80)}
        caveat = f"the model was trained at 0.5 microns per pixel; this image has {mpp:g} and was resampled"
        assert caplog.messages == ([] if expected == (60, 80) else [caveat])


def test_an_image_that_takes_much_memory_is_told_beforehand(model, monkeypatch, caplog):
    monkeypatch.setattr("histoseg.inference.array.LARGE_PX", 80 * 60 - 1)
    segment(model, draw_pixels(), 0.5, WINDOWS)
    # 19 classes of five decoders, 4 bytes each, for 80 x 60 pixels: far below a tenth of a gigabyte
    wanted = "80 x 60 px at 0.5 microns per pixel: its maps alone take 0.0 GB of memory"
    assert [text.startswith(wanted) for text in caplog.messages] == [True]
