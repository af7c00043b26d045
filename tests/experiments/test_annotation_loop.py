"""The annotation loop's runs, and what its page says of them."""

import math
from dataclasses import replace

import pytest
from scipy.stats import ttest_rel

from histoseg.experiments import annotation_loop
from histoseg.experiments._annotation_spec import WAYS, all_rounds, by_round, gain_section, say_stop
from histoseg.experiments._available import Available, assumed
from histoseg.report.layout import lay_out
from histoseg.report.page import Report, to_sections
from histoseg.runs import catalog
from histoseg.runs.names import from_json, stage_name, to_json
from histoseg.types import FOLDS
from tests.report.records import make_fold_record, read_object_panel

ALL = {name: assumed(catalog.load_source(name).TASK) for name in annotation_loop.SOURCES}
CHECKSUMS = {name: name for name in ALL}


def runs(scale="laptop", sources=ALL, seeds=1):
    return {(run.row, run.column, run.replicate): run for run in annotation_loop.runs(scale, seeds, sources)}


def test_every_row_has_every_round_in_every_division():
    found = runs(seeds=2)
    assert len(found) == 4 * 5 * 3 * 2
    assert {len(run.stages) for run in found.values()} == {1, 2, 3, 4, 5}
    longest = found["difficult", "round5", "fold2+fold3 to fold1, seed 1"]
    assert from_json(to_json(longest)) == longest


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_take_the_same_effort_and_share_the_first_round(way):
    found = runs()
    for (row, column, replicate), run in found.items():
        if row == way:
            other = found["random", column, replicate]
            for mine, theirs in zip(run.stages, other.stages, strict=True):
                assert replace(mine, select=theirs.select) == theirs
                assert mine.select.regions == theirs.select.regions
                assert (mine.select.choose == theirs.select.choose) == (mine is run.stages[0])
            assert stage_name(run, 0, CHECKSUMS) == stage_name(other, 0, CHECKSUMS)
            everything = found["everything", column, replicate]
            assert [one.optim for one in everything.stages] == [one.optim for one in run.stages]


def test_a_round_goes_on_from_the_one_before():
    found = runs()
    first = {key: run for key, run in found.items() if key[2].startswith("fold1")}
    for (row, column, replicate), run in first.items():
        names = [stage_name(run, number, CHECKSUMS) for number in range(len(run.stages))]
        last = found[row, "round5", replicate]
        assert names == [stage_name(last, number, CHECKSUMS) for number in range(len(names))]
        assert len(set(names)) == int(column[-1])


def test_drawn_clusters_are_read_where_they_are_prepared_else_public_sets():
    assert {run.sources for run in runs().values()} == {("synthetic_nuclei",)}
    public = {name: source for name, source in ALL.items() if name != "synthetic_nuclei"}
    assert {run.sources for run in runs(sources=public).values()} == {("monuseg", "consep", "pannuke")}
    assert runs(sources={}) == {}
    few = {name: Available(task=one.task, splits=frozenset(FOLDS[:2]), num_patients=2) for name, one in ALL.items()}
    assert annotation_loop.why_missing("random", "round1", few) == "too few patients for fold3"


def test_a_network_that_knows_other_sets_meets_a_new_one():
    """Of several public sets it learns all but the first, and regions of the first are added; a set alone is cold."""
    public = {name: source for name, source in ALL.items() if name != "synthetic_nuclei"}
    found = runs("real-cpu", public)
    for run in found.values():
        assert [stage.select.sources for stage in run.stages] == [("consep", "pannuke")] + [("monuseg",)] * (
            len(run.stages) - 1
        )
        assert run.score.sources == ("monuseg",)
    first = {stage_name(run, 0, CHECKSUMS) for key, run in found.items() if key[2].startswith("fold2")}
    assert len(first) == 1
    alone = runs("real-cpu", {"monuseg": ALL["monuseg"]})
    assert {run.stages[0].select.regions for (row, *_), run in alone.items() if row != "everything"} == {8}


DIFFICULT = {"seed 0": (0.5, 0.6, 0.7, 0.7, 0.7), "seed 1": (0.4, 0.6, 0.6, 0.6, 0.62)}
RANDOM = {"seed 0": (0.5, 0.5, 0.6, 0.65, 0.7), "seed 1": (0.4, 0.5, 0.55, 0.6, 0.6)}


def record_of(row, column, replicate, score):
    changes = {"column": column, "replicate": replicate, "scores": {"test.nuclei.pq": score}}
    return make_fold_record(row, structures=("nuclei",)).model_copy(update=changes)


def table_of(ways):
    columns = list(annotation_loop.COLUMNS)
    records = [
        record_of(row, column, replicate, score)
        for row, replicates in ways.items()
        for replicate, scores in replicates.items()
        for column, score in zip(columns, scores, strict=False)
    ]
    return lay_out(annotation_loop.SPEC, records)


def test_differences_are_paired_by_replicate():
    table = table_of({"difficult": DIFFICULT, "random": RANDOM})
    differences = by_round(table, "difficult")
    assert list(differences) == ["round2", "round3", "round4", "round5"]
    assert differences["round3"].mean == pytest.approx(0.075)  # (0.1 + 0.05) / 2
    low, high = ttest_rel([0.7, 0.6], [0.6, 0.55]).confidence_interval(0.95)
    assert (differences["round3"].low, differences["round3"].high) == pytest.approx((low, high))
    # Means over rounds 2 to 5: 0.675 and 0.605 against 0.6125 and 0.5625.
    assert all_rounds(table, "difficult").mean == pytest.approx((0.0625 + 0.0425) / 2)
    (listing,) = gain_section(table).listings
    assert [row[0] for row in listing.rows] == ["Round 2", "Round 3", "Round 4", "Round 5"]
    assert listing.rows[1][1:] == ["0.575", f"+0.075 ({low:+.3f} to {high:+.3f})"]


def test_each_way_is_compared_with_chance_where_both_have_finished():
    """The representative ones have one replicate alone, which has no interval."""
    representative = {"seed 0": (0.5, 0.7, 0.7, 0.7, 0.7)}
    section = gain_section(table_of({"representative": representative, "difficult": DIFFICULT, "random": RANDOM}))
    assert len(section.listings[0].heads) == 4
    assert section.listings[0].rows[0][2:] == ["+0.200", "+0.100 (+0.100 to +0.100)"]
    assert "+0.087 PQ over all rounds" in section.paragraphs[0]  # 0.7 - 0.6125
    assert "interval not known, 1 replicates" in section.paragraphs[0]


def test_the_page_says_where_annotation_would_have_stopped():
    """Means of difficult: 0.45, 0.6, 0.65, 0.65, 0.66. After round 5 the mean of the last two gains is 0.005."""
    table = table_of({"difficult": {"seed 0": (0.45, 0.6, 0.65, 0.65, 0.655)}, "random": RANDOM})
    assert "annotation stops after round 5" in say_stop(table, "difficult")  # (0.655 - 0.65) / 2 = 0.0025
    assert "later than these rounds" in say_stop(table, "random")


def test_the_page_shows_curves_over_rounds():
    table = table_of({"difficult": DIFFICULT, "random": RANDOM})
    report = Report(stem="annotation_loop", command="", omissions=[], table=table, read=read_object_panel)
    scores = next(section for section in to_sections(report) if section.name == "scores")
    (picture,) = scores.pictures
    assert "Difficult regions, Rounds, Round 3 0.650" in picture.alt
    assert picture.png.startswith(b"\x89PNG")


def test_an_unfinished_table_has_a_page():
    section = gain_section(table_of({"random": {"seed 0": (0.5, 0.6)}}))
    assert section.paragraphs[0] == "No replicate has finished in two rows."
    assert math.isnan(by_round(table_of({}), "difficult")["round2"].mean)
