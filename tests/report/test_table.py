"""Cells and what is best, on numbers small enough to work out by hand."""

import math

import pytest

from histoseg.errors import DataError
from histoseg.report.cell import Cell, average
from histoseg.report.layout import lay_out, natural
from histoseg.report.table import TableSpec, leaders
from tests.report.records import make_fold_record, make_record
from tests.report.specs import make_folds_spec, make_pairs_spec, make_shots_spec

PLANNED = {
    (row, ""): [f"fold{i + 1} to fold{(i + 2) % 3 + 1}, seed 0" for i in range(3)] for row in ("alone", "together")
}
MAML, TRANSFER = ("glas", "monuseg.maml"), ("glas", "monuseg.transfer")


def three(row, scores, **kwargs):
    return [make_fold_record(row, i, pq=score, **kwargs) for i, score in enumerate(scores)]


def folds(*records, **changes):
    return lay_out(make_folds_spec(**changes), records, PLANNED)


def pairs(*records, **changes):
    return lay_out(make_pairs_spec(**changes), records)


def test_mean_and_spread_over_replicates():
    cell = folds(*three("together", (0.4, 0.5, 0.9))).cells["together", "test.gland.pq"]
    # Mean 1.8 / 3 = 0.6; squares 0.04 + 0.01 + 0.09 = 0.14, / 2 = 0.07, root 0.2646.
    assert cell.values == (0.4, 0.5, 0.9)
    assert cell.mean == pytest.approx(0.6)
    assert cell.sd == pytest.approx(0.26458, abs=1e-5)
    assert cell.is_finished
    assert cell.reason == ""


def test_two_replicates_have_a_spread_and_one_has_none():
    two = pairs(make_record(miou_pooled=0.5), make_record(seed=1, miou_pooled=0.7)).cells[MAML]
    # Squares 0.01 + 0.01 = 0.02, / 1, root 0.1414.
    assert two.sd == pytest.approx(0.141421, abs=1e-6)
    assert pairs(make_record()).cells[MAML].sd is None


def test_an_undefined_score_counts_in_no_mean():
    table = folds(*three("together", (0.4, math.nan, 0.9)))
    cell = table.cells["together", "test.gland.pq"]
    assert cell.values == (0.4, 0.9)
    assert cell.mean == pytest.approx(0.65)
    assert cell.is_finished
    assert math.isnan(table.cells["alone", "test.gland.pq"].mean)


def test_the_ends_of_an_interval_are_averaged():
    records = [
        make_record(seed=seed, interval_low=low, interval_high=high)
        for seed, low, high in ((0, 0.3, 0.8), (1, 0.4, 0.9))
    ]
    assert pairs(*records).cells[MAML].ends == pytest.approx((0.35, 0.85))
    assert all(map(math.isnan, pairs(*records, interval=None).cells[MAML].ends))
    assert all(map(math.isnan, pairs().cells[MAML].ends))


def test_other_scores_are_averaged_too():
    records = [make_record(seed=seed, miou_present=score) for seed, score in ((0, 0.2), (1, 0.3))]
    cell = pairs(*records).cells[MAML]
    assert cell.mean_of("miou_present") == pytest.approx(0.25)
    assert math.isnan(cell.mean_of("no such score"))


def test_a_cell_is_finished_with_its_last_replicate():
    parts = three("together", (0.4, 0.5, 0.9))
    assert not folds().cells["together", "test.gland.pq"].is_finished
    assert not folds(*parts[:2]).cells["together", "test.gland.pq"].is_finished
    assert folds(*parts).cells["together", "test.gland.pq"].is_finished


def test_replicates_are_planned_for_a_row_or_for_a_cell():
    spec, record = make_pairs_spec(), make_record()
    for planned in ({("glas", ""): ["seed 0", "seed 1"]}, {MAML: ["seed 0", "seed 1"]}):
        table = lay_out(spec, [record], planned)
        assert table.cells[MAML].planned == ("seed 0", "seed 1")
        assert not table.cells[MAML].is_finished
    assert table.cells[TRANSFER].planned == ()
    assert lay_out(spec, [record]).cells[MAML].is_finished


def test_a_row_may_have_a_network_for_each_structure():
    glands = three("alone", (0.4, 0.5, 0.6), structures=("gland",))
    lumina = three("alone", (0.1, 0.1, 0.4), structures=("lumen",))
    table = folds(*glands, *lumina)
    assert table.cells["alone", "test.gland.pq"].mean == pytest.approx(0.5)
    assert table.cells["alone", "test.lumen.pq"].mean == pytest.approx(0.2)


def test_the_best_of_a_column_where_rows_are_compared():
    table = folds(*three("alone", (0.4, 0.5, 0.6)), *three("together", (0.5, 0.55, 0.6)))
    assert table.best == {("together", column) for column in ("test.gland.pq", "test.lumen.pq", "external.gland.pq")}


def test_the_best_of_a_group_where_columns_are_compared():
    table = pairs(
        make_record(miou_pooled=0.6126),
        make_record(method="transfer", miou_pooled=0.6124),
        make_record("glas", "all_others", "maml", miou_pooled=0.9),  # It has no counterpart yet.
    )
    assert table.best == {MAML}


def test_equal_means_are_both_best():
    table = pairs(make_record(miou_pooled=0.5), make_record(method="transfer", miou_pooled=0.5))
    assert table.best == {MAML, TRANSFER}


def test_an_unfinished_cell_is_not_compared():
    table = folds(*three("alone", (0.9, 0.9, 0.9))[:2], *three("together", (0.1, 0.1, 0.1)))
    assert table.best == frozenset()
    assert table.means([("alone", "test.gland.pq"), ("together", "test.gland.pq")]) == {
        ("together", "test.gland.pq"): pytest.approx(0.1)
    }


def test_published_means():
    table = pairs()
    assert table.published([MAML, TRANSFER, ("glas", "all_others.maml")]) == {MAML: 0.563, TRANSFER: 0.573}


def test_what_is_compared():
    spec = make_pairs_spec()
    # Nuclei after nuclei cannot be.
    assert spec.comparisons == (
        (("glas", "all_others.maml"), ("glas", "all_others.transfer")),
        (MAML, TRANSFER),
        (("monuseg", "all_others.maml"), ("monuseg", "all_others.transfer")),
    )
    assert make_folds_spec().comparisons[0] == (("alone", "test.gland.pq"), ("together", "test.gland.pq"))
    assert len(make_folds_spec().comparisons) == 4


def test_cells_in_words():
    assert make_pairs_spec().title_of(MAML) == "Glands, Nuclei only, MAML"
    assert make_shots_spec(groups={"": {"shots2": "2"}}).title_of(("frozen", "shots2")) == "Frozen features, 2"
    assert make_pairs_spec().place_of(make_record()) == ("Glands", "Nuclei only, MAML")
    assert make_folds_spec().place_of(make_fold_record()) == ("Together", "gland, lumen")


def test_own_cells_are_those_of_rows_that_are_not_only_quoted():
    table = folds()
    assert table.spec.places == tuple((cell.row, cell.column) for cell in table.own_cells)
    assert {cell.row for cell in table.own_cells} == {"alone", "together"}
    assert len(table.own_cells) == 2 * 4
    assert len(table.cells) == 3 * 4


def test_every_reason_for_a_missing_number():
    gland_only = make_fold_record("alone", structures=("gland",), pq=math.nan, external=False)

    def why_missing(row, column):
        return "no shards with tissue" if column == "test.tissue.map" else ""

    table = lay_out(make_folds_spec(), [gland_only], PLANNED, why_missing)
    reasons = {key: cell.reason for key, cell in table.cells.items()}
    assert reasons["alone", "test.gland.pq"] == "undefined"
    assert reasons["alone", "external.gland.pq"] == "not scored"
    assert reasons["alone", "test.lumen.pq"] == "not finished"
    assert reasons["alone", "test.tissue.map"] == "no shards with tissue"
    assert reasons["quoted", "test.gland.pq"] == reasons["quoted", "test.tissue.map"] == "the paper's number only"
    assert reasons["together", "test.gland.pq"] == "not finished"


def test_records_are_ordered_as_they_are_printed():
    records = [make_fold_record("together", seed=10), make_fold_record("together", seed=2), make_fold_record("alone")]
    assert [(one.row, one.seed) for one in folds(*records).records] == [("alone", 0), ("together", 2), ("together", 10)]
    assert list(folds(*records).cells["together", "test.gland.pq"].records) == [
        "fold1 to fold3, seed 2",
        "fold1 to fold3, seed 10",
    ]
    assert natural("seed 10") > natural("seed 9")


def test_records_that_contradict_each_other_are_refused():
    twin = make_record().model_copy(update={"name": "0123456789abcdef"})
    with pytest.raises(DataError) as refusal:
        pairs(make_record(), twin)
    assert str(refusal.value) == (
        f"records {make_record().name} and 0123456789abcdef are both Glands, Nuclei only, MAML, seed 0; "
        "report one state of data and code at a time"
    )


@pytest.mark.parametrize("record", [make_record("digestpath"), make_record(method="other"), make_record("monuseg")])
def test_a_record_without_a_cell_is_refused(record):
    with pytest.raises(DataError) as refusal:
        pairs(record)
    place = f"row {record.row!r}, column {record.column!r}"
    assert str(refusal.value) == f"record {record.name}: {place} is not in the table 'A made-up table'"


def test_a_mean_of_nothing_is_undefined():
    assert math.isnan(average([]))
    assert average([0.25, 0.75]) == 0.5
    assert leaders({}) == frozenset()


def test_what_a_spec_says_where_it_says_nothing():
    spec = TableSpec(title="T", row_name="R", rows={"r": "Row"}, groups={"": {"c": "Column"}})
    assert (spec.score_title, spec.replicates, spec.paper.citation) == ("score", "seeds", "")
    assert (spec.structure("c"), spec.keeps_model) == ("", False)
    assert Cell(row="r", column="c", score="s").reason == ""


def test_a_column_is_of_a_score_or_of_structures():
    assert make_shots_spec().column_name == "Column"
    assert make_folds_spec().column_name == "Structures"
