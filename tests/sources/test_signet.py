"""DigestPath's signet ring cells: the layout as published, and boxes that are not as they should be."""

import numpy as np
import pytest

from histoseg.errors import DataError
from histoseg.files.notes import collect
from histoseg.files.voc import read_voc
from histoseg.sources import digestpath_signet as source
from tests.sources.raw_files import grey, save

NAME = "2018_64982_1-3_2019-02-25 21_57_36-lv0-33516-59515-40-30"
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
CELL = "ring_cell_cancer"


def write(folder, *objects, size=(40, 30), name=NAME):
    """An image of 40x30 px and its XML, beside it."""
    save(folder / "Signet_ring_cell_dataset" / "sig-train-pos" / f"{name}.jpeg", grey(30, 40))
    stated = "<size><width>{}</width><height>{}</height></size>".format(*size) if size else ""
    text = f"<annotation>{stated}{''.join(OBJECT.format(*one) for one in objects)}</annotation>"
    path = folder / "Signet_ring_cell_dataset" / "sig-train-pos" / f"{name}.xml"
    path.write_text(text)
    return path


def test_images_with_and_without_cells(tmp_path):
    write(tmp_path, (CELL, 3, 4, 13, 12))
    save(tmp_path / "sig-train-neg" / "18-36771A_2019-05-08 22_29_28-lv0-40882-42749-2000-2000.jpeg", grey(8, 8))
    negative, positive = source.entries(tmp_path)
    assert [entry.patient for entry in (negative, positive)] == ["18-36771", "2018_64982"]
    assert positive.key == "2018_64982_1-3_2019-02-25-21_57_36-lv0-33516-59515-40-30"
    found = source.read(positive)
    assert found.boxes.corners.tolist() == [[3, 4, 13, 12]]
    assert found.boxes.classes.tolist() == [1]
    assert int(found.semantic_map.sum()) == 80
    assert len(source.read(negative).boxes.classes) == 0


def test_xml_in_a_folder_of_its_own_is_found(tmp_path):
    path = write(tmp_path, (CELL, 3, 4, 13, 12))
    (path.parent / "sig-train-pos-xml").mkdir()
    path.rename(path.parent / "sig-train-pos-xml" / path.name)
    (entry,) = source.entries(tmp_path)
    assert len(source.read(entry).boxes.classes) == 1


def test_boxes_that_reach_out_are_cut_and_those_of_nothing_left_out(tmp_path):
    rows = [(-2, 5, 8, 12), (7, 7, 7, 9), (50, 2, 60, 9), (9, 9, 5, 12), (1, 1, 4, 4)]
    path = write(tmp_path, *((CELL, *row) for row in rows))
    with collect() as notes:
        found = read_voc(path, {CELL: 1}, (30, 40))
    assert found.corners.tolist() == [[0, 5, 8, 12], [1, 1, 4, 4]]
    assert found.classes.tolist() == [1, 1]
    assert notes == {
        "boxes without area left out": 2,
        "boxes outside of the image left out": 1,
        "boxes cut at the border of the image": 1,
    }


@pytest.mark.parametrize(
    ("row", "size", "message"),
    [
        (("nucleus", 3, 4, 13, 12), (40, 30), "class 'nucleus'; expected ring_cell_cancer"),
        ((CELL, "three", 4, 13, 12), (40, 30), "expected a number for each of xmin"),
        ((CELL, "nan", 4, 13, 12), (40, 30), "expected a number"),
        ((CELL, 3, 4, 13, 12), (2000, 2000), "of an image of 2000x2000 px, but its image has 40x30"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, row, size, message):
    write(tmp_path, row, size=size)
    (entry,) = source.entries(tmp_path)
    with pytest.raises(DataError, match=message):
        source.read(entry)


def test_a_size_that_is_not_stated_is_not_compared(tmp_path):
    assert len(read_voc(write(tmp_path, (CELL, 3, 4, 13, 12), size=None), {CELL: 1}, (30, 40)).classes) == 1


def test_an_image_without_objects_has_no_boxes(tmp_path):
    found = read_voc(write(tmp_path), {CELL: 1}, (30, 40))
    assert found.corners.shape == (0, 4)
    assert found.corners.dtype == np.float32


def test_entities_are_refused(tmp_path):
    path = write(tmp_path)
    path.write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    with pytest.raises(DataError, match="not well-formed XML"):
        read_voc(path, {CELL: 1}, (30, 40))
