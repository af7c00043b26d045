"""The file of objects: written, read by viewport, and opened by programs that know nothing of it."""

import json

import duckdb
import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from histoseg.errors import DataError, StorageError
from histoseg.slides import objects
from histoseg.slides.objects import SCHEMA, ObjectFile, ObjectsAbout, tabulate, write_objects
from histoseg.sources import consep
from histoseg.store.objects import FileStore, connect
from ray_jobs.local_store import local_store
from tests.beside import real_data
from tests.full_disk import room_for

ABOUT = ObjectsAbout(name="slide-7", size_px=(60_000, 40_000), mpp=0.25, model_sha256="ab12")
NAMES = ("background", "round", "long")
KEY = "slide-7/objects.parquet"
SPACING, SIDE = 20, 1000  # 50² nuclei of a crop


def crop(row, column, structure="nuclei"):
    """The table of a crop: 2,500 discs, or of other structures a single square; its pixels are 2 base pixels."""
    rows, columns = np.indices((SPACING, SPACING)) - SPACING // 2
    disc = np.tile(rows**2 + columns**2 < 40, (SIDE // SPACING, SIDE // SPACING))
    number = (np.arange(SIDE)[:, None] // SPACING) * (SIDE // SPACING) + np.arange(SIDE) // SPACING + 1
    instance_map = np.where(disc, number, 0).astype(np.int32)
    if structure != "nuclei":
        instance_map = np.zeros((SIDE, SIDE), np.int32)
        instance_map[100:900, 100:900] = 1
    count = len(np.unique(instance_map)) - 1
    return tabulate(
        instance_map,
        structure,
        class_names=NAMES if structure == "nuclei" else (),
        classes=(np.arange(count) % 3).astype(np.uint8),
        class_probabilities=np.linspace(0.5, 1, count),
        origin_xy=(column * SIDE, row * SIDE),
        scale_xy=(2.0, 2.0),
        mpp=0.25,
    )


def crops():
    """Four rows of six crops: 60,000 nuclei and 24 glands."""
    for row in range(4):
        for column in range(6):
            yield crop(row, column)
            yield crop(row, column, "gland")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = FileStore(tmp_path_factory.mktemp("slides"))
    assert write_objects(store.path(KEY), crops(), ABOUT) == 60_000 + 24
    return store


def count_fetched(store):
    """A list that gets the number of bytes of each range that is read from a store from now on."""
    fetched, get_range = [], store.get_range

    def get_counted(key, offset, num_bytes):
        fetched.append(num_bytes)
        return get_range(key, offset, num_bytes)

    store.get_range = get_counted
    return fetched


def test_everything_is_there_once(store):
    file = ObjectFile.open(store, KEY)
    assert (file.about, file.count) == (ABOUT, 60_024)
    table = file.read()
    assert table.schema.equals(SCHEMA)
    assert table["id"].to_pylist() == list(range(1, 60_025))
    places = pd.DataFrame({name: table[name].to_numpy() for name in ("x", "y", "area_um2")})
    given = pa.concat_tables(crops())
    expected = pd.DataFrame({name: given[name].to_numpy() for name in places})
    by = list(places)
    pd.testing.assert_frame_equal(
        places.sort_values(by, ignore_index=True), expected.sort_values(by, ignore_index=True)
    )


def test_row_groups_are_neighbours_of_one_structure(store):
    file = ObjectFile.open(store, KEY)
    rows = [file.parquet.metadata.row_group(i).num_rows for i in range(len(file.structures))]
    assert rows == [15_000] * 4 + [24]  # 60,000 in parts of at most 16,000
    assert file.structures == ("nuclei",) * 4 + ("gland",)
    widths, heights = (file.boxes[:4, 2:] - file.boxes[:4, :2]).T
    assert (widths * heights).sum() < 1.7 * 12_000 * 8000  # Parts drawn by lot would sum up to 4.
    for number, (box, structure) in enumerate(zip(file.boxes.tolist(), file.structures, strict=True)):
        assert len(file.read(structures=[structure], box=tuple(box))) >= rows[number]


def test_rows_are_written_before_all_tables_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "WAITING_ROWS", 10_000)
    sizes = []

    def tables():
        for table in crops():
            (part,) = tmp_path.rglob("part")
            sizes.append(part.stat().st_size)
            yield table

    write_objects(tmp_path / "objects.parquet", tables(), ABOUT)
    # Four bytes are the beginning of any Parquet file. Four crops of nuclei, with glands in between, make a group.
    assert 4 == sizes[6] < sizes[7] == sizes[14] < sizes[15]


def test_large_tables_are_split_where_neighbours_end(tmp_path):
    whole = pa.concat_tables(crop(row, column) for row in range(4) for column in range(4))
    write_objects(tmp_path / "objects.parquet", [whole], ABOUT)
    file = ObjectFile.open(FileStore(tmp_path), "objects.parquet")
    assert [file.parquet.metadata.row_group(i).num_rows for i in range(3)] == [13_334, 13_333, 13_333]
    width, height = (file.boxes[:, 2:] - file.boxes[:, :2]).T
    assert (width * height).sum() < 1.7 * 8000**2  # Parts drawn by lot would sum up to 3.


BOXES = [(1990.0, 1990.0, 2100.0, 2050.0), (0, 0, 500, 8000), (11_000, 7000, 99_999, 99_999), (-50, -50, -1, -1)]


@pytest.mark.parametrize("box", BOXES)
def test_a_viewport_has_what_geopandas_finds_there(store, box):
    found = ObjectFile.open(store, KEY).read(box=box, columns=["id", "geometry"])
    theirs = geopandas.read_parquet(store.path(KEY), bbox=box)
    assert sorted(found["id"].to_pylist()) == sorted(theirs["id"].tolist())
    assert found.schema.names == ["id", "geometry"]
    bounds = shapely.bounds(shapely.from_wkb(np.array(found["geometry"].to_pylist(), object)))
    assert (bounds[:, 0] <= box[2]).all()
    assert (bounds[:, 3] >= box[1]).all()


def test_structures_are_chosen(store):
    file = ObjectFile.open(store, KEY)
    assert len(file.read(structures=["gland"])) == 24
    assert len(file.read(structures=["gland"], box=(0, 0, 1900, 1900))) == 1
    assert len(file.read(structures=["lumen"])) == 0
    assert file.read(structures=["lumen"], columns=["y"]).schema.names == ["y"]


def test_a_box_without_objects_is_an_empty_table(store):
    table = ObjectFile.open(store, KEY).read(box=(0, 0, 1, 1))
    assert len(table) == 0
    assert table.schema.equals(SCHEMA)


def test_a_viewport_fetches_few_bytes_also_from_s3(store, tmp_path):
    body = store.path(KEY).read_bytes()
    with local_store(tmp_path) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        remote = connect(f"{server.url}/results")
        remote.put(KEY, body)
        fetched = count_fetched(remote)
        file = ObjectFile.open(remote, KEY)
        footer = sum(fetched)
        assert footer <= 2**16  # What Arrow asks for first; the footer is within it.
        box = (100.0, 100.0, 1500.0, 1500.0)
        found = file.read(box=box, structures=["nuclei"])
        local = ObjectFile.open(store, KEY).read(box=box, structures=["nuclei"])
        assert found.equals(local)
        assert len(found) > 300
        group = file.parquet.metadata.row_group(0)
        size = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
        assert sum(fetched) - footer <= size + 4096  # One row group of five
        assert len(fetched) <= 4
        fetched.clear()
        assert len(file.read(box=(0, 0, 1, 1))) == 0
        assert sum(fetched) <= size + 4096


def test_geopandas_reads_polygons_and_classes(store):
    frame = geopandas.read_parquet(store.path(KEY))
    assert frame.geometry.is_valid.all()
    assert frame.crs is None
    nuclei = frame[frame["structure"] == "nuclei"]
    np.testing.assert_allclose(nuclei.area * 0.25**2, nuclei["area_um2"])  # Exact polygons, so the area of pixels
    np.testing.assert_allclose(nuclei.centroid.x, nuclei["x"], atol=1e-2)
    assert set(nuclei["class"].dropna()) == {"round", "long"}
    assert frame.loc[frame["structure"] == "gland", "class"].isna().all()


def test_duckdb_and_pandas_read_columns(store):
    path = store.path(KEY)
    query = 'SELECT structure, "class", count(*) FROM read_parquet(?) WHERE bbox.xmin < 2000 GROUP BY ALL ORDER BY ALL'
    rows = duckdb.execute(query, [str(path)]).fetchall()
    frame = pd.read_parquet(path)
    left = frame[frame["bbox"].map(lambda box: box["xmin"] < 2000)]
    counted = left.groupby(["structure", "class"], dropna=False, observed=True).size()
    assert {(kind, name): count for kind, name, count in rows} == {
        (kind, None if pd.isna(name) else name): count for (kind, name), count in counted.items()
    }
    body = duckdb.execute("SELECT geometry FROM read_parquet(?) WHERE id = 1", [str(path)]).fetchone()[0]
    shape = shapely.from_wkb(bytes(body))
    assert shape.equals(shapely.from_wkb(ObjectFile.open(store, KEY).read(columns=["geometry"])["geometry"][0].as_py()))


def test_metadata_is_that_of_geoparquet(store):
    geo = json.loads(pq.read_metadata(store.path(KEY)).metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    column = geo["columns"]["geometry"]
    assert (column["encoding"], column["crs"]) == ("WKB", None)
    assert column["covering"] == {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}


def test_no_objects_are_a_file_too(tmp_path):
    assert write_objects(tmp_path / "objects.parquet", [], ABOUT) == 0
    file = ObjectFile.open(FileStore(tmp_path), "objects.parquet")
    assert (file.count, len(file.read(box=(0, 0, 9, 9)))) == (0, 0)
    assert len(geopandas.read_parquet(tmp_path / "objects.parquet")) == 0


@pytest.mark.skipif(not real_data().is_dir(), reason="set HISTOSEG_REAL_DATA to a folder with the raw data sets")
@pytest.mark.parametrize(("scale", "most"), [(2.0, 80), (1.987, 80)])
def test_nuclei_take_80_bytes(tmp_path, scale, most):
    """CoNSeP's, as they are at 0.5 microns per pixel, with made-up classes; the goal is that of docs/performance.md."""
    rng, tables = np.random.default_rng(0), []
    for number, entry in enumerate(consep.entries(real_data())):
        halved = np.ascontiguousarray(consep.read(entry).instance_map[::2, ::2])
        count = len(np.unique(halved)) - 1
        tables.append(
            tabulate(
                halved,
                "nuclei",
                class_names=[str(name) for name in range(7)],
                classes=rng.integers(1, 7, count),
                class_probabilities=np.minimum(1, rng.uniform(0.6, 1.6, count)),
                origin_xy=(22_000 + 500 * (number % 3), 17_000 + 500 * (number // 3)),
                scale_xy=(scale, scale),
                mpp=0.25,
            )
        )
    count = write_objects(tmp_path / "objects.parquet", tables, ABOUT)
    assert count > 3000
    assert (tmp_path / "objects.parquet").stat().st_size / count < most


def test_what_is_not_such_a_file_is_one_line(store, tmp_path):
    body = store.path(KEY).read_bytes()
    other = FileStore(tmp_path)
    other.put("text", b"id,structure\n1,nuclei\n")
    other.put("cut", body[: len(body) // 2])
    other.put("empty", b"")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "table")
    pq.write_table(SCHEMA.empty_table(), tmp_path / "unsigned")
    for key in ("text", "cut", "empty", "table", "unsigned"):
        with pytest.raises(DataError, match=f"{key}: .*objects.parquet") as raised:
            ObjectFile.open(other, key)
        assert "\n" not in str(raised.value)
    with pytest.raises(StorageError, match="nowhere"):
        ObjectFile.open(other, "nowhere")


def test_damaged_rows_are_one_line(store, tmp_path):
    body = bytearray(store.path(KEY).read_bytes())
    body[1000:300_000] = bytes(299_000)
    other = FileStore(tmp_path)
    other.put("damaged", bytes(body))
    file = ObjectFile.open(other, "damaged")
    with pytest.raises(DataError, match="damaged: "):
        file.read()


def test_a_store_that_fails_while_rows_are_read_is_its_own_error(store):
    failing = FileStore(store.root)
    file = ObjectFile.open(failing, KEY)

    def fail(*_):
        raise StorageError("the store is gone")

    failing.get_range = fail
    with pytest.raises(StorageError, match="the store is gone"):
        file.read()


def test_unknown_columns_are_refused(store):
    with pytest.raises(ValueError, match="no column colour; choose from id, structure"):
        ObjectFile.open(store, KEY).read(columns=["colour"])


def test_no_space_left_is_one_line_and_leaves_nothing(tmp_path):
    with room_for(10_000), pytest.raises(StorageError, match=r"cannot write .*objects\.parquet: .*[Ff]ile too large"):
        write_objects(tmp_path / "objects.parquet", crops(), ABOUT)
    assert not [*tmp_path.iterdir()]


def test_tables_that_fail_leave_nothing(tmp_path):
    def tables():
        yield crop(0, 0)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_objects(tmp_path / "objects.parquet", tables(), ABOUT)
    assert not [*tmp_path.iterdir()]
