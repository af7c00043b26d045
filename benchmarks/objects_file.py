"""Writing 36,300 nuclei with their outlines: `objects.parquet` against TIAToolbox' SQLiteStore and GeoJSON.

    python benchmarks/objects_file.py

SQLiteStore is restated from its definition (tiatoolbox 2.1.3, annotation/storage.py): for each annotation an identity,
its outline as well-known binary packed by zlib at level 9, its properties as JSON, and a row in two tables. Nothing is
timed but writing: outlines are traced before. Then the way from maps of nuclei to the file, ours in full.

The restated store leaves out what TIAToolbox does around it, and is faster. Where HISTOSEG_TIATOOLBOX_PYTHON names the
Python of an environment that has tiatoolbox, its own store writes the same annotations there, in a process of its own.
"""

import json
import os
import sqlite3
import subprocess
import tempfile
import uuid
import zlib
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from _timing import Finding, Times, compare, interleaved, missing, one_thread, print_times, ratios, table
from objects import draw_maps

from histoseg.maps.outlines import trace_polygons
from histoseg.slides.objects import ObjectFile, ObjectsAbout, tabulate, write_objects
from histoseg.store.objects import FileStore

NUM_MAPS, NUM_ROUNDS, GOAL, GOAL_BYTES = 12, 5, 30.0, 80
NUM_ROWS = 55  # Nuclei then have 127 pixels of 0.5 microns on average; MoNuSeg's 15 images at hand have 126.
CLASSES = ("background", "neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective")
ABOUT = ObjectsAbout(name="slide", size_px=(100_000, 80_000), mpp=0.25, model_sha256="0" * 64)
SCALE = 2.0  # The slide has 0.25 microns per pixel, the maps 0.5.
ORIGIN = 20_000
TABLES = """
    CREATE VIRTUAL TABLE rtree USING rtree(id, min_x, max_x, min_y, max_y);
    CREATE TABLE annotations(id INTEGER PRIMARY KEY, key TEXT UNIQUE, objtype TEXT, cx FLOAT NOT NULL,
        cy FLOAT NOT NULL, geometry BLOB, properties TEXT, area FLOAT NOT NULL)
"""

TIATOOLBOX = "HISTOSEG_TIATOOLBOX_PYTHON"
SCRIPT = """
import json, sqlite3, sys, time
from pathlib import Path
import torch
library = torch.library.Library("torchvision", "DEF")  # Without compiled operators it cannot be imported.
for name in ("nms", "qnms"):
    try:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:
        pass
import shapely
from tiatoolbox.annotation.storage import Annotation, SQLiteStore
if not hasattr(sqlite3.Connection, "enable_load_extension"):
    SQLiteStore.compile_options = lambda *_: [o for o, in sqlite3.connect(":memory:").execute("pragma compile_options")]
folder, rounds, seconds = Path(sys.argv[1]), int(sys.argv[2]), []
rows = json.loads((folder / "annotations.json").read_text())
annotations = [Annotation(shapely.from_wkb(outline), properties) for outline, properties in rows]
for number in range(rounds + 1):
    store = SQLiteStore(folder / f"{number}.db")
    start = time.perf_counter()
    store.append_many(annotations)
    seconds.append(time.perf_counter() - start)
    store.close()
print(json.dumps(seconds[1:]))
"""

Annotation = tuple[shapely.Geometry, dict[str, object]]


def draw() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [draw_maps(rng, NUM_ROWS)[0] for _ in range(NUM_MAPS)]


def tabulated(maps: Sequence[np.ndarray]) -> list[pa.Table]:
    """The maps side by side on a slide."""
    rng, tables = np.random.default_rng(1), []
    for number, drawn in enumerate(maps):
        count = len(np.unique(drawn)) - 1
        tables.append(
            tabulate(
                drawn,
                "nuclei",
                class_names=CLASSES,
                classes=rng.integers(1, len(CLASSES), count).astype(np.uint8),
                class_probabilities=np.minimum(1, rng.uniform(0.6, 1.6, count)),
                origin_xy=(ORIGIN + number * drawn.shape[1], ORIGIN),
                scale_xy=(SCALE, SCALE),
                mpp=0.25,
            )
        )
    return tables


def annotations_of(tables: Sequence[pa.Table]) -> list[Annotation]:
    rows = [row for one in tables for row in one.to_pylist()]
    outlines = shapely.from_wkb([row["geometry"] for row in rows])
    properties = ({"type": row["class"], "prob": row["class_probability"]} for row in rows)
    return list(zip(outlines, properties, strict=True))


def outlined(maps: Sequence[np.ndarray]) -> list[Annotation]:
    """Polygons made one by one, as the maps have them."""
    return [
        (shapely.Polygon(rings[0] * SCALE, [hole * SCALE for hole in rings[1:]]), {"type": 1})
        for drawn in maps
        for polygons in trace_polygons(drawn).values()
        for rings in polygons
    ]


def write_sqlite(path: Path, annotations: Sequence[Annotation]) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(TABLES)
        cursor = database.cursor()
        for outline, properties in annotations:
            token = {
                "key": str(uuid.uuid4()),
                "geom_type": outline.geom_type,
                "geometry": zlib.compress(outline.wkb, 9),
                "cx": outline.centroid.x,
                "cy": outline.centroid.y,
                "min_x": outline.bounds[0],
                "min_y": outline.bounds[1],
                "max_x": outline.bounds[2],
                "max_y": outline.bounds[3],
                "properties": json.dumps(properties, separators=(",", ":")),
                "area": outline.area,
            }
            values = "NULL, :key, :geom_type, :cx, :cy, :geometry, :properties, :area"
            cursor.execute(f"INSERT INTO annotations VALUES({values})", token)
            token["row_id"] = cursor.lastrowid
            cursor.execute("INSERT INTO rtree VALUES(:row_id, :min_x, :max_x, :min_y, :max_y)", token)
        database.commit()


def time_tiatoolbox(folder: Path, annotations: Sequence[Annotation]) -> list[float]:
    """Seconds that TIAToolbox' own store takes, in each round."""
    rows = [[outline.wkb_hex, properties] for outline, properties in annotations]
    (folder / "annotations.json").write_text(json.dumps(rows))
    command = [os.environ[TIATOOLBOX], "-c", SCRIPT, str(folder), str(NUM_ROUNDS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def write_geojson(path: Path, annotations: Sequence[Annotation]) -> None:
    features = [
        {"type": "Feature", "geometry": shapely.geometry.mapping(outline), "properties": properties}
        for outline, properties in annotations
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def ours(path: Path, maps: Sequence[np.ndarray]) -> None:
    write_objects(path, tabulated(maps), ABOUT)


def theirs(path: Path, maps: Sequence[np.ndarray]) -> None:
    write_sqlite(path, outlined(maps))


def check_equality(folder: Path, annotations: Sequence[Annotation]) -> None:
    """Stop unless both files hold the same outlines."""
    found = ObjectFile.open(FileStore(folder), "objects.parquet").read(columns=["geometry"])["geometry"].to_pylist()
    with closing(sqlite3.connect(folder / "objects.db")) as database:
        packed = database.execute("SELECT geometry FROM annotations").fetchall()
    mine, other = sorted(found), sorted(zlib.decompress(one) for (one,) in packed)
    assert mine == other == sorted(outline.wkb for outline, _ in annotations)


def real(part: str, times: Times) -> Finding:
    """The line of TIAToolbox' own store, which ran after ours and not in turn with it."""
    reference = "SQLiteStore of TIAToolbox itself"
    if "real" not in times:
        return missing(part, reference, f"{TIATOOLBOX} names no environment")
    return Finding(part=part, reference=reference, ratios=ratios(times, "real"), goal=GOAL, note="not in turn")


def run() -> list[Finding]:
    """Objects a second, then bytes of each."""
    maps = draw()
    tables = tabulated(maps)
    annotations, count = annotations_of(tables), sum(map(len, tables))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parquet, database, text = (folder / f"objects.{ending}" for ending in ("parquet", "db", "geojson"))
        written = interleaved(
            {
                "histoseg": partial(write_objects, parquet, tables, ABOUT),
                "SQLiteStore": partial(write_sqlite, database, annotations),
                "GeoJSON": partial(write_geojson, text, annotations),
            },
            NUM_ROUNDS,
        )
        check_equality(folder, annotations)
        sizes = {"SQLiteStore": database.stat().st_size / count, "GeoJSON": text.stat().st_size / count}
        own = parquet.stat().st_size / count
        own_store = {"real": time_tiatoolbox(folder, annotations)} if os.environ.get(TIATOOLBOX) else {}
        made = interleaved(
            {"histoseg": partial(ours, parquet, maps), "SQLiteStore": partial(theirs, database, maps)}, 3
        )
    part = f"writing {count:,} outlines"
    print(f"\n{part}: identical")
    print_times(written, "objects/s", count)
    print(f"\nfrom maps of {count:,} nuclei to the file")
    print_times(made, "objects/s", count)
    print(f"\nbytes of an object: histoseg {own:.1f}, " + ", ".join(f"{who} {size:.0f}" for who, size in sizes.items()))
    return [
        *compare(written, part, {"SQLiteStore": GOAL}),
        real(part, {**written, **own_store}),
        *compare(made, f"from maps of {count:,} nuclei to the file", {}),
        *(
            Finding(
                part=f"bytes of a nucleus: ours {own:.0f}",
                reference=who,
                ratios=(size / own,),
                goal=size / GOAL_BYTES,
                note=f"goal: {GOAL_BYTES} bytes",
            )
            for who, size in sizes.items()
        ),
    ]


if __name__ == "__main__":
    one_thread()
    print(table(run()))
