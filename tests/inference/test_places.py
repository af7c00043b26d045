"""Where the objects of an image lie, and how large they are, whatever its resolution."""

import csv
import json
import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from histoseg.inference.segment import SegmentOptions, segment_slide
from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.windows import MarginWindows
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.cerberus.published import PUBLISHED_CLASSES
from histoseg.models.cerberus.regions import CerberusRegions
from histoseg.models.weights import Model
from histoseg.store.objects import FileStore

OPTIONS = SegmentOptions(mpp=0.5, windows=MarginWindows(window_px=96, margin_px=16))


@dataclass(frozen=True)
class SquareRegions(CerberusRegions):
    """Stands for the network: a nucleus is what is dark, at least 3 pixels wide, of the second class."""

    def separate(self, structure, evidence):
        return cv2.connectedComponents(evidence.mask.astype(np.uint8), ltype=cv2.CV_32S)[1]

    def evidence(self, image, windows, size_px):
        margin = windows[0].margin_px if image.shape[:2] != size_px else 0
        seen = image[margin : margin + size_px[0], margin : margin + size_px[1], 0]
        dark = cv2.morphologyEx((seen < 100).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        nothing = np.zeros(size_px, bool)
        masks = dict.fromkeys(self.structures, nothing) | {"nuclei": dark > 0}
        return RegionEvidence(
            objects={
                name: Evidence(
                    mask=mask,
                    inner=mask.astype(np.float32) if name == "nuclei" else None,
                    types=mask.astype(np.uint8) * 2,
                )
                for name, mask in masks.items()
            }
        )


@dataclass(frozen=True, kw_only=True)
class SquareSpec(CerberusSpec):
    def regions(self, network, *, heads=(), mpp=0.5, execution=None):
        return SquareRegions(network, mpp, tuple(heads))


@pytest.fixture
def squares():
    """A model that finds dark squares."""
    decoders = {"gland": 3, "lumen": 3, "nuclei": 3, "nuclei_type": 7}
    network = build(CerberusParts(encoder="unet", width=4, decoders=decoders), 0)
    spec = SquareSpec(encoder="unet", width=4, contour=True)
    return Model(spec=spec, network=network, classes=PUBLISHED_CLASSES, mpp=0.5, origin="squares", sha256="0" * 64)


def test_places_are_right_whatever_the_resolution(squares, tmp_path):
    """The same tissue at 0.25 and at 0.5 µm: the same areas and places in microns."""
    pixels = np.full((80, 80, 3), 255, np.uint8)
    pixels[10:30, 40:60] = pixels[50:56, 8:20] = 0
    PillowImage.fromarray(pixels).save(tmp_path / "fine.png")
    PillowImage.fromarray(pixels[::2, ::2]).save(tmp_path / "coarse.png")
    for name, mpp in [("fine", 0.25), ("coarse", 0.5)]:
        options = replace(OPTIONS, mpp=mpp)
        summary, _ = segment_slide(str(tmp_path / f"{name}.png"), squares, FileStore(tmp_path / "out"), options)
        assert summary.describe().startswith("no gland, 2 nuclei, no lumen in ")
        folder = tmp_path / "out" / name
        features = json.loads((folder / "objects.geojson").read_text())["features"]
        features.sort(key=lambda feature: -feature["properties"]["measurements"]["Area µm^2"])
        areas = [feature["properties"]["measurements"]["Area µm^2"] for feature in features]
        assert areas == pytest.approx([25, 4.5])  # 20 · 20 and 6 · 12 pixels of 0.0625 µm²
        ring = np.array(features[0]["geometry"]["coordinates"][0]) * mpp
        assert ring.min(axis=0) == pytest.approx([10, 2.5])
        assert ring.max(axis=0) == pytest.approx([15, 7.5])
        with PillowImage.open(folder / "nuclei.png") as labels:
            found = np.array(labels)
        assert found.shape == ((80, 80) if name == "fine" else (40, 40))
        np.testing.assert_array_equal(found > 0, (pixels if name == "fine" else pixels[::2, ::2])[..., 0] == 0)
        rows = list(csv.DictReader((folder / "objects.csv").read_text().splitlines()))
        for row in rows:  # The map has the ids of the table, where the table says that they are.
            x, y = (int(float(row[f"centroid_{axis}_px"])) for axis in "xy")
            assert found[y, x] == int(row["id"])
        assert len(rows) == 2
        assert summary.counts["nuclei"].classes["epithelial"] == 2
        assert summary.counts["nuclei"].not_in_map == 0


def test_objects_too_small_for_the_map_are_counted(tmp_path, monkeypatch, squares):
    """At 2 µm per pixel the image has a sixteenth of the pixels that are segmented."""
    mask = np.zeros((80, 80), bool)
    mask[0, 0], mask[40:60, 40:60] = True, True  # The first is not in the middle of a pixel of the image.
    seen = Evidence(mask=mask, inner=mask.astype(np.float32), types=np.zeros(mask.shape, np.uint8))
    nothing = Evidence(mask=np.zeros(mask.shape, bool))
    found = RegionEvidence(objects={"gland": nothing, "nuclei": seen, "lumen": nothing})
    monkeypatch.setattr(SquareRegions, "evidence", lambda *_: found)
    PillowImage.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "slide.png")
    store = FileStore(tmp_path / "out")
    summary, _ = segment_slide(str(tmp_path / "slide.png"), squares, store, replace(OPTIONS, mpp=2.0))
    counts = summary.counts["nuclei"]
    assert counts.all == 2
    assert counts.not_in_map == 1
    assert counts.classes[""] == 2
    rows = list(csv.DictReader(store.get("slide/objects.csv").decode().splitlines()))
    assert math.isclose(min(float(row["area_um2"]) for row in rows), 0.25)
