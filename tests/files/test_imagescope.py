"""Layers and holes of ImageScope's annotations."""

import numpy as np
import pytest

from histoseg.errors import DataError
from histoseg.files.imagescope import read_imagescope
from histoseg.files.layers import choose_layer
from histoseg.files.notes import collect
from histoseg.files.regions import draw_polygons

SIZE = (30, 30)


def region(left, top, right, bottom, attributes=""):
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return f"<Region {attributes}>" + "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in corners) + "</Region>"


def layer(*regions, name=""):
    return f'<Annotation Name="{name}"><Regions>{"".join(regions)}</Regions></Annotation>'


@pytest.fixture
def write(tmp_path):
    def write(*layers):
        path = tmp_path / "a.xml"
        path.write_text(f"<Annotations>{''.join(layers)}</Annotations>")
        return path

    return write


NEGATIVE = 'NegativeROA="1"'
NUCLEI = region(2, 2, 5, 5), region(8, 8, 12, 12)


def test_layers_and_class_names(write):
    regions = read_imagescope(write(layer(*NUCLEI), layer(region(0, 0, 9, 9, 'Text="big"'), name="ROI"), layer()))
    assert [(found.layer, found.class_name) for found in regions] == [("layer 1", "layer 1")] * 2 + [("ROI", "big")]
    assert regions[0].polygons[0].outline.tolist() == [[2, 2], [5, 2], [5, 5], [2, 5]]


def test_a_negative_region_is_a_hole(write):
    path = write(layer(region(2, 2, 20, 20), region(8, 8, 12, 12, NEGATIVE), *NUCLEI[:1]))
    with collect() as notes:
        regions = read_imagescope(path)
    drawn = draw_polygons(regions, SIZE, path, with_edges=True)
    # Edges included: 19 x 19 pixels with a hole of 5 x 5, and 4 x 4 of the nucleus, drawn later.
    assert np.bincount(drawn.instance_map.ravel()).tolist()[1:] == [19 * 19 - 25 - 16, 16]
    assert notes == {"negative regions cut out of the region around them": 1}


def test_a_hole_belongs_to_the_last_region_of_its_layer_that_holds_it(write):
    hole = region(8, 8, 12, 12, NEGATIVE)
    path = write(
        layer(hole, region(5, 5, 20, 20), region(6, 6, 20, 20), region(22, 22, 25, 25)), layer(region(0, 0, 29, 29))
    )
    assert [len(found.polygons[0].holes) for found in read_imagescope(path)] == [0, 1, 0, 0]


def test_negative_regions_outside_of_any_other(write):
    path = write(layer(*NUCLEI, region(20, 20, 25, 25, NEGATIVE)))
    with collect() as notes:
        assert len(read_imagescope(path)) == 2
    assert notes == {"negative regions without a region around them left out": 1}


@pytest.mark.parametrize("frame", [layer(region(0, 0, 30, 30), name="ROI"), layer(name="empty")])
def test_a_layer_that_frames_the_image_or_is_empty_is_not_the_truth(write, frame):
    path = write(frame, layer(*NUCLEI))
    with collect() as notes:
        chosen = choose_layer(read_imagescope(path), SIZE, path)
    assert [found.layer for found in chosen] == ["layer 2"] * 2
    assert notes == ({"layers beside the one with the objects left out": 1} if "ROI" in frame else {})


def test_two_layers_of_objects_are_refused_unless_one_is_chosen(write):
    path = write(layer(*NUCLEI, name="nuclei"), layer(region(0, 0, 20, 20), name="tumour"))
    regions = read_imagescope(path)
    with pytest.raises(DataError, match=r"a.xml: layers 'nuclei' with 2 regions, 'tumour' with 1 regions.*layer=NAME"):
        choose_layer(regions, SIZE, path)
    assert len(choose_layer(regions, SIZE, path, "nuclei")) == 2
    with pytest.raises(DataError, match="no layer 'glands'; it has 'nuclei' with 2 regions"):
        choose_layer(regions, SIZE, path, "glands")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html/>", "a.xml: root element html; expected Annotations"),
        ('<Annotations><Annotation><Region><Vertex X="1"/></Region></Annotation></Annotations>', "region 1 of layer 1"),
        (f"<Annotations>{layer(region(0, 0, 'nan', 4))}</Annotations>", "region 1 of layer 1: a vertex at x = nan"),
        (
            f"<Annotations>{layer(region(0, 0, 1e300, 4))}</Annotations>",
            r"region 1 of layer 1: a vertex at x = 1e\+300",
        ),
        ("", "a.xml: not well-formed XML"),
        ('<?xml version="1.0" encoding="klingon"?><Annotations/>', "a.xml: not well-formed XML"),
    ],
)
def test_faults(tmp_path, text, message):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_imagescope(tmp_path / "a.xml")
