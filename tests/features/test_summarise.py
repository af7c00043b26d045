"""`histoseg summarise` on folders of results: tables, record, page, and what is done again."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from histoseg.commands.slides import summarise
from histoseg.errors import DataError
from histoseg.features import record
from histoseg.features.cohort import summarise_slides
from histoseg.features.document import to_markdown
from histoseg.features.measure import measure_slide
from histoseg.features.reading import read_slide
from histoseg.features.record import RECORD
from histoseg.slides.summary import read_summary
from histoseg.store.objects import FileStore, connect
from ray_jobs.local_store import local_store
from tests.command import run, succeed
from tests.features.drawn import TYPES, busy_slide, slide, table, tissue_map
from tests.features.results import write_results
from tests.report.test_page import parse
from tests.test_layers import ROOT


def write_all(store):
    """Two busy slides, one without objects, and one that is not finished."""
    write_results(store, busy_slide(), name="A")
    write_results(store, busy_slide(np.random.default_rng(8)), name="B")
    empty = slide(
        tissue_map(np.full((6, 8), 2)),
        gland=table(shapes=[]),
        lumen=table(shapes=[]),
        nuclei=table(classes=TYPES),
    )
    write_results(store, empty, name="empty")
    write_results(store, busy_slide(), name="unfinished")
    store.delete("unfinished/summary.json")
    return store


@pytest.fixture
def results(tmp_path):
    return write_all(FileStore(tmp_path / "results"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """The same, with a slide of another model and a damaged one, summarised: the store, and what was said."""
    store = write_all(FileStore(tmp_path_factory.mktemp("cohort")))
    drawn = busy_slide()
    nuclei = replace(drawn.objects["nuclei"], classes=("dead", "epithelial", "lymphocyte"))
    write_results(store, replace(drawn, objects={"nuclei": nuclei}, tissue=None), name="other", model="def")
    write_results(store, drawn, name="damaged")
    store.put("damaged/objects.parquet", b"PAR1 but not really")
    printed = io.StringIO()
    said = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(said), pytest.raises(DataError) as failed:
        summarise(str(store.root))
    return Cohort(store=store, printed=printed.getvalue(), said=said.getvalue(), error=str(failed.value))


@pytest.fixture(scope="module")
def s3_url(tmp_path_factory):
    with local_store(tmp_path_factory.mktemp("s3")) as server:
        yield f"{server.url}/results"


@dataclass(frozen=True, kw_only=True)
class Cohort:
    store: FileStore
    printed: str
    said: str  # On standard error
    error: str

    @property
    def slides(self):
        return pd.read_parquet(out_of(self.store).path("slides.parquet")).set_index("slide")

    @property
    def reasons(self):
        return pd.read_csv(out_of(self.store).path("missing.csv")).set_index(["slide", "column"])["reason"]


def out_of(results):
    return FileStore(results.root / "features")


def test_what_is_written_is_read_back(results):
    drawn = busy_slide()
    found = read_slide(results, read_summary(results, "A"), "A")
    assert found.objects.keys() == drawn.objects.keys()
    for name, objects in drawn.objects.items():
        order = np.argsort(objects.points_um[:, 0])
        other = found.objects[name]
        again = np.argsort(other.points_um[:, 0])
        assert other.classes == objects.classes
        assert other.kinds[again].tolist() == objects.kinds[order].tolist()
        assert other.points_um[again] == pytest.approx(objects.points_um[order], abs=1e-3)
        assert other.areas_um2[again] == pytest.approx(objects.areas_um2[order], rel=1e-6)
    assert found.tissue.side_um == drawn.tissue.side_um
    assert (found.tissue.squares == drawn.tissue.squares).all()


def test_tables_hold_all_features(cohort):
    out, slides = out_of(cohort.store), cohort.slides
    assert [*slides.index] == ["A", "B", "empty", "other"]
    measured = measure_slide(read_slide(cohort.store, read_summary(cohort.store, "A"), "A"))
    for value in measured.values:
        if value.is_column:
            stored = slides.loc["A", value.column]
            assert stored == pytest.approx(value.number) if value.number is not None else pd.isna(stored), value.column
    assert slides.loc["empty", "nuclei_all_count"] == 0
    assert pd.isna(slides.loc["empty", "nuclei_all_area_um2_mean"])
    as_text = pd.read_csv(out.path("slides.csv")).set_index("slide")
    pd.testing.assert_frame_equal(as_text, slides, check_dtype=False)
    glands = pd.read_parquet(out.path("A/glands.parquet"))
    assert len(glands) == 5
    assert {*measured.glands.columns} < {*glands}
    assert glands["nuclei_all_count"].dtype == np.int64
    assert len(pd.read_csv(out.path("empty/glands.csv"))) == 0
    definitions = json.loads(pq.read_schema(out.path("slides.parquet")).metadata[b"histoseg"])
    assert "nuclear_rows" in {each["name"] for each in definitions}


def test_each_null_has_a_reason(cohort):
    nulls = cohort.slides.drop(columns="caveats").isna().stack()
    assert {*nulls[nulls].index} <= {*cohort.reasons.index}
    assert cohort.reasons.notna().all()


def test_slides_of_different_models_stand_in_one_table(cohort):
    slides, reasons = cohort.slides, cohort.reasons
    assert pd.isna(slides.loc["A", "nuclei_dead_count"])
    assert slides.loc["other", "nuclei_dead_count"] > 0
    assert pd.isna(slides.loc["other", "gland_all_count"])
    assert reasons["A", "nuclei_dead_count"]
    assert reasons["other", "gland_all_count"]
    assert reasons["other", "tumour_stroma_ratio"] == "the slide has no classes of tissue"


def test_what_failed_is_said_last_and_what_is_not_finished_left_out(cohort):
    assert cohort.error == "1 of 5 slides failed: damaged"
    assert "damaged/objects.parquet" in cohort.said
    assert cohort.said.count("\n") == 1
    assert "other: 900 nuclei in the tissue" in cohort.printed
    assert "left out: unfinished" in cohort.printed


def test_the_page_shows_every_slide_and_loads_nothing(cohort):
    page = parse(out_of(cohort.store).get("index.html").decode())
    assert "script" not in {tag for tag, _ in page.tags}
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert len(page.all("img")) == 6  # Two figures and four thumbnails
    for text in ("A", "B", "empty", "other", "stratified_share", "Not summarised: damaged", "by different models"):
        assert text in page.text
    hints = [attributes["title"] for attributes in page.all("th") if "title" in attributes]
    assert "gland_all_density_per_mm2" in hints


def test_what_is_there_is_kept_and_what_changed_is_not(results, capsys):
    out, names = out_of(results), ["A", "B", "empty"]
    succeed(capsys, "summarise", results.root)
    first = {key: (out.path(key).stat().st_mtime_ns, out.get(key)) for key in out.list()}
    write_results(results, busy_slide(np.random.default_rng(9)), name="B", made_of="2")
    assert [slide.is_kept for _, slide in summarise_slides(results, names, out)] == [True, False, True]
    again = {key: (out.path(key).stat().st_mtime_ns, out.get(key)) for key in out.list()}
    assert {key for key in first if first[key] != again[key]} == {"B/glands.csv", "B/glands.parquet", f"B/{RECORD}"}
    write_results(results, busy_slide(np.random.default_rng(8)), name="B", made_of="1")
    printed = succeed(capsys, "summarise", results.root)
    assert [line for line in printed.splitlines() if line.endswith("there")] == [
        "A: already there",
        "empty: already there",
    ]
    for key, (_, body) in first.items():
        assert out.get(key) == body or key == f"B/{RECORD}", key  # The record says how long it took.


def test_a_lost_or_damaged_file_is_made_again(results):
    out, names = out_of(results), ["A", "B", "empty"]
    assert not any(slide.is_kept for _, slide in summarise_slides(results, names, out))
    out.delete("A/glands.csv")
    out.put(f"B/{RECORD}", b"{")
    assert [slide.is_kept for _, slide in summarise_slides(results, names, out)] == [False, False, True]
    assert out.size("A/glands.csv")


def test_other_definitions_are_computed_again(results, monkeypatch):
    out = out_of(results)
    assert not any(slide.is_kept for _, slide in summarise_slides(results, ["A"], out))
    monkeypatch.setattr(record, "FORMAT", record.FORMAT + 1)
    assert [slide.is_kept for _, slide in summarise_slides(results, ["A"], out)] == [False]
    assert [slide.is_kept for _, slide in summarise_slides(results, ["A"], out)] == [True]


@pytest.mark.parametrize(
    ("file", "body"),
    [
        ("objects.parquet", b"PAR1 but not really"),
        ("objects.parquet", None),
        ("summary.json", b'{"name": "B"}'),
        ("tissue.tif", b"not a TIFF file"),
        ("tissue.tif", None),
    ],
)
def test_a_slide_that_fails_stops_no_other(results, file, body):
    key = f"B/{file}"
    if body is None:
        results.delete(key)
    else:
        results.put(key, body)
    found = dict(summarise_slides(results, ["A", "B"], out_of(results)))
    assert key in str(found["B"])
    assert isinstance(found["B"], DataError)
    assert out_of(results).list() == ["A/features.json", "A/glands.csv", "A/glands.parquet"]


def test_a_tissue_map_of_another_size_is_refused(results):
    drawn = busy_slide()
    small = replace(drawn.tissue, squares=drawn.tissue.squares[:3])
    write_results(results, replace(drawn, tissue=small), name="A")
    with pytest.raises(DataError, match=r"3, 8.*6, 8"):
        read_slide(results, read_summary(results, "A"), "A")


def test_objects_of_another_slide_are_refused(results):
    summary = read_summary(results, "A").model_copy(update={"mpp": 0.25})
    with pytest.raises(DataError, match=r"0\.5.*0\.25"):
        read_slide(results, summary, "A")


def test_a_folder_without_slides_is_refused(tmp_path, capsys):
    code, _, errors = run(capsys, "summarise", tmp_path)
    assert code == 1
    assert "summary.json" in errors
    code, _, errors = run(capsys, "summarise", tmp_path / "nowhere")
    assert code == 1
    assert "nowhere" in errors


def test_results_and_features_in_a_bucket(cohort, capsys, s3_url):
    there, here = connect(s3_url), out_of(cohort.store)
    for key in cohort.store.list():
        if key.startswith(("A/", "empty/")):
            there.put(f"cohort/{key}", cohort.store.get(key))
    succeed(capsys, "summarise", f"{s3_url}/cohort")
    assert there.get("cohort/features/A/glands.csv") == here.get("A/glands.csv")
    slides = pd.read_parquet(io.BytesIO(there.get("cohort/features/slides.parquet")))
    assert [*slides["slide"]] == ["A", "empty"]
    found = summarise_slides(connect(f"{s3_url}/cohort"), ["A", "empty"], connect(f"{s3_url}/cohort/features"))
    assert all(slide.is_kept for _, slide in found)


def test_the_documentation_is_that_of_the_definitions():
    path = ROOT / "docs" / "features.md"
    assert path.read_text() == to_markdown(), "python -m histoseg.features.document > docs/features.md"


def test_squares_that_were_not_seen_are_background(results):
    """`segment` gives them a class of its own after the model's, and its grid may be half a pixel short."""
    drawn = busy_slide()
    seen = drawn.tissue.squares.copy()
    seen[2] = len(drawn.tissue.classes)
    classes = (*drawn.tissue.classes, "not_segmented")
    write_results(results, replace(drawn, tissue=replace(drawn.tissue, squares=seen, classes=classes)), name="A")
    summary = read_summary(results, "A")
    tissue = summary.tissue.model_copy(update={"classes": [*drawn.tissue.classes]})
    found = read_slide(results, summary.model_copy(update={"tissue": tissue, "size_px": (1600, 1200)}), "A")
    assert found.tissue.classes == drawn.tissue.classes
    assert not found.tissue.is_tissue[2].any()
    columns = {value.column for value in measure_slide(found).values}
    assert not [name for name in columns if "not_segmented" in name]


def test_a_map_that_names_other_classes_is_refused(results):
    summary = read_summary(results, "A")
    tissue = summary.tissue.model_copy(update={"classes": ["background", "stroma"]})
    with pytest.raises(DataError, match="abnormal_epithelium"):
        read_slide(results, summary.model_copy(update={"tissue": tissue}), "A")
