"""The page and table of a cohort."""

import csv

import pytest

from histoseg.report.cohort import write_cohort
from histoseg.slides.summary import Counts, MaskAbout, ModelAbout, StructureAbout, Summary

WORDS = {
    "gland": StructureAbout(singular="gland", plural="glands"),
    "nuclei": StructureAbout(singular="nucleus", plural="nuclei"),
}


def summary(name, counts, caveats=()):
    return Summary(
        name=name,
        address=f"s3://lab/scans/{name}.svs",
        size_px=(1000, 800),
        mpp=0.25,
        model=ModelAbout(sha256="0" * 64, origin="a test", mpp=0.5),
        structures={name: WORDS[name] for name in counts},
        counts=counts,
        mask=MaskAbout(kind="automatic", area_mm2=2.5),
        caveats=list(caveats),
        files=[],
        made_of="x",
        histoseg="0",
        seconds=61.2,
    )


DONE = [
    summary("one", {"gland": Counts(all=3), "nuclei": Counts(all=5, classes={"a": 4, "b": 1})}, ["it is a test"]),
    summary("two", {"nuclei": Counts(all=1200, classes={"a": 1200, "b": 0})}),
]


@pytest.fixture
def written(tmp_path):
    failures = {"s3://lab/scans/<three>.svs": "damaged"}
    return write_cohort(tmp_path / "slides", DONE, failures, where="s3://lab/out", command="make submit EXP=slides")


def test_the_table_has_a_row_for_each_slide(written):
    with (written.page.parent / "slides.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["slide"] for row in rows] == ["one", "two"]
    assert (rows[0]["gland"], rows[0]["nuclei"], rows[0]["nuclei: a"], rows[0]["nuclei: b"]) == ("3", "5", "4", "1")
    assert (rows[1]["gland"], rows[1]["nuclei: b"], rows[1]["mm2"], rows[1]["seconds"]) == ("", "0", "2.50", "61")


def test_the_page_says_what_failed_and_how_to_repeat_it(written):
    page = written.page.read_text()
    for words in ("2 of 3 slides are done", "damaged", "it is a test", "make submit EXP=slides"):
        assert words in page
    assert "&lt;three&gt;.svs" in page
    assert '<p class="notice">1 of the slides failed, for the reasons below.</p>' in page


def test_a_page_without_failures_has_no_notice(tmp_path):
    page = write_cohort(tmp_path, DONE, {}, where="s3://lab/out", command="make").page.read_text()
    assert 'class="notice"' not in page
    assert "each slide has its results in s3://lab/out/&lt;slide&gt;/." in page


def test_the_text_has_the_sums(written):
    assert "2 of 3 slides are done: 5.0 mm2 of tissue, 3 glands, 1,205 nuclei" in written.table
    assert "s3://lab/out/<slide>/" in written.table


def test_a_cohort_in_which_all_failed_has_a_page(tmp_path):
    written = write_cohort(tmp_path, [], {"a.svs": "no"}, where="file:///out", command="make")
    assert "0 of 1 slides are done" in written.page.read_text()
