"""Corrected regions come back: faults are refused line by line, and what is merged says who drew what."""

import copy
import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import shapely
from PIL import Image as PillowImage

from histoseg.annotate.export import export_round
from histoseg.annotate.merge import provenance_of
from histoseg.annotate.plan import read_plan
from histoseg.annotate.take_in import Delivery, imports_of, take_in
from histoseg.errors import ConfigError, DataError
from histoseg.files.resolution import stored_mpp
from histoseg.runs.config import Data
from histoseg.shards.prepare import prepare_sources
from histoseg.shards.writer import Recipe
from histoseg.sources._declared import find_declarations, load_source
from histoseg.store.objects import FileStore
from tests.annotate.rounds import MPP, box, draw_images, features, make_round, write_features
from tests.slides.blobs import draw_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A round of three regions of 100 x 100 pixels, exported."""
    folder = tmp_path_factory.mktemp("annotate")
    make_round(folder / "round1", draw_images(folder / "images"))
    return folder / "round1"


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "round1")


@pytest.fixture
def deliver(folder, tmp_path):
    """Corrected features of some regions, taken in; returns the import that brought them."""

    def deliver(corrected, source="our_nuclei", by="Ada", raw="raw", **options):
        sent = tmp_path / "sent"
        shutil.rmtree(sent, ignore_errors=True)
        sent.mkdir()
        files = [write_features(sent / f"{name}.geojson", found) for name, found in corrected.items()]
        found, _ = take_in(folder, Delivery(files=files, raw=tmp_path / raw, source=source, by=by, **options))
        return found

    return deliver


@pytest.fixture
def regions(folder):
    """What the model found in each region, as exported; the region with the most objects first."""
    paths = (folder / "regions").glob("*.geojson")
    found = {path.stem: features(path) for path in paths}
    return dict(sorted(found.items(), key=lambda one: -len(one[1])))


def test_a_region_is_exported_as_image_geojson_and_annotation_store(folder, regions):
    plan = read_plan(folder)
    assert set(regions) == set(plan.by_name)
    for name, found in regions.items():
        path = folder / "regions" / f"{name}.png"
        region = plan.by_name[name]
        with PillowImage.open(plan.images[region.image].address) as whole, PillowImage.open(path) as cut:
            part = np.asarray(whole)[region.top : region.top + 100, region.left : region.left + 100]
            assert np.array_equal(np.asarray(cut), part)
        assert stored_mpp(path) == pytest.approx(MPP, rel=1e-3)  # PNG states whole pixels per metre.
        with sqlite3.connect(folder / "regions" / f"{name}.db") as database:
            assert database.execute("SELECT count(*) FROM annotations").fetchone() == (len(found),)
    assert "QuPath" in (folder / "regions" / "README.txt").read_text()


def test_an_export_that_is_repeated_makes_what_is_missing_and_keeps_corrections(folder, regions):
    one, two, _ = regions
    corrected = write_features(folder / "regions" / f"{one}.geojson", regions[one][1:]).read_bytes()
    missing = folder / "regions" / f"{two}.geojson"
    before = missing.read_bytes()
    missing.unlink()
    export_round(folder, read_plan(folder), draw_model())
    assert (folder / "regions" / f"{one}.geojson").read_bytes() == corrected
    assert missing.read_bytes() == before


def test_an_export_of_another_model_is_refused(folder):
    with pytest.raises(DataError, match="another model"):
        export_round(folder, read_plan(folder), replace(draw_model(), sha256="1" * 64))


def test_unchanged_objects_are_the_models(deliver, regions):
    found = deliver(regions)
    assert found.version == 1
    for name, origin in found.regions.items():
        assert (origin.by_model, origin.by_hand, origin.removed) == (len(regions[name]), 0, 0)


def test_rewritten_outlines_stay_the_models(deliver, regions):
    """QuPath may begin a ring at another corner, turn it round, and give objects other identities."""
    name = next(iter(regions))
    changed = copy.deepcopy(regions[name])
    for i, feature in enumerate(changed):
        ring = feature["geometry"]["coordinates"][0][:-1]
        ring = [*ring[3:], *ring[:3]][::-1]
        feature["geometry"]["coordinates"][0] = [*ring, ring[0]]
        feature["id"] = f"{i}"
    origin = deliver({name: changed}).regions[name]
    assert (origin.by_model, origin.by_hand) == (len(changed), 0)


def test_what_a_hand_did_is_counted(deliver, regions, tmp_path):
    """One object is removed, one gets another class, one is made larger, one is added in the place of the first."""
    name, found = next(iter(regions.items()))
    changed = copy.deepcopy(found)
    gone = changed.pop(0)
    other = "lymphocyte" if changed[0]["properties"]["classification"]["name"] != "lymphocyte" else "plasma"
    changed[0]["properties"]["classification"]["name"] = other
    around = shapely.geometry.shape(changed[1]["geometry"]).buffer(1.5).simplify(0.2)
    changed[1]["geometry"] = json.loads(shapely.to_geojson(around))
    origin = deliver({name: changed}).regions[name]
    assert (origin.by_hand, origin.changed, origin.added, origin.removed) == (2, 2, 0, 1)
    left, top, *_ = map(int, shapely.geometry.shape(gone["geometry"]).bounds)
    origin = deliver({name: [*changed, box(left, top, 3, "plasma")]}).regions[name]
    assert origin.by_hand == 3
    assert origin.added + origin.changed == 3
    label = features(tmp_path / "raw" / "our_nuclei" / "v0002" / "labels" / f"{name}.geojson")
    drawn_by = [feature["properties"]["drawn_by"] for feature in label]
    assert drawn_by.count("hand") == 3
    assert drawn_by[:2] == ["hand", "hand"]


FAULTS = {
    "crosses itself": (
        [
            {
                **box(0, 0, 9, "plasma"),
                "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]]},
            }
        ],
        "invalid outline.*Self-intersection",
    ),
    "outside": ([box(150, 20, 9, "plasma")], "reaches beyond the region of 100x100"),
    "partly outside": ([box(95, 20, 9, "plasma")], "reaches beyond"),
    "unknown class": ([box(5, 5, 9, "macrophage")], "'macrophage': 1; choose from neutrophil, epithelial"),
    "no class": ([box(5, 5, 9)], "without a class: 1"),
    "without extent": ([box(5, 5, 0, "plasma")], "has no pixel"),
    "covered": ([box(5, 5, 9, "plasma"), box(4, 4, 12, "plasma")], "wholly under later ones"),
    "too small": ([box(5.1, 5.1, 0.1, "plasma")], "has no pixel"),
    "empty": ([], "no object.*--accept-empty"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_nothing_is_merged(deliver, regions, tmp_path, fault):
    found, text = FAULTS[fault]
    one, two, *_ = regions
    with pytest.raises(DataError, match=text) as raised:
        deliver({one: found, two: regions[two]})
    lines = str(raised.value).splitlines()
    assert len(lines) == 2
    assert f"{one}.geojson: " in lines[0]
    assert not (tmp_path / "raw").exists()


def test_the_faults_of_all_files_are_said_at_once(deliver, regions):
    one, two, *_ = regions
    both = {one: [box(5, 5, 9, "macrophage"), box(150, 20, 9, "plasma")], two: [], "elsewhere__0_0": regions[two]}
    with pytest.raises(DataError) as raised:
        deliver(both)
    lines = str(raised.value).splitlines()
    assert [text in line for line, text in zip(lines, ("beyond", "macrophage", "no object", "elsewhere"), strict=False)]
    assert lines[-1].startswith("nothing was merged")
    assert len(lines) == 5


def test_one_object_over_all_others_is_a_few_lines(deliver, regions):
    """As a pathologist leaves it who also outlines the whole region."""
    name, found = next(iter(regions.items()))
    with pytest.raises(DataError) as raised:
        deliver({name: [*found, box(0, 0, 100, "plasma")]})
    *named, more, last = str(raised.value).splitlines()
    assert all("wholly under later ones" in line for line in named)
    assert more.endswith(f": {len(found) - len(named)} more objects have the same fault")
    assert last.startswith("nothing was merged")


def test_the_annotation_of_another_image_is_refused_though_nothing_says_where_it_is_from(deliver, regions, tmp_path):
    """Its objects have lost their identities, or are of an earlier round."""
    name, found = next(iter(regions.items()))
    moved = copy.deepcopy(found)
    for i, feature in enumerate(moved):
        feature["id"] = f"{i}"
        feature["geometry"] = box(1 + 5 * (i % 19), 1 + 5 * (i // 19), 4)["geometry"]
    with pytest.raises(
        DataError, match=f"none of its {len(moved)} objects is one of the .* exported with region {name}"
    ):
        deliver({name: moved})
    assert not (tmp_path / "raw").exists()
    assert deliver({name: moved}, accept_redrawn=True).regions[name].by_model == 0


def test_the_annotation_of_another_region_is_refused(deliver, regions):
    one, two, *_ = regions
    with pytest.raises(DataError, match=f"those of region {two}, not of {one}"):
        deliver({one: regions[two]})


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_an_annotation_at_another_resolution_is_refused(deliver, regions, factor):
    name = next(iter(regions))
    scaled = copy.deepcopy(regions[name])
    for feature in scaled:
        for ring in feature["geometry"]["coordinates"]:
            ring[:] = [[x * factor, y * factor] for x, y in ring]
    with pytest.raises(DataError, match=f"{factor:g} times as large"):
        deliver({name: scaled})


def test_an_empty_region_is_taken_if_that_is_meant(deliver, regions):
    name = next(iter(regions))
    origin = deliver({name: []}, accept_empty=True).regions[name]
    assert (origin.by_model, origin.by_hand, origin.removed) == (0, 0, len(regions[name]))


def test_files_and_names_that_cannot_be_meant_are_refused(deliver, regions, folder, tmp_path):
    one, *_ = regions
    for name in (" ", "Ada\nBob"):
        with pytest.raises(ConfigError, match="--by"):
            deliver({one: regions[one]}, by=name)
    with pytest.raises(ConfigError, match="--source 'Our nuclei'"):
        deliver({one: regions[one]}, source="Our nuclei")
    with pytest.raises(ConfigError, match="--source monuseg: is the name of a source of the program"):
        deliver({one: regions[one]}, source="monuseg")
    with pytest.raises(ConfigError, match="no such file"):
        take_in(folder, Delivery(files=[tmp_path / "no.geojson"], raw=tmp_path, source="a", by="b"))
    with pytest.raises(ConfigError, match="is an AnnotationStore; give its annotations as GeoJSON"):
        take_in(folder, Delivery(files=[folder / "regions" / f"{one}.db"], raw=tmp_path, source="a", by="b"))
    with pytest.raises(ConfigError, match="no GeoJSON file"):
        take_in(folder, Delivery(files=[tmp_path], raw=tmp_path, source="a", by="b"))
    other = tmp_path / "raw" / "theirs"
    other.mkdir(parents=True)
    (other / "source.toml").write_text(
        'name = "theirs"\ntitle = "T"\nlicence = "L"\nkind = "patch"\nclasses = ["a", "b"]\nmpp = 0.5\n'
        'images = "*/{name}.png"\n'
    )
    with pytest.raises(ConfigError, match="not written by"):
        deliver({one: regions[one]}, source="theirs")


def test_each_import_is_a_version_and_the_same_one_is_none(deliver, regions, tmp_path):
    one, two, *_ = regions
    source = tmp_path / "raw" / "our_nuclei"
    assert deliver({one: regions[one]}).version == 1
    again = deliver({one: regions[one]}, by="Bob")
    assert (again.version, again.by) == (1, "Ada")
    assert deliver({two: regions[two]}, by="Bob").version == 2
    assert deliver({one: regions[one][1:]}, by="Eve").version == 3
    imports = provenance_of(source, 3).imports
    assert [(one.version, one.by, list(one.regions)) for one in imports] == [
        (1, "Ada", [one]),
        (2, "Bob", [two]),
        (3, "Eve", [one]),
    ]
    assert imports[0].regions[one].model_sha256 == "0" * 64
    assert len(features(source / "v0001" / "labels" / f"{one}.geojson")) == len(regions[one])
    assert len(features(source / "v0003" / "labels" / f"{one}.geojson")) == len(regions[one]) - 1
    assert {path.stem for path in (source / "v0003" / "images").iterdir()} == {one, two}


def test_an_import_that_was_killed_leaves_the_version_before(deliver, regions, tmp_path, monkeypatch):
    one, two, *_ = regions
    deliver({one: regions[one]})
    declared = tmp_path / "raw" / "our_nuclei" / "source.toml"
    before = declared.read_text()
    with monkeypatch.context() as patched:
        patched.setattr("histoseg.annotate.merge.Provenance.model_dump_json", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            deliver({two: regions[two]})
    assert declared.read_text() == before
    assert len(load_source("our_nuclei", find_declarations(tmp_path / "raw")).entries(tmp_path / "raw")) == 1
    assert deliver({two: regions[two]}).version == 2


def test_an_import_after_going_back_to_an_older_version_leaves_the_newer_one(deliver, regions, tmp_path):
    one, two, three = regions
    source = tmp_path / "raw" / "our_nuclei"
    for name in (one, two):
        deliver({name: regions[name]})
    newer = {path: path.read_bytes() for path in (source / "v0002").rglob("*") if path.is_file()}
    shutil.copyfile(source / "v0001" / "declaration.toml", source / "source.toml")
    assert deliver({three: regions[three]}).version == 3
    assert {path: path.read_bytes() for path in (source / "v0002").rglob("*") if path.is_file()} == newer
    assert {path.stem for path in (source / "v0003" / "images").iterdir()} == {one, three}
    assert [imported.version for imported in provenance_of(source, 3).imports] == [1, 3]


def test_a_round_keeps_every_import_as_its_source_has_it(deliver, regions, folder, tmp_path):
    """Sources of one name in two folders are two sources; one that is made again is another one."""
    one, *_ = regions
    first = deliver({one: regions[one]})
    second = deliver({one: regions[one]}, by="Bob", raw="elsewhere")
    assert {(found.source, found.by) for found in imports_of(folder)} == {(first.source, "Ada"), (second.source, "Bob")}
    shutil.rmtree(tmp_path / "raw")
    deliver({one: regions[one]}, by="Eve")
    assert {found.by for found in imports_of(folder)} == {"Bob", "Eve"}


def test_an_import_that_its_round_has_not_heard_of_is_written_down_when_it_is_repeated(deliver, regions, folder):
    """It may be killed after the source was replaced."""
    one, *_ = regions
    first = deliver({one: regions[one]})
    shutil.rmtree(folder / "imports")
    assert deliver({one: regions[one]}, by="Bob") == first
    assert imports_of(folder) == [first]


def _interrupted(*_, **__):
    raise KeyboardInterrupt


def test_prepare_reads_what_was_merged(deliver, regions, tmp_path):
    """Maps of objects are those that were exported, of one patient for each image; older versions can be had again."""
    one, two, *_ = regions
    raw, store = tmp_path / "raw", FileStore(tmp_path / "store")
    deliver({one: regions[one]})
    first = _prepare(raw, store)
    deliver({two: regions[two]}, by="Bob")
    second = _prepare(raw, store)
    assert first.checksum != second.checksum
    assert set(second.samples.image) == {one, two}
    assert set(second.samples.patient) == {name.partition("__")[0] for name in (one, two)}
    assert sum(second.samples.num_objects) == len(regions[one]) + len(regions[two])
    assert second.task.structure == "nuclei"
    imports = provenance_of(raw / "our_nuclei", 2).imports
    assert [imported.by for imported in imports] == ["Ada", "Bob"]
    assert second.notes == {
        "objects that a model drew and an annotator left": sum(second.samples.num_objects),
        **{f"regions corrected by {imported.by} on {imported.at[:10]}": 1 for imported in imports},
    }
    declared = raw / "our_nuclei" / "source.toml"
    declared.write_text((declared.parent / "v0001" / "declaration.toml").read_text())
    assert _prepare(raw, store).checksum == first.checksum


def _prepare(raw, store):
    recipe = Recipe(data=Data(patch_px=64), declared=find_declarations(raw))
    with ThreadPoolExecutor(1) as pool:
        return prepare_sources(["our_nuclei"], raw, store, recipe, pool, strict=True).indexes["our_nuclei"]
