"""Which predecessor helps: the runs that are asked for, what is made of their records, and what is suggested."""

import csv
import io
import math
from collections import Counter
from dataclasses import replace

import pytest

from histoseg.errors import ConfigError
from histoseg.experiments import affinity, table1
from histoseg.experiments._affinity_advice import suggest, suggestions
from histoseg.experiments._affinity_evidence import Track, evidence_of, ranking, tracks
from histoseg.experiments._affinity_table import heat_maps
from histoseg.experiments._available import assumed
from histoseg.experiments._grid import LeaveOneTaskOut, members, subsets
from histoseg.experiments._metahistoseg_table import leave_one_out_table
from histoseg.report.curves import loss_plots
from histoseg.report.layout import lay_out
from histoseg.report.text import to_csv
from histoseg.runs import catalog
from histoseg.runs.names import from_json, run_name, stage_name, to_json
from histoseg.scoring.affinity import Affinity
from tests.report.records import make_record

TASKS = {name: catalog.load("histoseg.sources", name).TASK for name in (*table1.SOURCES, "synthetic")}
ALL = {name: assumed(task) for name, task in TASKS.items()}
CHECKSUMS = {name: name for name in TASKS}
NAN = float("nan")


def runs(scale="laptop", seeds=1, sources=ALL):
    found = affinity.runs(scale, seeds, sources)
    return [run for run in found if run.column], [run for run in found if not run.column]


def test_subsets_are_all_sets_up_to_a_size():
    assert subsets(("a", "b", "c"), 2) == ("a", "b", "c", "a+b", "a+c", "b+c")
    assert subsets(("a", "b", "c"), 3)[-1] == "a+b+c"
    assert (members("a+b"), members("none"), members("all_others")) == (("a", "b"), (), ())


@pytest.mark.parametrize("scale", affinity.SCALES)
def test_every_task_has_every_set_of_the_others_and_none(scale):
    """Of three others there are seven sets; of four tasks fourteen sets lack some task."""
    refined, measured = runs(scale)
    assert Counter(run.row for run in refined) == dict.fromkeys(affinity.SOURCES, 8)
    assert Counter(run.row for run in measured) == dict.fromkeys(affinity.SOURCES, 7)
    everything = [*refined, *measured]
    assert len({run_name(run, CHECKSUMS) for run in everything}) == 60
    assert len({stage_name(run, 0, CHECKSUMS) for run in everything}) == 14 + 4
    assert all(from_json(to_json(run)) == run for run in everything)
    assert {(run.row, run.column) for run in refined} == set(affinity.SPEC.places)


def test_what_is_measured_ends_where_the_new_task_begins():
    refined, measured = runs()
    by_place = {(run.row, run.column): run for run in refined}
    for run in measured:
        foretold = by_place[run.row, run.part]
        assert run.stages == foretold.stages[:1]
        assert run.stages[0].select.sources == members(run.part.partition(".")[0])
        assert (run.score.sources, run.score.splits) == ((run.row,), ("train",))
        assert isinstance(run.evaluator, Affinity)


def test_pretrainings_of_table_1_are_shared():
    def pretrained(found):
        return {stage_name(run, 0, CHECKSUMS) for run in found if len(run.stages) > 1 and run.column}

    shared = pretrained(affinity.runs("laptop", 1, ALL)) & pretrained(table1.runs("laptop", 1, ALL))
    assert len(shared) == 4  # Single predecessors; MAML and the column with Gleason2019 are Table 1's own.


def test_a_new_task_may_be_any_source():
    found = affinity.measuring("laptop", 2, "synthetic", ALL)
    assert len(found) == 2 * 14
    assert {run.row for run in found} == {"synthetic"}
    prepared = {name: ALL[name] for name in ("synthetic", "glas", "monuseg")}
    assert {run.part for run in affinity.measuring("laptop", 1, "synthetic", prepared)} == {
        "glas.transfer", "monuseg.transfer", "monuseg+glas.transfer",
    }  # fmt: skip


def test_an_experiment_without_measures_says_so():
    grid = LeaveOneTaskOut(
        experiment="table1", sources=("glas",), new_tasks=("glas",), columns=("none",), scales=table1.SCALES
    )
    with pytest.raises(ConfigError, match="table1 at laptop measures nothing"):
        grid.measuring("laptop", 1, "synthetic", ALL)


def test_a_set_with_a_source_that_is_not_prepared_is_missing_and_none_is_not():
    sources = {name: ALL[name] for name in ("glas", "monuseg")}
    assert affinity.why_missing("glas", "monuseg+digestpath.transfer", sources) == "no shards of digestpath"
    assert affinity.why_missing("glas", "none.transfer", sources) == ""


# Two tasks, three predecessors each; what each gains over none, and three measures of it.
GAINS = {
    ("glas", "monuseg"): 0.1, ("glas", "digestpath"): 0.3, ("glas", "monuseg+digestpath"): 0.2,
    ("monuseg", "glas"): -0.1, ("monuseg", "digestpath"): 0.0, ("monuseg", "glas+digestpath"): 0.1,
}  # fmt: skip
# Orders of the gains: 1 3 2 and 1 2 3. Alignment has 1 3 2 and 2 1 3, so correlations of 1 and of 1 - 6 · 2 / 24 = 0.5.
ALIGNMENT = dict(zip(GAINS, (0.2, 0.9, 0.4, 0.0, -0.5, 0.5), strict=True))
# Distance falls: nearest first it has 3 1 2 and 3 2 1, against the gains 1 - 6 (4 + 4) / 24 = -1, and -1.
DISTANCE = dict(zip(GAINS, (1.0, 3.0, 2.0, 1.0, 2.0, 3.0), strict=True))


def scored(row, before, miou, seed=0):
    return make_record(row, before, "transfer", seed=seed, miou_pooled=miou)


def measured(row, before, seed=0, **measures):
    record = make_record(row, before, "transfer", seed=seed)
    update = {"column": "", "scores": {}, "measures": measures, "run": {"part": f"{before}.transfer"}}
    return record.model_copy(update={**update, "name": f"measures of {row} {before}", "stages": record.stages[:1]})


def table_of(records):
    titles = {"glas": "Glands", "monuseg": "Nuclei"}
    sets = dict.fromkeys(["none", *(before for _, before in GAINS)])
    spec = leave_one_out_table("T", titles, {name: name.upper() for name in sets}, {"transfer": "TransferL"})
    return lay_out(replace(spec, sections=()), records)


@pytest.fixture
def table():
    none = [scored(row, "none", 0.5) for row in ("glas", "monuseg")]
    gained = [scored(*key, 0.5 + gain) for key, gain in GAINS.items()]
    near = [
        measured(*key, gradient_alignment=ALIGNMENT[key], feature_distance=DISTANCE[key], logme=NAN) for key in GAINS
    ]
    return table_of([*none, *gained, *near])


def test_gains_and_measures_are_those_of_the_records(table):
    evidence = evidence_of(table)
    assert evidence.gains == pytest.approx(GAINS)
    assert evidence.measures == {"gradient_alignment": ALIGNMENT, "feature_distance": DISTANCE, "logme": {}}


def test_gains_are_between_runs_of_one_seed():
    """Seed 1 has nothing to be compared with; of seeds 0 and 2 the mean of 0.1 and 0.3."""
    pairs = [scored("glas", "none", 0.5), scored("glas", "none", 0.4, seed=2)]
    records = [*pairs, *(scored("glas", "monuseg", miou, seed) for seed, miou in enumerate((0.6, 0.9, 0.7)))]
    assert evidence_of(table_of(records)).gains == pytest.approx({("glas", "monuseg"): 0.2})


def test_records_of_measures_stand_in_no_cell_and_repeat_no_curve(table):
    assert len(table.measured) == 6
    assert len(table.records) == 8
    assert not any(record.measures for cell in table.cells.values() for record in cell.records.values())
    plots = loss_plots(table)
    assert sum(len(lines) for lines in plots.values()) == len({r.stages[0].stage for r in table.records})


def test_the_csv_has_a_line_for_each_measure(table):
    rows = [row for row in csv.DictReader(io.StringIO(to_csv(table))) if row["score"] != "miou_pooled"]
    assert len(rows) == 3 * 6
    first = rows[0]
    assert (first["row"], first["column"], first["score"]) == ("glas", "digestpath.transfer", "gradient_alignment")
    assert (float(first["value"]), first["status"], rows[2]["value"]) == (0.9, "finished", "")


def test_measures_are_ranked_by_their_mean_correlation_with_the_gain(table):
    first, second = tracks(evidence_of(table), resamples=50)
    assert (first.measure, first.correlation) == ("gradient_alignment", pytest.approx(0.75))
    assert (second.measure, second.correlation) == ("feature_distance", pytest.approx(-1))
    assert first.low <= 0.75 <= first.high
    assert (first.num_tasks, first.num_cells) == (2, 6)
    # By alignment DigestPath is chosen for glands (the best, 0.3) and both for nuclei (the best, 0.1).
    assert (first.chosen, first.best, first.typical) == pytest.approx((0.2, 0.2, 0.1))
    # The nearest features are those of nuclei for glands (0.1), and those of glands for nuclei (-0.1).
    assert second.chosen == pytest.approx(0)


def test_rankings_put_the_most_promising_first():
    assert ranking("gradient_alignment", ALIGNMENT, "glas") == ["digestpath", "monuseg+digestpath", "monuseg"]
    assert ranking("feature_distance", DISTANCE, "glas") == ["monuseg", "monuseg+digestpath", "digestpath"]


def test_blind_suggestions_do_not_see_the_task_itself(table):
    """On nuclei alone alignment agrees best, so it chooses for glands, and the other way round; both find the best."""
    section = suggestions(table)
    assert section.listings[0].rows == [
        ("Glands", "Gradient alignment", "DIGESTPATH", "+0.300", "DIGESTPATH", "+0.300"),
        ("Nuclei", "Gradient alignment", "GLAS+DIGESTPATH", "+0.100", "GLAS+DIGESTPATH", "+0.100"),
    ]
    assert "0.000 mIoU below the best" in section.paragraphs[0]


def test_sections_of_nothing_are_empty():
    nothing = table_of([scored("glas", "none", 0.5)])
    assert heat_maps(nothing).is_empty
    assert suggestions(nothing).is_empty


def track(**changes):
    fields = {"measure": "logme", "correlation": 0.5, "low": 0.1, "high": 0.8, "num_tasks": 4, "num_cells": 28}
    return Track(**({**fields, "chosen": 0.02, "best": 0.05, "typical": 0.01} | changes))


def test_a_suggestion_says_which_by_what_and_how_sure():
    measures = {
        "logme": {("mine", "a"): -0.4, ("mine", "b"): -0.1},
        "feature_distance": {("mine", "a"): 0.3, ("mine", "b"): 0.6},
    }
    titles = {"a": "Glands", "b": "Nuclei"}
    lines = suggest("mine", measures, [track()], titles)
    assert lines[0] == "LogME suggests Nuclei; next Glands."
    assert "0.50 [0.10, 0.80]" in lines[1]
    assert "4 tasks" in lines[1]
    assert lines[2:] == ["Feature distance would choose Glands."]
    unsure = suggest("mine", measures, [track(low=-0.2)], titles)
    assert "no better than chance" in unsure[2]
    unknown = suggest("mine", measures, [], titles)
    assert unknown[0].startswith("No gain is known")
    assert unknown[1:] == ["LogME would choose Nuclei.", "Feature distance would choose Glands."]


def test_undefined_intervals_are_no_evidence():
    lines = suggest("mine", {"logme": {("mine", "a"): 0.1}}, [track(low=math.nan, high=math.nan)], {"a": "A"})
    assert "no better than chance" in lines[2]
