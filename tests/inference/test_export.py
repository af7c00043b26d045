import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import shapely
from PIL import Image as PillowImage

from histoseg.inference import export as exports
from histoseg.inference import overlay
from histoseg.inference.objects import PredictedImage, list_objects
from histoseg.models.cerberus.published import PUBLISHED_CLASSES
from histoseg.models.prediction import Prediction
from histoseg.slides.colours import class_colour

CLASSES = {"nuclei_type": ("background", "round", "long"), "tissue": ("nothing", "muscle", "fat")}
CANVAS_PX = 40


def make_predicted(maps, kinds, *, scale=1.0, mpp=0.5, **changes):
    """A segmentation of those maps, in an image that has `scale` times as many pixels along each side."""
    height, width = next(iter(maps.values())).shape
    prediction = Prediction(
        instance_maps=maps,
        classes={name: np.array(kinds[name], np.uint8) for name in maps},
        class_probabilities={name: np.full(len(kinds[name]), 0.75) for name in maps},
        tissue=changes.pop("tissue", None),
        tissue_px=16,
    )
    return PredictedImage(
        name="slide",
        prediction=prediction,
        classes=changes.pop("classes", CLASSES),
        image_px=(round(height * scale), round(width * scale)),
        seen_px=(height, width),
        mpp=mpp,
    )


@pytest.fixture
def maps():
    """A gland with a nucleus within, and a nucleus of one pixel whose id leaves a gap."""
    gland, nuclei = np.zeros((2, CANVAS_PX, CANVAS_PX), np.int32)
    gland[4:24, 2:32] = 1
    nuclei[10:14, 10:16] = 1
    nuclei[30, 35] = 3
    return {"gland": gland, "nuclei": nuclei}


KINDS = {"gland": [0], "nuclei": [2, 0]}


def test_rings_of_one_object_may_have_different_numbers_of_corners():
    gland = np.zeros((CANVAS_PX, CANVAS_PX), np.int32)
    gland[2:30, 2:30] = 1
    gland[5:8, 5:8] = 0
    gland[12:20, 12:14] = gland[18:20, 12:20] = 0  # An L has six corners.
    (found,) = list_objects(make_predicted({"gland": gland}, {"gland": [0]}))
    assert sorted(len(ring) for ring in found.rings) == [4, 4, 6]


def test_objects_are_named_in_the_pixels_of_the_image(maps):
    predicted = make_predicted(maps, KINDS, scale=2, mpp=0.25)
    gland, long, dot = list_objects(predicted)
    assert (gland.structure, gland.id, gland.class_name, gland.class_probability) == ("gland", 1, "", None)
    assert gland.box == (4, 8, 64, 48)  # Columns 2 to 32 and rows 4 to 24, twice
    assert gland.centroid == pytest.approx((34, 28))  # Their middle
    assert gland.area_um2 == pytest.approx(20 * 30 * 0.5**2)  # Pixels of 0.5 µm were segmented.
    assert (long.id, long.class_name, long.class_probability) == (1, "long", 0.75)
    assert (dot.id, dot.class_name, dot.class_probability) == (3, "", None)
    assert dot.centroid == pytest.approx((71, 61))  # The middle of column 35 and row 30, twice
    ((ring,),) = dot.polygons  # Along the edges of its pixel
    assert sorted(map(tuple, ring.tolist())) == [(70, 60), (70, 62), (72, 60), (72, 62)]


def test_the_table_can_be_read_back(maps):
    rows = list(csv.DictReader(io.StringIO(exports.to_table(list_objects(make_predicted(maps, KINDS))))))
    assert tuple(rows[0]) == exports.COLUMNS
    assert [row["structure"] for row in rows] == ["gland", "nuclei", "nuclei"]
    assert [row["class"] for row in rows] == ["", "long", ""]
    assert [row["class_probability"] for row in rows] == ["", "0.7500", ""]
    assert float(rows[0]["area_um2"]) == 150  # 600 pixels of 0.25 µm²
    assert [rows[0][f"{side}_px"] for side in ("left", "top", "right", "bottom")] == ["2.00", "4.00", "32.00", "24.00"]


def test_without_objects_there_is_a_header():
    assert exports.to_table([]).strip() == ",".join(exports.COLUMNS)
    assert exports.to_geojson([], {}, "slide") == {"type": "FeatureCollection", "features": []}


def test_geojson_is_as_qupath_reads_it(maps):
    predicted = make_predicted(maps, KINDS)
    colours = exports.choose_colours(predicted)
    collection = exports.to_geojson(list_objects(predicted), colours, "slide")
    again = json.loads(json.dumps(collection, allow_nan=False))
    assert again == collection
    gland, long, dot = collection["features"]
    assert gland["properties"]["objectType"] == "annotation"
    assert gland["properties"]["classification"]["name"] == "gland"
    assert gland["properties"]["measurements"] == {"Area µm^2": 150.0}
    assert long["properties"]["objectType"] == "detection"
    assert long["properties"]["classification"]["name"] == "long"
    assert long["properties"]["measurements"] == {"Area µm^2": 6.0, "Class probability": 0.75}
    assert dot["properties"]["classification"]["name"] == "nucleus"
    for feature in collection["features"]:
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
def test_class_names_are_such_as_qupath_takes(maps, class_name, name):
    classes = {**CLASSES, "nuclei_type": ("background", "round", class_name)}
    predicted = make_predicted(maps, KINDS, classes=classes)
    features = exports.to_geojson(list_objects(predicted), exports.choose_colours(predicted), "slide")["features"]
    assert features[1]["properties"]["classification"]["name"] == name


def test_ids_are_the_same_each_time_and_differ_between_objects(maps):
    predicted = make_predicted(maps, KINDS)
    objects, colours = list_objects(predicted), exports.choose_colours(predicted)
    collections = [exports.to_geojson(objects, colours, name) for name in ("slide", "slide", "other")]
    first, again, other = ([feature["id"] for feature in found["features"]] for found in collections)
    assert first == again
    assert len({*first, *other}) == 6


@pytest.mark.parametrize("scale", [1, 2, 1.5])
def test_a_polygon_has_the_area_of_its_object_and_its_holes(scale):
    """A gland with a lumen, in which a second piece lies, and a third beside it that touches by a corner."""
    gland = np.zeros((CANVAS_PX, CANVAS_PX), np.int32)
    gland[4:24, 2:32], gland[8:20, 6:28], gland[12:14, 10:14], gland[24:26, 32:40] = 1, 0, 1, 1
    predicted = make_predicted({"gland": gland}, {"gland": [0]}, scale=scale)
    (feature,) = exports.to_geojson(list_objects(predicted), exports.choose_colours(predicted), "slide")["features"]
    shape = shapely.from_geojson(json.dumps(feature["geometry"]))
    assert (shape.geom_type, shape.is_valid) == ("MultiPolygon", True)
    pixels = 20 * 30 - 12 * 22 + 2 * 4 + 2 * 8
    assert gland.sum() == pixels
    assert shape.area == pixels * scale**2
    assert shape.area * 0.5**2 == feature["properties"]["measurements"]["Area µm^2"]
    assert sorted(len(part.interiors) for part in shape.geoms) == [0, 0, 1]
    assert shape.bounds == (2 * scale, 4 * scale, 40 * scale, 26 * scale)
    if scale in (1, 2):  # Others divide pixels.
        rows, columns = np.indices(predicted.image_px) + 0.5
        own = predicted.own_map(gland)
        np.testing.assert_array_equal(shapely.contains_xy(shape, columns, rows), own > 0)


def test_every_class_has_a_colour_of_its_own_up_to_eight():
    maps = {name: np.zeros((4, 4), np.int32) for name in ("gland", "nuclei")}
    kinds = {"gland": [], "nuclei": []}
    colours = exports.choose_colours(make_predicted(maps, kinds, classes=PUBLISHED_CLASSES))
    named = [colour for (_, name), colour in colours.items() if name]
    assert len(named) == len(set(named)) == 8  # Six of nuclei, two of glands
    assert colours["nuclei", ""] not in named


def test_tissue_is_a_grid_whose_shares_count_area():
    maps = {"nuclei": np.zeros((24, 40), np.int32)}
    tissue = np.full((3, 3, 4), 0.1, np.float32)  # One row and column more than the image has
    for row, column, kind in [(0, 0, 1), (0, 1, 1), (0, 2, 2), (1, 0, 0), (1, 1, 0), (1, 2, 2)]:
        tissue[kind, row, column] = 0.8
    grid = exports.to_grid(make_predicted(maps, {"nuclei": []}, scale=0.5, mpp=1.0, tissue=tissue))
    assert grid["class_map"] == [[1, 1, 2], [0, 0, 2]]
    assert grid["side_px"] == [8, 8]
    assert grid["side_um"] == 8
    assert grid["probabilities"][0][2] == pytest.approx([0.1, 0.1, 0.8])
    # Of 24 × 40 pixels the squares have 16 and 8 rows, and 16, 16 and 8 columns.
    area = {"nothing": 8 * 32, "muscle": 16 * 32, "fat": 24 * 8}
    assert grid["shares"] == {name: round(px / 960, 4) for name, px in area.items()}
    assert exports.to_grid(make_predicted(maps, {"nuclei": []})) is None


@pytest.mark.parametrize("scale", [1, 2, 3, 0.5])
def test_a_map_has_the_size_of_the_image(maps, scale):
    own = make_predicted(maps, KINDS, scale=scale).own_map(maps["gland"])
    assert own.shape == (CANVAS_PX * scale, CANVAS_PX * scale)
    expected = np.zeros(own.shape, np.int32)
    expected[int(4 * scale) : int(24 * scale), int(2 * scale) : int(32 * scale)] = 1
    np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize(("largest", "ending"), [(0, "png"), (65535, "png"), (65536, "tif"), (2**31 - 1, "tif")])
def test_an_instance_map_keeps_its_numbers(largest, ending):
    instance_map = np.zeros((5, 7), np.int32)
    instance_map[2, 3] = largest
    found, body = exports.encode_map(instance_map)
    assert found == ending
    with PillowImage.open(io.BytesIO(body)) as image:
        np.testing.assert_array_equal(np.array(image).astype(np.int64), instance_map)


def draw(predicted, grey=200):
    image = np.full((*predicted.image_px, 3), grey, np.uint8)
    objects, colours = list_objects(predicted), exports.choose_colours(predicted)
    return overlay.draw_overlay(image, predicted, objects, colours), colours


def rgb(colour):
    return tuple(bytes.fromhex(colour[1:]))


def test_the_overlay_draws_each_class_in_its_colour_where_it_is(maps):
    picture, colours = draw(make_predicted(maps, KINDS, mpp=0.5))
    assert picture.shape[0] > 2 * CANVAS_PX  # At 0.5 µm it is shown at twice its size, with a legend below.
    assert picture.shape[1] == overlay.MIN_WIDTH_PX
    assert tuple(picture[2 * 14, 2 * 2]) == rgb(colours["gland", ""])
    assert tuple(picture[2 * 12, 2 * 10]) == rgb(colours["nuclei", "long"])
    assert tuple(picture[2 * 8, 2 * 20]) == (200, 200, 200)  # Within the gland nothing is painted.
    legend = picture[2 * CANVAS_PX :].reshape(-1, 3)
    for kind in (("gland", ""), ("nuclei", "long"), ("nuclei", "round")):
        assert (legend == rgb(colours[kind])).all(axis=1).any()


def test_the_overlay_has_a_band_for_each_caveat(maps):
    predicted = make_predicted(maps, KINDS)
    plain, _ = draw(predicted)
    long = "a caveat of more words than one line of a small picture has room for, so that it goes on in the next"
    caveats = ("the model was trained for 6 steps only", long)
    bands, _ = draw(replace(predicted, caveats=caveats))
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


def test_the_overlay_frames_tissue_but_not_background():
    tissue = np.zeros((3, 1, 2), np.float32)
    tissue[1, 0, 0], tissue[0, 0, 1] = 1, 1
    maps = {"nuclei": np.zeros((16, 32), np.int32)}
    picture, _ = draw(make_predicted(maps, {"nuclei": []}, tissue=tissue, mpp=0.25))
    colour = rgb(class_colour(1))
    assert tuple(picture[2, 8]) == colour
    assert tuple(picture[8, 8]) == (200, 200, 200)
    assert (picture[:16, 16:32] == 200).all()


def test_large_images_are_not_zoomed():
    maps = {"nuclei": np.zeros((4, overlay.MAX_ZOOMED_PX + 1), np.int32)}
    picture, _ = draw(make_predicted(maps, {"nuclei": []}))
    assert picture.shape[1] == overlay.MAX_ZOOMED_PX + 1
    assert math.isclose(picture[0, 0, 0], 200)


def test_the_overlay_tints_classes_of_pixels_but_not_background():
    semantic_map = np.zeros((16, 32), np.uint8)
    semantic_map[:, 16:] = 2
    predicted = PredictedImage(
        name="slide",
        prediction=Prediction(semantic_maps={"lab": semantic_map}),
        classes={"lab": ("background", "fat", "muscle")},
        image_px=(16, 32),
        seen_px=(16, 32),
        mpp=0.25,
    )
    picture, colours = draw(predicted)
    assert colours == {}
    assert (picture[:16, :16] == 200).all()
    mixed = 200 + overlay.TINT * (np.array(rgb(class_colour(2))) - 200)
    np.testing.assert_allclose(picture[8, 24], mixed, atol=0.5)
