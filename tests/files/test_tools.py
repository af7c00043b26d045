"""Files of annotation tools: worked by hand, round trips, and every fault by name."""

import json
import zipfile

import numpy as np
import pytest
import roifile
import scipy.ndimage

from histoseg.errors import DataError
from histoseg.exports import geojson
from histoseg.files.coco import read_coco
from histoseg.files.geojson import read_geojson
from histoseg.files.imagej import read_imagej
from histoseg.files.labelme import read_labelme
from histoseg.files.notes import collect
from histoseg.files.regions import draw_polygons
from tests.slides.mapped import slide_of

SQUARE = [[1, 1], [5, 1], [5, 5], [1, 5], [1, 1]]
HOLE = [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]
ISLAND = [[2.5, 2.5], [3.5, 2.5], [3.5, 3.5], [2.5, 3.5], [2.5, 2.5]]


@pytest.fixture
def write(tmp_path):
    def write(content, name="a.json"):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def drawn(regions, path, size=(8, 8)):
    return draw_polygons(regions, size, path).instance_map


def feature(coordinates, kind="Polygon", **properties):
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


# QuPath


def test_geojson_holes_pieces_and_classes(write):
    tumour = feature([SQUARE, HOLE], objectType="annotation", classification={"name": "Tumour", "color": [1, 2, 3]})
    pieces = feature([[[[6, 0], [8, 0], [8, 2], [6, 2]]], [[[0, 6], [2, 6], [2, 8], [0, 8]]]], "MultiPolygon")
    derived = feature([[[6, 6], [8, 6], [8, 8], [6, 8]]], classification={"names": ["Immune", "CD3"]})
    path = write({"type": "FeatureCollection", "features": [tumour, pieces, derived]})
    regions = read_geojson(path)
    assert [(found.class_name, found.layer) for found in regions] == [
        ("Tumour", "annotation"), ("", ""), ("Immune: CD3", ""),
    ]  # fmt: skip
    assert np.bincount(drawn(regions, path).ravel()).tolist() == [64 - 12 - 8 - 4, 16 - 4, 2 * 4, 4]


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one], lambda one: {"features": [one]}])
def test_geojson_as_one_feature_or_a_list(write, wrap):
    assert len(read_geojson(write(wrap(feature([SQUARE]))))) == 1


@pytest.mark.parametrize("key", ["childObjects", "children"])
def test_geojson_objects_below_others_are_read_too(write, key):
    """QuPath writes its hierarchy of objects so, where it is asked for."""
    nuclei = [feature([HOLE], objectType="detection"), feature([ISLAND], objectType="detection")]
    gland = feature([SQUARE], objectType="annotation", **{key: [{**nuclei[0]}, nuclei[1]]})
    assert [found.layer for found in read_geojson(write([gland]))] == ["annotation", "detection", "detection"]


def test_geojson_points_are_left_out_and_cells_noted(write):
    cell = {**feature([SQUARE], objectType="cell"), "nucleusGeometry": {"type": "Polygon", "coordinates": [HOLE]}}
    with collect() as notes:
        read_geojson(write([cell, feature([3, 4], "Point")]))
    assert notes == {
        "features that are no polygons left out": 1,
        "cells read by their outline, not that of their nucleus": 1,
    }
    with pytest.raises(DataError, match=r"a.json: 2 of 3 are features that are no polygons"):
        read_geojson(write([cell, feature([3, 4], "Point"), {**cell, "geometry": None}]))


@pytest.mark.parametrize("key", ["objectType", "object_type"])
def test_geojson_types_of_object_are_layers_in_either_spelling(write, key):
    (region,) = read_geojson(write([feature([SQUARE], **{key: "cell"})]))
    assert region.layer == "cell"


@pytest.mark.parametrize("seed", range(3))
def test_exported_predictions_come_back(tmp_path, seed):
    """Pixel by pixel, for objects of one piece without a hole."""
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).random((60, 80)), 2)
    pieces = scipy.ndimage.label(scipy.ndimage.binary_fill_holes(noise > 0.52))[0].astype(np.int32)
    count = int(pieces.max())
    slide = slide_of(tmp_path, {"nuclei": pieces}, {"nuclei": [1] * count}, {"nuclei_type": ("background", "tumour")})
    path = tmp_path / "objects.geojson"
    geojson.write(path, slide)
    regions = read_geojson(path)
    assert {found.class_name for found in regions} == {"tumour"}
    found = drawn(regions, path, pieces.shape)
    np.testing.assert_array_equal(found > 0, pieces > 0)
    pairs = np.unique(np.stack([found.ravel(), pieces.ravel()]), axis=1)
    assert pairs.shape[1] == count + 1  # Features have an order of their own, so each number stands for one number.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.json: the file: Invalid JSON"),
        ('{"features": [', "a.json: the file: Invalid JSON"),
        ({"type": "FeatureCollection"}, "a.json: features: Field required"),
        ([{"type": "Feature"}], "a.json: features.0.geometry: Field required"),
        ([feature([[[0, 0], [1, "x"], [1, 1]]])], "feature 1: a vertex that is not two numbers"),
        ([feature([SQUARE]), feature([[[0, 0], [1, 0], [1e9, 1]]])], r"feature 2: a vertex at x = 1e\+09"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [NaN, 1], [1, 1]]]}}]', "x = nan"),
        ([feature([[0, 0], [1, 1]])], "feature 1: a vertex that is not two numbers"),
        ([feature(5)], "geometry.coordinates: Input should be"),
        ("[" * 100_000, "a.json: the file: Invalid JSON"),
    ],
)
def test_geojson_faults(write, content, message):
    with pytest.raises(DataError, match=message):
        read_geojson(write(content))


# LabelMe


def test_labelme_shapes(write):
    shapes = [
        {"label": "gland", "points": [[0, 0], [3, 0], [3, 3], [0, 3]], "shape_type": "polygon", "group_id": 4},
        {"label": "nucleus", "points": [[7, 2], [5, 0]], "shape_type": "rectangle"},
        {"label": "gland", "points": [[0, 5], [2, 5], [2, 8], [0, 8]], "group_id": 4},
        {"label": "lumen", "points": [[6, 6], [6, 4]], "shape_type": "circle", "group_id": None},
        {"label": "dot", "points": [[1, 1]], "shape_type": "point"},
    ]
    path = write({"version": "5.0", "shapes": shapes, "imagePath": "a.png"})
    with collect() as notes:
        regions = read_labelme(path)
    assert [found.class_name for found in regions] == ["gland", "nucleus", "lumen"]
    # The circle of radius 2 about (6, 6): middles at half pixels, of which 12 are within sqrt(4) of it.
    assert np.bincount(drawn(regions, path).ravel()).tolist() == [64 - 15 - 4 - 12, 9 + 6, 4, 12]
    assert notes == {"shapes that are no polygons left out": 1}


def test_labelme_rectangles_may_have_all_their_corners(write):
    corners = [[1, 1], [4, 1], [4, 3], [1, 3]]
    path = write({"shapes": [{"label": "a", "points": corners, "shape_type": "rectangle"}], "imageHeight": None})
    assert drawn(read_labelme(path), path).sum() == 6


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"label": "a"}, "shapes.0.points: Field required"),
        ({"label": "a", "points": [[0, 0]], "shape_type": "rectangle"}, "shape 1: a rectangle of 1 points"),
        ({"label": "a", "points": [[0, "y"]]}, "shape 1: a vertex that is not two numbers"),
    ],
)
def test_labelme_faults(write, shape, message):
    with pytest.raises(DataError, match=message):
        read_labelme(write({"shapes": [shape]}))


# COCO


def coco(*segmentations, **fields):
    annotations = [{"id": i, "image_id": 1, "category_id": 3, "segmentation": s} for i, s in enumerate(segmentations)]
    return {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "nucleus"}],
        **fields,
    }


# What pycocotools 2.0 gives for MASK and for a mask of 5 x 300 full or empty pixels.
MASK = np.zeros((7, 9), np.int32)
MASK[1:4, 2:5] = MASK[5:7, 0] = MASK[:, 7] = 1
MASK[3, 3] = 0
COMPRESSED = "5281LO11<4F"


def test_coco_polygons_and_run_lengths(write):
    runs = np.flatnonzero(np.diff(np.concatenate([[0], MASK.T.ravel(), [0]]))).tolist()
    counts = np.diff([0, *runs, MASK.size]).tolist()
    for encoded in (counts, COMPRESSED):
        path = write(coco({"size": [7, 9], "counts": encoded}))
        read = read_coco(path)
        assert read["b.png"] == []
        np.testing.assert_array_equal(drawn(read["a.png"], path, MASK.shape), MASK)
    path = write(coco([[0, 0, 2, 0, 2, 2, 0, 2], [4, 4, 6, 4, 6, 7, 4, 7]]))
    (region,) = read_coco(path)["a.png"]
    assert region.class_name == "nucleus"
    assert drawn([region], path).sum() == 4 + 6


@pytest.mark.parametrize(("text", "value"), [("0l^1", 1), ("l^1", 0)])
def test_coco_long_runs(write, text, value):
    path = write(coco({"size": [5, 300], "counts": text}, [[0, 0, 9, 0, 9, 9]], [[0, 0, 9, 0, 9, 9]]))
    regions = read_coco(path)["a.png"]
    assert len(regions) == 2 + value
    if value:
        assert (drawn(regions[:1], path, (5, 300)) == 1).all()


def test_coco_crowds_and_boxes_are_left_out(write):
    content = coco([[0, 0, 9, 0, 9, 9]], [[0, 0, 9, 0, 9, 9]], [[0, 0, 9, 0, 9, 9]], [])
    content["annotations"][1]["iscrowd"] = 1
    with collect() as notes:
        assert len(read_coco(write(content))["a.png"]) == 2
    assert notes == {"annotations that are crowds or boxes left out": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (coco([[0, 0, 1]]), "annotation 1: a polygon of 3 numbers"),
        (coco({"size": [7, 9], "counts": [1, 2]}), "annotation 1: run lengths of 3 pixels for a mask of 7 x 9"),
        (coco({"size": [7, 9], "counts": "~~~"}), "annotation 1: run lengths of"),
        (coco({"size": [7, 9], "counts": [-63, 126]}), "annotation 1: run lengths of"),
        (coco([[0, 0, 9, 0, 9, 9]], categories=[]), r"annotation 1: image 1, category 3; the file lists no such"),
        (coco(images=[{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]), "images share an id or a file name"),
        ({"images": []}, "annotations: Field required"),
    ],
)
def test_coco_faults(write, content, message):
    with pytest.raises(DataError, match=message):
        read_coco(write(content))


# ImageJ


def roi(kind, points=None, name="a", **fields):
    made = roifile.ImagejRoi.frompoints(points or [(1, 1), (5, 1), (5, 5), (1, 5)], name=name)
    made.roitype = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def composite():
    """A square with a hole and an island in the hole: ImageJ's paths of moves (0), lines (1) and ends (4)."""
    made = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=1, top=1, right=5, bottom=5, name="ring")
    path = []
    for ring in (SQUARE, HOLE, ISLAND):
        path += [0.0, *ring[0]]
        for point in ring[1:-1]:
            path += [1.0, *point]
        path.append(4.0)
    made.multi_coordinates, made.shape_roi_size = np.array(path, np.float32), len(path)
    return made


def test_imagej_shapes(tmp_path):
    rois = [
        roi(roifile.ROI_TYPE.FREEHAND, name="free", group=2),
        roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=6, top=0, right=8, bottom=2, name="rect"),
        roi(roifile.ROI_TYPE.LINE, name="line"),
    ]
    roifile.roiwrite(tmp_path / "RoiSet.zip", rois)
    with collect() as notes:
        regions = read_imagej(tmp_path / "RoiSet.zip")
    assert [(found.class_name, found.layer) for found in regions] == [("free", "2"), ("rect", "")]
    assert np.bincount(drawn(regions, tmp_path).ravel()).tolist() == [64 - 16 - 4, 16, 4]
    assert notes == {"regions that are points, lines, texts or pictures left out": 1}


def test_imagej_composite_with_a_hole_and_an_island(tmp_path):
    composite().tofile(tmp_path / "a.roi")
    (region,) = read_imagej(tmp_path / "a.roi")
    assert [len(polygon.holes) for polygon in region.polygons] == [1, 0]
    found = drawn([region], tmp_path)
    # 4 x 4 pixels without the 2 x 2 of the hole; of the island's four middles, all on its edge, the first counts.
    assert found.sum() - found[2:4, 2:4].sum() == 16 - 4
    assert found[2:4, 2:4].tolist() == [[1, 0], [0, 0]]


def test_imagej_texts_and_pictures_are_no_objects(tmp_path):
    """ImageJ stores them as rectangles of a subtype."""
    label = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=6, top=0, right=8, bottom=2, name="label")
    label.subtype = roifile.ROI_SUBTYPE.TEXT
    roifile.roiwrite(tmp_path / "RoiSet.zip", [roi(roifile.ROI_TYPE.FREEHAND), label])
    with collect() as notes:
        assert [found.class_name for found in read_imagej(tmp_path / "RoiSet.zip")] == ["a"]
    assert notes == {"regions that are points, lines, texts or pictures left out": 1}


def test_imagej_archives_that_other_programs_packed_again(tmp_path):
    with zipfile.ZipFile(tmp_path / "RoiSet.zip", "w") as archive:
        archive.writestr("RoiSet/", b"")
        archive.writestr("RoiSet/0001.roi", roi(roifile.ROI_TYPE.FREEHAND).tobytes())
        for name in ("__MACOSX/RoiSet/._0001.roi", "RoiSet/.DS_Store", "RoiSet/Results.csv"):
            archive.writestr(name, b"x")
    assert len(read_imagej(tmp_path / "RoiSet.zip")) == 1


@pytest.mark.parametrize("name", ["a.roi", "a.zip"])
@pytest.mark.parametrize("body", [b"", b"Iout" + b"\xff" * 80, b"PK\x03\x04" + b"\0" * 40])
def test_imagej_damaged(tmp_path, name, body):
    (tmp_path / name).write_bytes(body)
    with pytest.raises(DataError, match=rf"{name}: "):
        read_imagej(tmp_path / name)


def test_imagej_other_files(tmp_path):
    with pytest.raises(DataError, match=r"a.txt: expected a .roi or .zip file"):
        read_imagej(tmp_path / "a.txt")
