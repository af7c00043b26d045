"""A cohort on a real Ray of this machine, with results in a folder."""

import logging
from contextlib import nullcontext

import pytest

from histoseg.errors import CheckpointError, HistosegError
from histoseg.runs.request import Request
from histoseg.slides.summary import list_slides
from histoseg.store.objects import FileStore
from ray_jobs.cohort import BATCH, batch_size
from ray_jobs.slides import segment_cohort
from tests.slides import tiny

# Of Ray's own modules
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_slide_that_is_alone_is_for_all_processes():
    assert batch_size(regions=230, waiting=0, at_a_time=128) == 1
    assert batch_size(regions=230, waiting=0, at_a_time=16) == BATCH
    assert batch_size(regions=230, waiting=200, at_a_time=128) == BATCH
    assert batch_size(regions=3, waiting=0, at_a_time=128) == 1


@pytest.fixture(scope="module")
def cohort(cluster, tmp_path_factory):
    """What segments a folder that has two slides and a file that is none, and where."""
    folder = tmp_path_factory.mktemp("cohort")
    tiny.write_slides(folder, 2, width=640, height=512)
    (folder / "broken.tif").write_bytes(b"II*\0")
    tiny.write_model(folder / "model", folder / "slide-0.tif")

    def segment(**changed):
        asked = {"slides": str(folder), "model": str(folder / "model"), "sets": tuple(tiny.WORDS.split()), **changed}
        request = Request(experiment="slides", **asked)
        return segment_cohort(request, "", folder / "results", folder / "home", nullcontext)

    return segment, folder / "results" / "slides"


@pytest.mark.slow
def test_all_slides_but_the_broken_one_have_results(cohort, caplog):
    segment, out = cohort
    written, failure = segment()
    assert written.page == out / "index.html"
    assert list_slides(FileStore(out)) == ["slide-0", "slide-1"]
    assert "2 of 3 slides are done" in written.table
    assert isinstance(failure, HistosegError)
    assert "1 of 3 slides failed" in str(failure)
    assert "broken.tif: " in str(failure)
    made = (out / "slide-0" / "summary.json").read_bytes()
    with caplog.at_level(logging.INFO, "histoseg.slides"):
        again, _ = segment()
    assert again.table == written.table
    assert (out / "slide-0" / "summary.json").read_bytes() == made
    assert not [line for line in caplog.messages if "nuclei in" in line]


@pytest.mark.slow
def test_other_settings_are_refused_unless_other_results_are_meant(cohort, tmp_path):
    segment, out = cohort
    segment()
    other = ("mask=none", "windows.margin_px=32", "region_px=256")
    _, failure = segment(sets=other, slides=str(out.parents[1] / "slide-0.tif"))
    assert "ConfigError" in str(failure)
    assert "OUT" in str(failure)
    _, failure = segment(sets=other, slides=str(out.parents[1] / "slide-0.tif"), into=str(tmp_path / "other"))
    assert failure is None
    assert list_slides(FileStore(tmp_path / "other")) == ["slide-0"]


@pytest.mark.slow
def test_a_model_that_is_none_ends_it_at_once(cohort, tmp_path):
    segment, _ = cohort
    with pytest.raises(CheckpointError, match=r"holds no model\.json"):
        segment(model=str(tmp_path))
