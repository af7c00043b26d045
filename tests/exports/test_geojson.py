"""What QuPath would read, judged by GeoPandas and Shapely."""

import gzip
import json

import geopandas
import numpy as np
import pytest
import shapely

from histoseg.exports import geojson
from tests.exports import made


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_object_is_a_feature_with_its_outline(tmp_path, slide, store):
    path = tmp_path / "objects.geojson"
    assert geojson.write(path, slide) == 4
    found, rows = read(path), made.rows_of(store)
    assert found["caveats"] == [made.CAVEAT]
    for feature, row in zip(found["features"], rows, strict=True):
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.equals(shapely.from_wkb(row["geometry"]))
        assert shape.area * 0.25**2 == pytest.approx(row["area_um2"])
    assert len({feature["id"] for feature in found["features"]}) == 4


def test_classes_colours_and_measurements_are_qupaths(tmp_path, slide):
    geojson.write(tmp_path / "objects.geojson", slide)
    found = {
        feature["properties"]["classification"]["name"]: feature["properties"]
        for feature in read(tmp_path / "objects.geojson")["features"]
    }
    assert found["long"] == {
        "objectType": "detection",
        "classification": {"name": "long", "color": [0xF0, 0xE4, 0x42]},
        "measurements": {"Area µm^2": 5 * 0.25, "Class probability": 0.8},  # Five pixels of 0.5 microns
    }
    assert found["nucleus"]["classification"]["color"] == [0x8A, 0x8F, 0x96]
    assert "Class probability" not in found["nucleus"]["measurements"]
    assert found["gland"]["objectType"] == "annotation"


def test_geopandas_reads_it(tmp_path, slide):
    geojson.write(tmp_path / "objects.geojson", slide)
    frame = geopandas.GeoDataFrame.from_features(read(tmp_path / "objects.geojson")["features"])
    assert frame.geometry.is_valid.all()
    assert sorted(frame.geometry.geom_type) == ["MultiPolygon", "Polygon", "Polygon", "Polygon"]


def test_ids_are_the_same_each_time_and_differ_between_slides(tmp_path, slide):
    first, again, other = (tmp_path / name for name in ("a", "b", "c"))
    geojson.write(first, slide)
    geojson.write(again, slide)
    assert first.read_bytes() == again.read_bytes()
    renamed = type(slide)(objects=slide.objects, summary=made.summary("another"))
    geojson.write(other, renamed)
    ids = [{feature["id"] for feature in read(path)["features"]} for path in (first, other)]
    assert not ids[0] & ids[1]


def test_a_name_that_ends_in_gz_is_compressed(tmp_path, slide):
    geojson.write(tmp_path / "objects.geojson", slide)
    geojson.write(tmp_path / "objects.geojson.gz", slide)
    assert (
        gzip.decompress((tmp_path / "objects.geojson.gz").read_bytes()) == (tmp_path / "objects.geojson").read_bytes()
    )


def test_no_objects_are_a_collection_too(tmp_path):
    store = made.results(tmp_path, rows=list, caveats=[])
    slide = made.slide_of(store, caveats=[])
    assert geojson.write(tmp_path / "objects.geojson", slide) == 0
    assert read(tmp_path / "objects.geojson") == {"type": "FeatureCollection", "features": []}


def test_corners_that_are_no_whole_numbers_stay(tmp_path):
    store = made.results(tmp_path, rows=lambda: made.tables(scale=1.7))
    geojson.write(tmp_path / "objects.geojson", made.slide_of(store))
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in read(tmp_path / "objects.geojson")["features"]]
    corners = shapely.get_coordinates(shapes)
    expected = shapely.get_coordinates([shapely.from_wkb(row["geometry"]) for row in made.rows_of(store)])
    np.testing.assert_array_equal(corners, expected)
    assert (corners % 1 != 0).any()
