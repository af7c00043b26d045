import cv2
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from histoseg.errors import DataError
from histoseg.report.layout import lay_out
from histoseg.report.panels import _height, choose_panels, decode_png, draw_panels
from tests.report.records import (
    COLOURS,
    make_fold_record,
    make_record,
    read_class_panel,
    read_object_panel,
    to_png,
)
from tests.report.specs import make_folds_spec
from tests.report.test_figures import has_colour, pixels
from tests.report.test_table import folds, pairs


def test_panels_show_painted_classes_and_their_legend():
    picture = pixels(draw_panels(pairs(make_record(with_panels=True)), read_class_panel))
    for colour in COLOURS[:2]:
        assert has_colour(picture, colour)
    assert has_colour(picture, "#8a8f96")  # Only the legend has it.


def test_panels_of_the_image_that_most_methods_show():
    maml, transfer = (make_record(method=method, with_panels=True) for method in ("maml", "transfer"))
    alone = maml.panels[0].model_copy(update={"key": "only-maml", "image": "panels/glas-009/image.png"})
    table = pairs(maml.model_copy(update={"panels": (alone, *maml.panels)}), transfer)
    asked = []

    def read(key):
        asked.append(key)
        return read_class_panel(key)

    assert draw_panels(table, read) is not None
    first, second = maml.panels[0], transfer.panels[0]
    assert asked == [first.image, first.truth, first.prediction, second.prediction]
    assert {name: [one.title for one in shown] for name, shown in choose_panels(table).items()} == {
        "Glands": ["MAML", "TransferL"]
    }


def test_methods_are_compared_after_one_predecessor_set():
    """The same test image is shown by every column: those of one group belong together."""
    records = [make_record("glas", column, "maml", with_panels=True) for column in ("all_others", "monuseg")]
    shown = choose_panels(pairs(*records, make_record(method="transfer", with_panels=True)))
    assert [one.record.column for one in shown["Glands"]] == ["monuseg.maml", "monuseg.transfer"]


def test_panels_are_of_one_image_and_of_different_trainings():
    rows = {f"row{i}": f"Row {i}" for i in range(7)}
    records = [make_fold_record(row, structures=("gland",)) for row in rows]
    records[1] = records[1].model_copy(update={"stages": records[0].stages})
    other = make_fold_record("row0", 1, structures=("gland",))
    panel = other.panels[0].model_copy(update={"key": "gland-001"})
    table = lay_out(make_folds_spec(rows=rows), [other.model_copy(update={"panels": (panel,)}), *records])
    shown = choose_panels(table)["Gland"]
    # Six trainings are left of seven rows; of those the first, the last and two between them.
    assert [one.title for one in shown] == ["Row 0", "Row 3", "Row 4", "Row 6"]
    assert {one.panel.key for one in shown} == {"gland-000"}


def test_structures_are_those_of_the_table_in_its_order():
    table = folds(make_fold_record(structures=("lumen", "nuclei", "gland")))
    assert list(choose_panels(table)) == ["Gland", "Lumen"]
    assert pixels(draw_panels(table, read_object_panel)).shape[0] > 400


def test_a_table_without_structures_shows_all_that_its_records_show():
    table = folds(make_fold_record(structures=("nuclei",)), structure=lambda _column: "")
    assert list(choose_panels(table)) == ["Nuclei"]


def test_without_panels_there_is_no_figure():
    assert draw_panels(pairs(make_record()), read_class_panel) is None


GREY, DEEP = np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16)


@pytest.mark.parametrize("body", [b"", b"no picture", to_png(GREY), cv2.imencode(".png", DEEP)[1].tobytes()])
def test_a_damaged_panel_is_named(body):
    table = pairs(make_record(with_panels=True))
    with pytest.raises(DataError, match=rf"panels/glas-000/truth.png: {len(body)} bytes .* 8-bit RGB .* again"):
        draw_panels(table, lambda key: body if key.endswith("truth.png") else read_class_panel(key))


def test_pictures_are_read_in_rgb():
    picture = np.zeros((3, 5, 3), np.uint8)
    picture[..., 0] = 200
    np.testing.assert_array_equal(decode_png(to_png(picture), "key"), picture)


@pytest.mark.parametrize("wrong", [np.zeros((2, 2, 3), np.int64), np.zeros((2, 2), np.uint8)])
def test_a_picture_of_another_shape_or_dtype_is_refused(wrong):
    with pytest.raises(TypeCheckError):
        _height([wrong])
