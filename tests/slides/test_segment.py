"""A slide region by region gives what the same model finds in the whole of it, held in memory."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from histoseg.demo.slides import write_slide
from histoseg.inference.segment import segment_slide
from histoseg.maps.objects import find_objects
from histoseg.maps.windows import MarginWindows, Window
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.weights import Model
from histoseg.slides.objects import ObjectFile
from histoseg.slides.options import SegmentOptions
from histoseg.slides.reader import open_slide
from histoseg.slides.summary import read_summary
from histoseg.slides.tissue_map import read_tissue
from histoseg.store.objects import FileStore
from histoseg.structures import structure
from tests.slides import fields
from tests.slides.blobs import draw_model

WINDOWS = MarginWindows(window_px=96, margin_px=16)
OPTIONS = SegmentOptions(windows=WINDOWS, mask="none", region_px=256)


@pytest.fixture(scope="module")
def model():
    return draw_model()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "one.tif"
    write_slide(path, width=1280, height=1024, mpp=0.5, seed=3)
    return str(path)


def find_whole(address, model, tissue=None):
    """Each object as structure, class, share, area and box, and the classes of tissue, of the whole slide at once."""
    with open_slide(address) as slide:
        size_px = slide.size_at(model.mpp)
        image = slide.read(0, 0, *size_px, model.mpp)
        regions = model.spec.regions(model.network, mpp=model.mpp)
        seen = regions.evidence(image, [Window(top=0, left=0, height=size_px[0], width=size_px[1])], size_px)
        if tissue is not None:
            seen = replace(seen, objects={name: evidence.seen(tissue) for name, evidence in seen.objects.items()})
        found = fields.find_whole(seen, regions)
        return sorted(one for each in found for one in list_objects(each, model)), seen.tissue.argmax(axis=0)


def list_objects(found, model):
    """The objects of a map of base pixels, of half a micron."""
    objects = find_objects(found.instance_map)
    names = model.classes.get(structure(found.structure).type_decoder, ())
    for area, (top, left, bottom, right), kind, share in zip(
        objects.areas, objects.boxes.tolist(), found.classes.tolist(), found.class_probabilities.tolist(), strict=True
    ):
        share_of_class = round_share(share if names and kind else None)
        box = float(left), float(top), float(right), float(bottom)
        yield found.structure, names[kind] if names and kind else "", share_of_class, float(area) / 4, *box


def round_share(share):
    return round(float(np.float32(share or 0)), 5)


def list_rows(table):
    return sorted(
        (
            row["structure"],
            row["class"] or "",
            round_share(row["class_probability"]),
            row["area_um2"],
            *row["bbox"].values(),
        )
        for row in table.drop_columns(["geometry"]).to_pylist()
    )


def test_the_objects_are_those_of_the_whole(tmp_path, address, model):
    store = FileStore(tmp_path)
    summary, was_there = segment_slide(address, model, store, OPTIONS)
    assert not was_there
    expected, kinds = find_whole(address, model)
    assert list_rows(ObjectFile.open(store, "one/objects.parquet").read()) == expected
    np.testing.assert_array_equal(read_tissue(tmp_path / "one" / "tissue.tif").class_map, kinds)
    assert summary == read_summary(store, "one")
    counts = {name: count.all for name, count in summary.counts.items()}
    assert Counter(one[0] for one in expected) == counts
    assert counts["gland"] > 5
    assert counts["lumen"] > 5
    assert counts["nuclei"] > 500
    assert not store.list("one/.parts/")
    assert segment_slide(address, model, store, OPTIONS) == (summary, True)


def test_what_a_mask_leaves_out_is_background(tmp_path, address, model):
    """Two rectangles are tissue: their edges cross regions, windows and objects."""
    mask = np.zeros((64, 80), np.uint8)  # 16 pixels of the slide each
    mask[5:40, 9:50] = mask[45:60, 30:77] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "one.png")
    options = replace(OPTIONS, mask=str(tmp_path / "masks"))
    store = FileStore(tmp_path / "results")
    segment_slide(address, model, store, options)
    tissue = np.kron(mask > 0, np.ones((16, 16), bool))
    expected, kinds = find_whole(address, model, tissue)
    assert list_rows(ObjectFile.open(store, "one/objects.parquet").read()) == expected
    assert 100 < len(expected) < len(find_whole(address, model)[0])
    left_out = len(model.classes["tissue"])
    middles = tissue[16::32, 16::32]  # Of squares of 32 pixels
    found = read_tissue(store.root / "one" / "tissue.tif").class_map
    np.testing.assert_array_equal(found, np.where(middles, kinds, left_out))


def test_a_network_sees_the_same_whatever_the_regions(tmp_path, address):
    """Cerberus itself: its objects in a slide of nine regions are those of one region, or nearly, see below."""
    tables = []
    network = build(CerberusParts(encoder="unet", width=4, decoders={"nuclei": 3}), 1)
    with open_slide(address) as slide, torch.no_grad():
        for _ in range(10):
            network.train()(torch.from_numpy(slide.read(0, 0, 512, 512, 0.5))[None])
    spec = CerberusSpec(encoder="unet", width=4, contour=True)
    model = Model(spec=spec, network=network.eval(), classes={}, mpp=0.5, origin="a test", sha256="1" * 64)
    for region_px in (448, 1280):
        store = FileStore(tmp_path / str(region_px))
        segment_slide(address, model, store, replace(OPTIONS, region_px=region_px))
        tables.append(list_rows(ObjectFile.open(store, "one/objects.parquet").read()))
    assert len(tables[0]) > 100
    assert tables[0] == tables[1]
