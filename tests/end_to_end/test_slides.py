"""A cohort of slides on a Ray of several nodes, through its jobs API, while everything that can die dies."""

import csv
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from histoseg.commands.models import open_model
from histoseg.inference.segment import segment_slide
from histoseg.runs.names import assigned
from histoseg.slides.objects import ObjectFile
from histoseg.slides.summary import list_slides
from histoseg.store.keys import slides_folder
from histoseg.store.objects import FileStore, connect
from tests.end_to_end.submission import Submission
from tests.end_to_end.test_cluster import cluster  # noqa: F401 - a fixture
from tests.slides import tiny

pytestmark = pytest.mark.slow
STORE = "s3://histoseg/lab"
GOOD = [f"slide-{i}" for i in range(3)]


@dataclass(frozen=True)
class Outcome:
    """What a disturbed cohort printed and left."""

    output: str  # Of the submission whose driver was killed
    again: str  # Of both, the same one repeated
    folder: Path  # Of this machine, with the results that were fetched


def submitted(ray, folder, *words):
    """`make submit EXP=slides` for this Ray."""
    asked = ["--experiment", "slides", "--store", STORE, "--slides", f"{STORE}/scans", "--model", f"{STORE}/model"]
    return Submission(ray, folder, *asked, "--set", tiny.WORDS, *words)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder of slides, one of which is damaged, and a model."""
    folder = tmp_path_factory.mktemp("scans")
    tiny.write_slides(folder, len(GOOD), width=1024, height=1024)
    body = bytearray((folder / "slide-1.tif").read_bytes())
    body[len(body) // 4 : len(body) // 2] = bytes(len(body) // 2 - len(body) // 4)  # Its tiles, not its directories
    (folder / "damaged.tif").write_bytes(body)
    tiny.write_model(folder / "model", folder / "slide-0.tif")
    return folder


@pytest.fixture(scope="module")
def disturbed(cluster, scans, tmp_path_factory):  # noqa: F811 - the fixture
    """A process with the model was killed, then a node, while the store was away, then the driver."""
    server, ray = cluster
    store, folder = connect(STORE), tmp_path_factory.mktemp("submitter")
    for path in scans.glob("*.tif"):
        store.put(f"scans/{path.name}", path)
    for path in (scans / "model").iterdir():
        store.put(f"model/{path.name}", path)
    first = submitted(ray, folder)

    first.wait_until(lambda: len(segmenters(ray)) == 2)
    killed, held = segmenters(ray)
    lost = segmenters(ray)[held]
    held.suspend()  # So that there is work on its node when that is lost, however fast this machine is.
    killed.kill()
    first.wait_until(lambda: "was killed or crashed; it is tried again" in first.output())
    server.stop()
    back_at = time.monotonic() + 10
    ray.kill(lost)
    ray.start_worker("three")
    first.wait_until(lambda: first.output().count("; it is tried again") > 1 and time.monotonic() > back_at)
    server.start()
    before = store.list("slides/")
    first.wait_until(lambda: store.list("slides/") != before)
    for process in ray.processes("head"):
        if "ray_jobs.driver" in " ".join(process.cmdline()):
            process.kill()
    code, output = first.finish()
    assert code == 1, output
    code, again = submitted(ray, folder).finish()
    assert code == 1, again  # A slide is damaged.
    code, fetched = submitted(ray, folder, "--results").finish()
    assert code == 0, fetched
    return Outcome(output=output, again=again, folder=folder)


def segmenters(ray):
    """The processes that segment regions at this moment, each with the name of its node."""
    found = {process: name for name in list(ray.running) for process in ray.processes(name)}
    return {process: name for process, name in found.items() if is_segmenting(process)}


def is_segmenting(process):
    try:
        return "ray::Segmenter.segment" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def rows_of(store, key):
    table = ObjectFile.open(store, key).read()
    return sorted(map(repr, table.drop_columns(["id"]).to_pylist()))


def test_objects_are_those_of_an_undisturbed_run(disturbed, scans, tmp_path):
    model = open_model(str(scans / "model"))
    store, quiet = connect(f"{STORE}/{slides_folder(model.sha256)}"), FileStore(tmp_path)
    assert list_slides(store) == GOOD
    for name in GOOD:
        segment_slide(str(scans / f"{name}.tif"), model, quiet, tiny.options(assigned))
        expected = rows_of(quiet, f"{name}/objects.parquet")
        assert len(expected) > 300
        assert rows_of(store, f"{name}/objects.parquet") == expected
        assert not store.list(f"{name}/.parts/")


def test_a_damaged_slide_is_named_at_the_end_and_costs_no_other(disturbed):
    assert "histoseg: 1 of 4 slides failed, the others are done:" in disturbed.again
    assert re.search(rf"{STORE}/scans/damaged\.tif: .{{20}}", disturbed.again)


def test_each_slide_was_finished_once(disturbed):
    found = re.findall(r"(slide-\d): [\d,]+ nuclei", disturbed.again)  # This log begins with that of the first job.
    assert sorted(found) == GOOD


def test_results_are_fetched_as_a_page_and_a_table(disturbed):
    page = (disturbed.folder / "results" / "slides" / "index.html").read_text()
    assert "3 of 4 slides are done" in page
    assert "damaged.tif" in page
    with (disturbed.folder / "results" / "slides" / "slides.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["slide"] for row in rows] == GOOD
    assert all(int(row["nuclei"]) > 300 for row in rows)


def test_progress_is_a_line(disturbed):
    assert re.search(r"slides \d/4.*  [\d.]+ mm2  [\d,]+ objects  [\d.]+ mm2/min  eta ", disturbed.again)
