"""The runs of Figure 6: trainings shared with Table 4, repeats that differ, and the images needed for a score."""

import math

import pytest

from histoseg.experiments import cerberus_figure6, cerberus_table4
from histoseg.experiments._available import Available, assumed
from histoseg.report.layout import lay_out
from histoseg.runs import catalog
from histoseg.runs.names import from_json, run_name, stage_name, to_json
from histoseg.types import FOLDS
from tests.report.records import make_record

SOURCES = cerberus_figure6.SOURCES
SIGNET = cerberus_figure6.SOURCE
ALL = {name: assumed(catalog.load_source(name).TASK) for name in SOURCES}
CHECKSUMS = {name: name for name in SOURCES}


def runs(scale="paper", seeds=1, sources=ALL):
    return cerberus_figure6.runs(scale, seeds, sources)


@pytest.mark.parametrize("scale", cerberus_figure6.SCALES)
def test_every_run_can_be_written_down(scale):
    found = runs(scale)
    assert len(found) == 3 * 5 * 4  # Rows, numbers of images, repeats
    assert all(from_json(to_json(run)) == run for run in found)
    assert len({run.address for run in found}) == len({run_name(run, CHECKSUMS) for run in found}) == 60
    assert {(run.experiment, run.scale) for run in found} == {("cerberus_figure6", scale)}


def test_encoders_are_those_of_table_4():
    own = {stage_name(run, 0, CHECKSUMS) for run in runs() if len(run.stages) > 1}
    tables = {
        stage_name(run, 0, CHECKSUMS)
        for run in cerberus_table4.runs("paper", 1, ALL)
        if (run.row, run.part) in (("stl", "nuclei"), ("in_mixed_pc", ""))
    }
    assert len(own) == 2
    assert own < tables


def test_repeats_share_the_training_before_and_nothing_else():
    found = [run for run in runs() if (run.row, run.column) == ("in_mixed_pc", "images8")]
    assert len({stage_name(run, 0, CHECKSUMS) for run in found}) == 1
    assert len({stage_name(run, 1, CHECKSUMS) for run in found}) == 4
    assert (
        {run.stages[1].select.draw for run in found} == {run.stages[1].method.repeat for run in found} == {0, 1, 2, 3}
    )
    assert {run.at(-1).network.weights for run in found} == {""}


def test_only_the_row_without_a_training_begins_with_imagenet():
    alone = [run for run in runs() if run.row == "imagenet"]
    assert {len(run.stages) for run in alone} == {1}
    assert {run.at(0).network.weights for run in alone} == {"imagenet"}
    assert {run.network.weights for run in runs("laptop") if run.row == "imagenet"} == {""}


def test_nothing_is_scored_that_was_trained_on():
    for run in runs():
        assert run.score.sources == (SIGNET,)
        assert not set(run.stages[-1].select.splits) & set(run.score.splits)
        assert run.stages[-1].select.with_objects


def held(**images):
    return Available(task=ALL[SIGNET].task, splits=frozenset(FOLDS), num_patients=9, images_with_objects=dict(images))


def test_numbers_of_images_that_are_not_there_are_left_out():
    """Seven images in the two folds that are trained on; the third does not count."""
    sources = {**ALL, SIGNET: held(fold1=3, fold2=4, fold3=20)}
    assert {run.column for run in runs(sources=sources)} == {"images2", "images4"}
    assert cerberus_figure6.why_missing("stl", "images8", sources) == "only 7 images"


def test_rows_whose_sources_are_missing_are_left_out():
    few = {SIGNET: ALL[SIGNET], "glas": ALL["glas"]}
    assert {run.row for run in runs(sources=few)} == {"imagenet"}
    assert cerberus_figure6.why_missing("stl", "images2", few) == "no shards with nuclei"
    assert "too few structures" in cerberus_figure6.why_missing("in_mixed_pc", "images2", few)
    assert runs(sources={"glas": ALL["glas"]}) == []
    assert cerberus_figure6.why_missing("imagenet", "images2", {}) == "no shards of signet ring cells"
    folds = Available(task=ALL[SIGNET].task, splits=frozenset(FOLDS[:2]), num_patients=2)
    assert "too few patients for fold3" in cerberus_figure6.why_missing("imagenet", "images2", {SIGNET: folds})


@pytest.mark.parametrize(
    ("means", "needed"),
    [
        # Halfway between 0.3 and 0.5 on a logarithmic axis from 2 to 8 lies 4.
        ({2: 0.3, 8: 0.5}, 4.0),
        ({2: 0.1, 4: 0.4, 8: 0.2}, 4.0),
        ({2: 0.45, 8: 0.3}, 2.0),
        ({2: 0.1, 8: 0.39}, math.nan),
        ({}, math.nan),
    ],
)
def test_images_needed_worked_by_hand(means, needed):
    assert cerberus_figure6.reaches(means, 0.4) == pytest.approx(needed, nan_ok=True)


def test_the_page_lists_the_images_needed():
    scores = {("imagenet", 2): 0.1, ("imagenet", 8): 0.2, ("stl", 2): 0.3, ("stl", 8): 0.5, ("in_mixed_pc", 2): 0.6}
    template = make_record("glas", "all_others", "maml")
    made = [
        template.model_copy(
            update={"row": row, "column": f"images{number}", "scores": {"froc": score}, "name": f"{row}{number}"}
        )
        for (row, number), score in scores.items()
    ]
    (listing,) = cerberus_figure6.images_needed(lay_out(cerberus_figure6.SPEC, made)).listings
    assert [row[1] for row in listing.rows] == ["not reached with 8", "4.0", "2 or fewer"]
    assert cerberus_figure6.images_needed(lay_out(cerberus_figure6.SPEC, [])).is_empty
