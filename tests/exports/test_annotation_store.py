"""The database by SQL and, where there is one, by TIAToolbox itself."""

import json
import sqlite3
import zlib
from contextlib import closing

import pytest
import shapely

from histoseg.errors import StorageError
from histoseg.exports import annotation_store
from tests.exports import made
from tests.full_disk import room_for
from tests.tiatoolbox import needs_tiatoolbox, run_tiatoolbox


@pytest.fixture
def path(tmp_path, slide):
    assert annotation_store.write(tmp_path / "objects.db", slide) == 4
    return tmp_path / "objects.db"


def test_every_object_is_an_annotation(path, store):
    with closing(sqlite3.connect(path)) as database:
        annotations = database.execute("SELECT * FROM annotations ORDER BY id").fetchall()
        boxes = database.execute("SELECT min_x, min_y, max_x, max_y FROM rtree ORDER BY id").fetchall()
        facts = dict(database.execute("SELECT key, value FROM metadata").fetchall())
    for (number, _, kind, x, y, geometry, properties, area), box, row in zip(
        annotations, boxes, made.rows_of(store), strict=True
    ):
        shape = shapely.from_wkb(zlib.decompress(geometry))
        assert shape.equals(shapely.from_wkb(row["geometry"]))
        assert (number, kind, box) == (row["id"], shape.geom_type, shape.bounds)
        assert (x, y, area) == pytest.approx((shape.centroid.x, shape.centroid.y, shape.area))
        assert json.loads(properties)["structure"] == row["structure"]
    assert json.loads(facts["version"]) == "1.0.1"
    assert json.loads(facts["compression"]) == "zlib"
    assert json.loads(facts["caveats"]) == [made.CAVEAT]


def test_boxes_are_found_by_the_index(path):
    with closing(sqlite3.connect(path)) as database:
        (found,) = database.execute(
            "SELECT properties FROM annotations JOIN rtree USING (id) WHERE max_x <= 2006 AND max_y <= 6004"
        ).fetchall()
    assert json.loads(found[0])["type"] == "nucleus"  # At 1000, 3000 of the grid, 3 x 2 of its pixels


def test_no_space_left_is_one_line(tmp_path, slide):
    with room_for(8192), pytest.raises(StorageError, match=r"objects\.db of slide-7: "):
        annotation_store.write(tmp_path / "objects.db", slide)


@needs_tiatoolbox
def test_tiatoolbox_opens_queries_and_measures_it(path, store):
    found = run_tiatoolbox(
        f"""
        from tiatoolbox.annotation.storage import SQLiteStore
        store = SQLiteStore({str(path)!r})
        answer["count"] = len(store)
        answer["objects"] = [[a.geometry.wkt, a.properties] for a in store.values()]
        answer["box"] = [a.properties["type"] for a in store.query((2000, 6000, 2005, 6003)).values()]
        answer["long"] = len(store.query(where="props['type'] == 'long'"))
        store.close()
        """
    )
    assert found["count"] == 4
    rows = made.rows_of(store)
    for (text, properties), row in zip(found["objects"], rows, strict=True):
        assert shapely.from_wkt(text).equals(shapely.from_wkb(row["geometry"]))
        assert properties["area_um2"] == pytest.approx(row["area_um2"])
        assert properties.get("type_prob") == pytest.approx(row["class_probability"])
    assert sorted(found["box"]) == ["gland", "nucleus"] or found["box"] == ["nucleus"]
    assert found["long"] == 1
