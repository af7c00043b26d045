import csv
import io

import pytest

from histoseg.errors import DataError
from tests.report.fold_records import load_folds, make_fold_record, make_fold_spec
from tests.report.test_tables import rows_of

PLAN = [(("fold1",), "fold3", 0), (("fold2",), "fold1", 0), (("fold3",), "fold2", 0)]


def collect(*raws, missing=None, **changes):
    from histoseg.report.fold_records import Division
    from histoseg.report.fold_table import collect_numbers

    planned = {row: [Division(*division) for division in PLAN] for row in ("alone", "together")}
    return collect_numbers(make_fold_spec(**changes), load_folds(*raws), planned, missing)


def three(row, scores, **kwargs):
    return [make_fold_record(row, i, pq=score, **kwargs) for i, score in enumerate(scores)]


def number(table, row, column="test.gland.pq"):
    return table.numbers[row, column]


def test_mean_and_spread_over_divisions():
    table = collect(*three("together", (0.4, 0.5, 0.9)))
    # Mean 1.8 / 3 = 0.6; squares 0.04 + 0.01 + 0.09 = 0.14, / 2 = 0.07, root 0.2646.
    assert number(table, "together").mean == pytest.approx(0.6)
    assert number(table, "together").sd == pytest.approx(0.26458, abs=1e-5)
    assert number(table, "together").is_finished
    assert number(table, "together").reason == ""


def test_a_row_of_one_network_for_each_structure():
    glands = three("alone", (0.4, 0.5, 0.6), structures=("gland",))
    lumina = three("alone", (0.1, 0.1, 0.4), structures=("lumen",))
    table = collect(*glands, *lumina)
    assert number(table, "alone").mean == pytest.approx(0.5)
    assert number(table, "alone", "test.lumen.pq").mean == pytest.approx(0.2)


def test_every_reason_for_a_missing_number():
    from histoseg.report.fold_spec import Place

    lacking = {Place(row, "test.tissue.map"): "no shards with tissue" for row in ("alone", "together")}
    record = make_fold_record("alone", structures=("gland",), pq=None)
    del record["scores"]["external"]
    table = collect(record, missing=lacking)
    assert number(table, "alone").reason == "undefined"
    assert number(table, "alone", "external.gland.pq").reason == "not scored"
    assert number(table, "alone", "test.lumen.pq").reason == "not finished"
    assert number(table, "alone", "test.tissue.map").reason == "no shards with tissue"
    assert number(table, "quoted").reason == "the paper's number only"
    assert number(table, "together").reason == "not finished"


def test_otsu_counts_each_fold_once():
    # Fold 3 is scored by two rows: (0.1 + 0.4) / 2 = 0.25, not (0.1 + 0.1 + 0.4) / 3.
    raws = [make_fold_record("alone", otsu=0.1), make_fold_record(otsu=0.1), make_fold_record("alone", 1, otsu=0.4)]
    otsu = collect(*raws).otsu
    assert otsu["test.gland.pq"] == pytest.approx(0.25)
    assert "test.tissue.map" not in otsu


def test_markdown_has_a_table_for_each_block():
    from histoseg.report.fold_text import to_markdown

    table = collect(
        *three("alone", (0.4, 0.4, 0.4), structures=("gland",)),
        *three("together", (0.4, 0.5, 0.9))[:2],
    )
    before, after = to_markdown(table).split("## External test set")
    rows = rows_of(before)
    assert rows[""] == ["Gland PQ", "Lumen PQ", "Tissue mAP"]
    # One finished row alone is not the best one.
    assert rows["**Alone**"] == ["0.400 ± 0.000<br>paper 0.622 ± 0.030", "—<br>not finished", "—<br>not finished"]
    assert rows["**Quoted-Net (paper only)**"] == ["paper 0.647 ± 0.046", "—", "—"]
    # Mean 0.45; squares 2 * 0.0025 = 0.005, / 1, root 0.0707.
    assert rows["**Together**"][0] == "0.450 ± 0.071 (2 of 3)<br>paper 0.677 ± 0.028"
    assert rows["Otsu threshold"] == ["0.100", "0.100", ""]
    assert rows_of(after)["**Alone**"] == ["0.400 ± 0.000"]
    assert "- 2 of 8 numbers are finished, 3 more in part." in after
    assert "“paper” is mean ± standard deviation in Somebody (2023), Table 3." in after
    assert "- A note <to> be read." in after


def test_the_best_finished_row_is_bold_and_leads():
    from histoseg.report.fold_table import summarise
    from histoseg.report.fold_text import to_markdown

    table = collect(*three("alone", (0.4, 0.5, 0.6)), *three("together", (0.5, 0.55, 0.6)))
    assert table.best_rows("test.gland.pq") == {"together"}
    assert rows_of(to_markdown(table))["**Together**"][0].startswith("**0.550** ± 0.050")
    lines = summarise(table)
    assert "Here, of 3 columns the highest mean is that of Together in 3 (ties count for each)." in lines
    assert "In the paper, of 1 columns the highest mean is that of Together in 1 (ties count for each)." in lines
    assert "In 1 of 1 columns the row that leads in the paper leads here too." in lines
    # 0.55 - 0.5 = 0.05 is less than the standard deviation of the second, 0.1.
    assert any(line.startswith("In 0 of 3 columns the leader is ahead") for line in lines)
    assert "6 of 6 PQ are above that of Otsu's threshold." in lines


def test_rows_that_share_their_trainings_are_told():
    from histoseg.report.fold_table import summarise

    first, second = make_fold_record("alone"), make_fold_record("together")
    table = collect(first, {**second, "pretraining": first["pretraining"]})
    assert table.twins == (("alone", "together"),)
    assert any(line.startswith("Alone and Together come from the same trainings") for line in summarise(table))
    assert collect(first, second).twins == ()


def test_records_that_contradict_each_other_are_refused():
    twin = {**make_fold_record(), "cell": "0123456789abcdef"}
    with pytest.raises(
        DataError, match=r"0123456789abcdef are both Together, Gland PQ \(cross-validation\), trained on"
    ):
        collect(make_fold_record(), twin)
    with pytest.raises(DataError, match="nobody is no row of the table 'A made-up table'"):
        collect(make_fold_record("nobody"))


def test_csv_reads_back():
    from histoseg.report.fold_spec import Place
    from histoseg.report.fold_text import to_csv

    raws = three("together", (0.4, 0.5, 0.9))[:2]
    table = collect(*raws, missing={Place("alone", "test.gland.pq"): "no shards, none"})
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    own = [row for row in rows if (row["row"], row["split"], row["structure"]) == ("together", "test", "gland")]
    assert [(row["train"], row["test"], row["seed"]) for row in own] == [(t[0], f, str(s)) for t, f, s in PLAN]
    assert [row["status"] for row in own] == ["finished", "finished", "not finished"]
    assert [row["value"] for row in own] == ["0.4", "0.5", ""]
    assert (own[0]["cell"], own[0]["num_images"]) == (raws[0]["cell"], "4")
    assert (own[0]["paper_mean"], own[0]["paper_sd"]) == ("0.677", "0.028")
    (lacking,) = [row for row in rows if (row["row"], row["split"], row["structure"]) == ("alone", "test", "gland")]
    assert lacking["status"] == "no shards, none"
    # Three numbers of the row "together" with three divisions each, and one line for each of the other nine.
    assert len(rows) == 3 * 3 + 9
