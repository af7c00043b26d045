"""What people open of a small image: tables, shapes for QuPath, maps of labels, and the overlay."""

import csv
import json

import numpy as np
import pytest
import shapely
from PIL import Image as PillowImage

from histoseg.exports import csv as csv_form
from histoseg.exports import geojson
from histoseg.inference import overlay
from histoseg.inference.pictures import draw_labels, save_map
from histoseg.models.cerberus.published import PUBLISHED_CLASSES
from histoseg.slides.colours import class_colour, colours_of
from histoseg.slides.columns import COLUMNS
from histoseg.slides.summary import PixelsAbout, TissueAbout
from histoseg.slides.wkb import decode
from tests.slides.mapped import slide_of

CLASSES = {"nuclei_type": ("background", "round", "long")}
CANVAS_PX = 40


def features_of(slide, tmp_path):
    geojson.write(tmp_path / "objects.geojson", slide)
    return json.loads((tmp_path / "objects.geojson").read_text())["features"]


@pytest.fixture
def maps():
    """A gland with a nucleus within, and a nucleus of one pixel whose id leaves a gap."""
    gland, nuclei = np.zeros((2, CANVAS_PX, CANVAS_PX), np.int32)
    gland[4:24, 2:32] = 1
    nuclei[10:14, 10:16] = 1
    nuclei[30, 35] = 3
    return {"gland": gland, "nuclei": nuclei}


KINDS = {"gland": [0], "nuclei": [2, 0]}


def test_rings_of_one_object_may_have_different_numbers_of_corners(tmp_path):
    gland = np.zeros((CANVAS_PX, CANVAS_PX), np.int32)
    gland[2:30, 2:30] = 1
    gland[5:8, 5:8] = 0
    gland[12:20, 12:14] = gland[18:20, 12:20] = 0  # An L has six corners.
    (found,) = slide_of(tmp_path, {"gland": gland}).rows()
    assert sorted(len(ring[:-1]) for rings in decode(found.geometry) for ring in rings) == [4, 4, 6]


def test_objects_are_named_in_the_pixels_of_the_image(maps, tmp_path):
    gland, long, dot = slide_of(tmp_path, maps, KINDS, CLASSES, scale=2, mpp=0.25).rows()
    assert (gland.structure, gland.id, gland.class_name, gland.class_probability) == ("gland", 1, "", None)
    assert gland.box == (4, 8, 64, 48)  # Columns 2 to 32 and rows 4 to 24, twice
    assert gland.centroid == pytest.approx((34, 28))  # Their middle
    assert gland.area_um2 == pytest.approx(20 * 30 * 0.5**2)  # Pixels of 0.5 µm were segmented.
    assert (long.id, long.class_name, long.class_probability) == (2, "long", 0.75)
    assert (dot.id, dot.class_name, dot.class_probability) == (3, "", None)
    assert dot.centroid == pytest.approx((71, 61))  # The middle of column 35 and row 30, twice
    (((*corners, _),),) = decode(dot.geometry)  # Along the edges of its pixel
    assert sorted(map(tuple, corners)) == [(70, 60), (70, 62), (72, 60), (72, 62)]


def test_the_table_can_be_read_back(maps, tmp_path):
    csv_form.write(tmp_path / "objects.csv", slide_of(tmp_path, maps, KINDS, CLASSES))
    rows = list(csv.DictReader((tmp_path / "objects.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [row["structure"] for row in rows] == ["gland", "nuclei", "nuclei"]
    assert [row["class"] for row in rows] == ["", "long", ""]
    assert [row["class_probability"] for row in rows] == ["", "0.7500", ""]
    assert float(rows[0]["area_um2"]) == 150  # 600 pixels of 0.25 µm²
    assert [rows[0][f"{side}_px"] for side in ("left", "top", "right", "bottom")] == ["2.00", "4.00", "32.00", "24.00"]


def test_without_objects_there_is_a_header(tmp_path):
    nothing = slide_of(tmp_path, {"gland": np.zeros((4, 4), np.int32)})
    csv_form.write(tmp_path / "objects.csv", nothing)
    assert (tmp_path / "objects.csv").read_text().strip() == ",".join(COLUMNS)
    assert features_of(nothing, tmp_path) == []


def test_geojson_is_as_qupath_reads_it(maps, tmp_path):
    features = features_of(slide_of(tmp_path, maps, KINDS, CLASSES), tmp_path)
    gland, long, dot = features
    assert gland["properties"]["objectType"] == "annotation"
    assert gland["properties"]["classification"]["name"] == "gland"
    assert gland["properties"]["measurements"] == {"Area µm^2": 150.0}
    assert long["properties"]["objectType"] == "detection"
    assert long["properties"]["classification"]["name"] == "long"
    assert long["properties"]["measurements"] == {"Area µm^2": 6.0, "Class probability": 0.75}
    assert dot["properties"]["classification"]["name"] == "nucleus"
    for feature in features:
        (ring,) = feature["geometry"]["coordinates"]
        assert len(ring) >= 4
        assert ring[0] == ring[-1]
        assert all(
            isinstance(value, int) and 0 <= value <= 255 for value in feature["properties"]["classification"]["color"]
        )


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("tumour: invasive", "tumour invasive"),  # QuPath would read "invasive", derived from "tumour".
        (" non-epithelial\n(other) ", "non-epithelial (other)"),
        ("腺", "腺"),
        (":", "nucleus"),  # QuPath refuses a name without a letter in it.
    ],
)
def test_class_names_are_such_as_qupath_takes(maps, class_name, name, tmp_path):
    classes = {"nuclei_type": ("background", "round", class_name)}
    features = features_of(slide_of(tmp_path, maps, KINDS, classes), tmp_path)
    assert features[1]["properties"]["classification"]["name"] == name


@pytest.mark.parametrize("scale", [1, 2, 1.5])
def test_a_polygon_has_the_area_of_its_object_and_its_holes(scale, tmp_path):
    """A gland with a lumen, in which a second piece lies, and a third beside it that touches by a corner."""
    gland = np.zeros((CANVAS_PX, CANVAS_PX), np.int32)
    gland[4:24, 2:32], gland[8:20, 6:28], gland[12:14, 10:14], gland[24:26, 32:40] = 1, 0, 1, 1
    slide = slide_of(tmp_path, {"gland": gland}, scale=scale)
    (feature,) = features_of(slide, tmp_path)
    shape = shapely.from_geojson(json.dumps(feature["geometry"]))
    assert (shape.geom_type, shape.is_valid) == ("MultiPolygon", True)
    pixels = 20 * 30 - 12 * 22 + 2 * 4 + 2 * 8
    assert gland.sum() == pixels
    assert shape.area == pixels * scale**2
    assert shape.area * 0.5**2 == feature["properties"]["measurements"]["Area µm^2"]
    assert sorted(len(part.interiors) for part in shape.geoms) == [0, 0, 1]
    assert shape.bounds == (2 * scale, 4 * scale, 40 * scale, 26 * scale)
    size_px = round(CANVAS_PX * scale), round(CANVAS_PX * scale)
    own, absent = draw_labels([*slide.rows()], size_px)
    assert absent == 0
    rows, columns = (np.indices(size_px) + 0.5) / scale  # The middle of each pixel on the network's grid
    np.testing.assert_array_equal(own, gland[rows.astype(int), columns.astype(int)])


@pytest.mark.parametrize("scale", [1, 2, 3, 0.5])
def test_a_map_of_labels_has_the_size_of_the_image_and_the_ids_of_the_file(maps, scale, tmp_path):
    slide = slide_of(tmp_path, maps, KINDS, CLASSES, scale=scale)
    for name, ids in (("gland", {1: 1}), ("nuclei", {1: 2, 3: 3})):
        size_px = round(CANVAS_PX * scale), round(CANVAS_PX * scale)
        own, absent = draw_labels([row for row in slide.rows() if row.structure == name], size_px)
        assert own.shape == size_px
        rows, columns = ((np.indices(size_px) + 0.5) / scale).astype(int)
        expected = maps[name][rows, columns]
        for number, id_ in ids.items():
            np.testing.assert_array_equal(own == id_, expected == number)
        assert absent == len(ids) - len(np.unique(expected[expected > 0]))


def test_every_class_has_a_colour_of_its_own_up_to_eight():
    classes = {"nuclei": PUBLISHED_CLASSES["nuclei_type"][1:], "gland": PUBLISHED_CLASSES["gland_type"][1:]}
    colours = colours_of(classes)
    named = [colour for (_, name), colour in colours.items() if name]
    assert len(named) == len(set(named)) == 8  # Six of nuclei, two of glands
    assert colours["nuclei", ""] not in named


@pytest.mark.parametrize(("largest", "ending"), [(0, "png"), (65535, "png"), (65536, "tif"), (2**31 - 1, "tif")])
def test_an_instance_map_keeps_its_numbers(largest, ending, tmp_path):
    instance_map = np.zeros((5, 7), np.int32)
    instance_map[2, 3] = largest
    path = save_map(instance_map, tmp_path, "nuclei")
    assert path.name == f"nuclei.{ending}"
    with PillowImage.open(path) as image:
        np.testing.assert_array_equal(np.array(image).astype(np.int64), instance_map)


def draw(slide, grey=200, **maps):
    about = slide.summary
    image = np.full((about.size_px[1], about.size_px[0], 3), grey, np.uint8)
    return overlay.draw_overlay(image, about, [*slide.rows()], **maps)


def rgb(colour):
    return tuple(bytes.fromhex(colour[1:]))


def test_the_overlay_draws_each_class_in_its_colour_where_it_is(maps, tmp_path):
    slide = slide_of(tmp_path, maps, KINDS, CLASSES)
    picture, colours = draw(slide), slide.colour_of
    assert picture.shape[0] > 2 * CANVAS_PX  # At 0.5 µm it is shown at twice its size, with a legend below.
    assert picture.shape[1] == overlay.MIN_WIDTH_PX
    assert tuple(picture[2 * 14, 2 * 2]) == rgb(colours("gland", ""))
    assert tuple(picture[2 * 12, 2 * 10]) == rgb(colours("nuclei", "long"))
    assert tuple(picture[2 * 8, 2 * 20]) == (200, 200, 200)  # Within the gland nothing is painted.
    legend = picture[2 * CANVAS_PX :].reshape(-1, 3)
    for kind in (("gland", ""), ("nuclei", "long"), ("nuclei", "round")):
        assert (legend == rgb(colours(*kind))).all(axis=1).any()


def test_the_overlay_has_a_band_for_each_caveat(maps, tmp_path):
    plain = draw(slide_of(tmp_path, maps, KINDS, CLASSES))
    long = "a caveat of more words than one line of a small picture has room for, so that it goes on in the next"
    caveats = ["the model was trained for 6 steps only", long]
    bands = draw(slide_of(tmp_path, maps, KINDS, CLASSES, caveats=caveats))
    height = 2 * CANVAS_PX
    np.testing.assert_array_equal(bands[:height], plain[:height])
    added = bands.shape[0] - plain.shape[0]
    np.testing.assert_array_equal(bands[height + added :], plain[height:])
    is_coloured = (bands[height : height + added] == overlay.CAVEAT_COLOUR).all(axis=2)
    assert is_coloured[:, [0, -1]].all()
    assert not is_coloured.all(axis=1)[: added // 3].all()  # There is text in the first band ...
    assert not is_coloured.all(axis=1)[added // 2 :].all()  # ... and in the second, of two lines.
    assert added > 3 * 14


@pytest.mark.parametrize("letter", "üéµßΩ№")
def test_the_overlays_letters_are_those_of_european_names(letter):
    font = overlay._font(20)
    missing = font.getmask("\uffff")  # The box in place of a letter that a font lacks
    assert bytes(font.getmask(letter)) != bytes(missing)


def test_the_overlay_frames_tissue_but_not_background(tmp_path):
    """The third square was not looked at."""
    about = TissueAbout(classes=["nothing", "muscle"], colours=["", ""], square_px=16, shares={})
    maps = {"nuclei": np.zeros((16, 48), np.int32)}
    tissue = np.array([[1, 0, 2]], np.uint8)
    picture = draw(slide_of(tmp_path, maps, mpp=0.25, tissue=about), tissue=tissue)
    colour = rgb(class_colour(1))
    assert tuple(picture[2, 8]) == colour
    assert tuple(picture[8, 8]) == (200, 200, 200)
    assert (picture[:16, 16:48] == 200).all()


def test_large_images_are_not_zoomed(tmp_path):
    maps = {"nuclei": np.zeros((4, overlay.MAX_ZOOMED_PX + 1), np.int32)}
    picture = draw(slide_of(tmp_path, maps))
    assert picture.shape[1] == overlay.MAX_ZOOMED_PX + 1
    assert picture[0, 0, 0] == 200


def test_the_overlay_tints_classes_of_pixels_but_not_background(tmp_path):
    """Nor pixels that were not looked at, in the lowest row."""
    semantic_map = np.zeros((16, 32), np.uint8)
    semantic_map[:, 16:] = 2
    semantic_map[15] = 3
    names = ["background", "fat", "muscle"]
    about = PixelsAbout(classes=names, colours=["", "", ""], shares=dict.fromkeys(names, 0.3))
    slide = slide_of(tmp_path, {"gland": np.zeros((16, 32), np.int32)}, mpp=0.25, pixels={"lab": about})
    picture = draw(slide, semantic_maps={"lab": semantic_map})
    assert (picture[:15, :16] == 200).all()
    assert (picture[15, :32] == 200).all()
    mixed = 200 + overlay.TINT * (np.array(rgb(class_colour(2))) - 200)
    np.testing.assert_allclose(picture[8, 24], mixed, atol=0.5)
