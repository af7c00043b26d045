import subprocess
import sys

import cv2
import numpy as np
import pytest

from histoseg.errors import DataError
from tests.report.records import make_record, read_panel
from tests.report.table_of_four import make_spec
from tests.report.test_tables import load


@pytest.fixture(scope="module")
def spec():
    return make_spec()


@pytest.fixture(scope="module")
def records():
    return load(*(make_record(*address, with_panels=True) for address in make_spec().addresses[:4]))


@pytest.fixture(scope="module")
def cells(spec, records):
    from histoseg.report.cells import collect_cells

    return collect_cells(spec, records)


def pixels(png):
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert min(decoded.shape[:2]) > 100
    return decoded


def has_colour(picture, colour):
    return (picture == tuple(bytes.fromhex(colour[1:]))).all(axis=-1).any()


def test_figures_are_pictures_with_every_method(spec, records, cells):
    from histoseg.report import figures
    from histoseg.report.drawing import METHOD_COLOURS

    for png in (
        figures.draw_comparison(spec, cells),
        figures.draw_refinement(spec, records),
        figures.draw_pretraining(spec, records),
    ):
        for colour in METHOD_COLOURS[:2]:
            assert has_colour(pixels(png), colour)


def test_figures_stand_without_paper_curves_or_intervals(spec):
    from histoseg.report import figures
    from histoseg.report.cells import collect_cells

    raw = make_record(interval=(float("nan"), float("nan")))
    few = load({**raw, "pretrain_curve": [], "refine_curve": []})
    bare = make_spec(paper={})
    pixels(figures.draw_comparison(bare, collect_cells(bare, few)))
    pixels(figures.draw_refinement(bare, few))
    pixels(figures.draw_pretraining(bare, few))


def test_figures_use_no_pyplot():
    # In a process of its own: other tests may load it.
    code = "import sys, histoseg.report.page; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_same_records_give_the_same_bytes(spec, cells):
    from histoseg.report.figures import draw_comparison

    assert draw_comparison(spec, cells) == draw_comparison(spec, cells)


def test_panels_show_image_and_maps(spec, cells):
    from histoseg.report.panels import BACKGROUND_COLOUR, CLASS_COLOURS, IGNORE_COLOUR, draw_panels

    picture = pixels(draw_panels(spec, cells, read_panel))
    for colour in (BACKGROUND_COLOUR, CLASS_COLOURS[0], IGNORE_COLOUR):
        assert has_colour(picture, colour)


def test_panels_of_an_image_that_both_methods_show(spec):
    from histoseg.report.cells import collect_cells
    from histoseg.report.panels import draw_panels

    maml, transfer = (make_record(method=method, with_panels=True) for method in ("maml", "transfer"))
    maml["panels"].insert(0, {**maml["panels"][0], "key": "only-maml", "image": "panels/glas-009/image.png"})
    asked = []

    def read(key):
        asked.append(key)
        return read_panel(key)

    assert draw_panels(spec, collect_cells(spec, load(maml, transfer)), read) is not None
    assert set(asked) == {*maml["panels"][1].values(), *transfer["panels"][0].values()} - {"glas-000"}


def test_without_panels_there_is_no_figure(spec):
    from histoseg.report.cells import collect_cells
    from histoseg.report.panels import draw_panels

    assert draw_panels(spec, collect_cells(spec, load(make_record())), read_panel) is None


@pytest.mark.parametrize("body", [b"", b"no picture"])
def test_a_damaged_panel_is_named(spec, cells, body):
    from histoseg.report.panels import draw_panels

    with pytest.raises(DataError, match=r"panels/glas-000/truth.png: .* no 8-bit PNG"):
        draw_panels(spec, cells, lambda key: body if key.endswith("truth.png") else read_panel(key))


def test_a_coloured_label_map_is_refused(spec, cells):
    from histoseg.report.panels import draw_panels

    with pytest.raises(DataError, match="a label map has one channel, this picture has 3"):
        draw_panels(spec, cells, lambda key: read_panel("panels/glas-000/image.png"))


def test_paint_leaves_class_0_dark_and_repeats_its_palette():
    from histoseg.report.panels import paint

    painted = paint(np.array([[0, 1, 8, 255]], np.uint8))[0].tolist()
    assert painted[0] == [0x16, 0x19, 0x1D]
    assert painted[1] == painted[2] == [0xE6, 0x9F, 0x00]
    assert painted[3] == [0x8A, 0x8F, 0x96]


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 3), np.uint8)])
def test_paint_refuses_another_shape_or_dtype(wrong):
    from jaxtyping import TypeCheckError

    from histoseg.report.panels import paint

    with pytest.raises(TypeCheckError):
        paint(wrong)
