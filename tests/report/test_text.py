"""Markdown, sentences and CSV of small tables, in full."""

import csv
import io
import math
from dataclasses import replace

import pytest

from histoseg.report.layout import lay_out
from histoseg.report.sentences import summarise
from histoseg.report.table import NO_PAPER
from histoseg.report.text import format_interval, format_score, grids, to_csv, to_markdown
from tests.report.records import SHOTS_RECORDS, make_fold_record, make_record
from tests.report.specs import make_folds_spec, make_pairs_spec, make_shots_spec
from tests.report.test_table import PLANNED, folds, pairs, three

PAIRS = """\
# A made-up table

| New task | All others<br>MAML | All others<br>TransferL | Nuclei only<br>MAML | Nuclei only<br>TransferL |
| --- | --- | --- | --- | --- |
| **Glands** | 0.300 | —<br>not finished | **0.613**<br>[0.500, 0.700]<br>paper 0.563 \
| 0.612<br>[0.510, 0.690]<br>paper 0.573 |
| **Nuclei** | —<br>source not found | —<br>not finished | NA | NA |

- 3 of 6 cells are finished.
- Here, of 1 pairs the better method is MAML in 1, TransferL in 0. Mean over these: MAML 0.6126, TransferL 0.6124.
- In the paper, of 1 pairs the better method is MAML in 0, TransferL in 1. \
Mean over these: MAML 0.5630, TransferL 0.5730.
- In 1 of 1 pairs the methods' intervals overlap.
- Brackets are the 95 % bootstrap interval over test images.
- Bold is the highest mean of a group of columns in a row.
- “paper” is the number in Writer (2022), Table 1.
- Scores are mIoU over all pixels of all test images (MetaHistoSeg, Eq. 1).
- Compare with care.
"""


def test_pairs_of_methods_in_markdown():
    """One method alone is not the better one; a pair is ordered by what is measured, not by what is printed."""
    records = [
        make_record("glas", "monuseg", "maml", miou_pooled=0.6126, interval_low=0.5, interval_high=0.7),
        make_record("glas", "monuseg", "transfer", miou_pooled=0.6124, interval_low=0.51, interval_high=0.69),
        make_record("glas", "all_others", "maml", miou_pooled=0.3, interval_low=math.nan, interval_high=math.nan),
    ]
    lacking = {("monuseg", "all_others.maml"): "source not found"}
    table = lay_out(make_pairs_spec(), records, None, lambda *key: lacking.get(key, ""))
    assert to_markdown(table) == PAIRS


FOLDS = """\
# A made-up table

## Cross-validation

| Trained as | Gland PQ | Lumen PQ | Tissue mAP |
| --- | --- | --- | --- |
| **Alone** | 0.400 ± 0.000<br>paper 0.622 ± 0.030 | —<br>not finished | —<br>not finished |
| **Quoted-Net (paper only)** | paper 0.647 ± 0.046 | — | — |
| **Together** | 0.450 ± 0.071 (2 of 3)<br>paper 0.677 ± 0.028 | 0.450 ± 0.071 (2 of 3) | —<br>not finished |
| Otsu threshold | 0.100 | 0.100 |  |

## External test set

| Trained as | Gland PQ |
| --- | --- |
| **Alone** | 0.400 ± 0.000 |
| **Quoted-Net (paper only)** | — |
| **Together** | 0.450 ± 0.071 (2 of 3) |
| Otsu threshold | 0.100 |

- 2 of 8 cells are finished, 3 more in part.
- In the paper, of 1 columns the highest mean is that of Together in 1 (ties count for each).
- 2 of 2 PQ are above that of Otsu's threshold.
- ± is the sample standard deviation over divisions of the folds and seeds.
- Bold is the highest mean of our finished rows in a column.
- “paper” is mean ± standard deviation in Writer (2023), Table 3.
- A note <to> be read.
"""


def test_ways_to_train_in_markdown():
    """Mean of 0.4 and 0.5 is 0.45; squares 2 * 0.0025 = 0.005, / 1, root 0.0707. One finished row is not the best."""
    table = folds(
        *three("alone", (0.4, 0.4, 0.4), structures=("gland",)),
        *three("together", (0.4, 0.5, 0.9))[:2],
    )
    assert to_markdown(table) == FOLDS


SHOTS = """\
# Accuracy over numbers of images

## Test images

| Features | 10 | 2 |
| --- | --- | --- |
| **From scratch** | 0.800 ± 0.141 | 0.500 |
| **Frozen features** | **0.900** | **0.700** |

- 4 of 4 cells are finished.
- ± is the sample standard deviation over seeds.
- Bold is the highest mean of our finished rows in a column.
"""


def test_a_third_kind_of_experiment_in_markdown():
    """Mean of 0.7 and 0.9 is 0.8; squares 2 * 0.01 = 0.02, / 1, root 0.1414."""
    assert to_markdown(lay_out(make_shots_spec(), SHOTS_RECORDS)) == SHOTS


def test_a_bar_in_a_title_does_not_break_the_table():
    assert "\n| **Gl\\|ands** |" in to_markdown(pairs(rows={"glas": "Gl|ands"}))


def test_a_single_group_needs_no_heading():
    spec = make_shots_spec(groups={"": {"shots2": "2"}})
    assert to_markdown(lay_out(spec, [])).splitlines()[1:3] == ["", "| Features | 2 |"]


def test_all_is_said_of_finished_rows():
    lines = summarise(folds(*three("alone", (0.4, 0.5, 0.6)), *three("together", (0.5, 0.55, 0.6))))
    assert lines == [
        "6 of 8 cells are finished.",
        "Here, of 3 columns the highest mean is that of Together in 3 (ties count for each).",
        "In the paper, of 1 columns the highest mean is that of Together in 1 (ties count for each).",
        "In 1 of 1 columns the row that leads in the paper leads here too.",
        # 0.55 - 0.5 = 0.05 is less than the standard deviation of the second row, 0.1.
        "In 0 of 3 columns the leader is ahead of the next row by more than the larger of their standard deviations.",
        "6 of 6 PQ are above that of Otsu's threshold.",
    ]


def test_a_lead_larger_than_the_spread_and_another_leader_than_in_the_paper():
    lines = summarise(folds(*three("alone", (0.7, 0.8, 0.9)), *three("together", (0.05, 0.05, 0.05), otsu=0.05)))
    assert "Here, of 3 columns the highest mean is that of Alone in 3 (ties count for each)." in lines
    assert "In 0 of 1 columns the row that leads in the paper leads here too." in lines
    # 0.8 - 0.05 = 0.75 is more than 0.1, the standard deviation of the first row.
    assert any(line.startswith("In 3 of 3 columns the leader is ahead") for line in lines)
    # All networks of a division are scored on the same images, so the later record's Otsu counts: 0.05 is not above.
    assert "3 of 6 PQ are above that of Otsu's threshold." in lines


def test_a_lead_of_exactly_the_spread_is_not_larger():
    # 0.75 - 0.5 = 0.25 is the standard deviation of the second row.
    lines = summarise(folds(*three("alone", (0.25, 0.5, 0.75)), *three("together", (0.75, 0.75, 0.75))))
    assert any(line.startswith("In 0 of 3 columns the leader is ahead") for line in lines)


def test_equal_rows_lead_together_and_the_third_row_is_no_rival():
    # Without the paper, Quoted-Net is a row of ours; the leaders are equal, so neither is ahead of the other.
    rows = {"alone": (0.4, 0.5, 0.6), "quoted": (0.1, 0.1, 0.1), "together": (0.4, 0.5, 0.6)}
    records = [record for row, scores in rows.items() for record in three(row, scores)]
    lines = summarise(lay_out(make_folds_spec(paper=NO_PAPER), records))
    assert lines[1:3] == [
        "Here, of 3 columns the highest mean is that of Alone in 3, Together in 3 (ties count for each).",
        "In 0 of 3 columns the leader is ahead of the next row by more than the larger of their standard deviations.",
    ]


def test_equal_methods_win_nothing_and_intervals_apart_do_not_overlap():
    lines = summarise(
        pairs(
            make_record(miou_pooled=0.5, interval_low=0.4, interval_high=0.45),
            make_record(method="transfer", miou_pooled=0.5, interval_low=0.5, interval_high=0.6),
            make_record("glas", "all_others", "maml", miou_pooled=0.2, interval_low=0.1, interval_high=0.3),
            make_record("glas", "all_others", "transfer", miou_pooled=0.4, interval_low=0.3, interval_high=0.5),
        )
    )
    # Means (0.5 + 0.2) / 2 and (0.5 + 0.4) / 2; intervals that touch at 0.3 overlap.
    assert lines[1] == (
        "Here, of 2 pairs the better method is MAML in 0, TransferL in 1. "
        "Mean over these: MAML 0.3500, TransferL 0.4500."
    )
    assert lines[3] == "In 1 of 2 pairs the methods' intervals overlap."


def test_rows_that_share_their_trainings_are_named():
    first, second = make_fold_record("alone"), make_fold_record("together")
    said = "Alone and Together come from the same trainings: at this scale they do not differ."
    assert summarise(folds(first, second.model_copy(update={"stages": first.stages})))[-1] == said
    assert said not in summarise(folds(first, second))


def test_nothing_is_explained_that_is_not_there():
    spec = make_folds_spec(rows={"together": "Together"}, paper=NO_PAPER, notes=())
    assert to_markdown(lay_out(spec, [make_fold_record()])).splitlines()[-2:] == [
        "- 3 of 4 cells are finished.",
        "- 3 of 3 PQ are above that of Otsu's threshold.",
    ]


def test_otsu_counts_each_division_once():
    # Fold 3 is scored by two rows and two seeds: (0.1 + 0.4) / 2 = 0.25.
    records = [
        make_fold_record("alone", otsu=0.1),
        make_fold_record(otsu=0.1),
        make_fold_record(otsu=0.1, seed=1),
        make_fold_record("alone", 1, otsu=0.4),
    ]
    table = lay_out(make_folds_spec(), records)
    assert "| Otsu threshold | 0.250 | 0.250 |  |" in to_markdown(table)


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_of_pairs_reads_back():
    first, second = (make_record(seed=seed) for seed in (1, 0))
    first = first.model_copy(update={"per_class": {"iou": {"background": 0.25, "gland": math.nan}}})
    lacking = {("glas", "monuseg.transfer"): "source, not found"}
    table = lay_out(make_pairs_spec(), [first, second], None, lambda *key: lacking.get(key, ""))
    rows = read(to_csv(table))
    assert len(rows) == 2 + 5
    done = [row for row in rows if row["status"] == "finished"]
    assert [row["replicate"] for row in done] == ["seed 0", "seed 1"]
    assert [row["name"] for row in done] == [second.name, first.name]
    scores = {name: float(done[1][name]) for name in first.scores if name != "miou_pooled"}
    assert scores == {name: value for name, value in first.scores.items() if name != "miou_pooled"}
    assert float(done[1]["value"]) == first.scores["miou_pooled"]
    expected = {
        "row": "glas",
        "column": "monuseg.maml",
        "score": "miou_pooled",
        "seed": "1",
        "paper_mean": "0.563",
        "paper_sd": "",
        "iou_per_class": "background=0.25;gland=",
        "num_images": "6",
        "num_pixels": str(first.sizes["pixels"]),
        "best_step_pretrain": "2950",
        "best_step_refine": "7",
        "seconds_pretrain": "61.5",
        "seconds_refine": "20.25",
        "seconds_evaluate": "4.0",
        "sources": "monuseg;glas",
        "stages": ";".join(stage.stage for stage in first.stages),
        "experiment": "table1",
        "scale": "laptop",
        "device": "cpu",
        "world_size": "1",
        "gpu_seconds": "0.0",
        "attempt": "0",
        "git_commit": first.git_commit,
        "finished_at": "2026-03-01T12:00:00Z",
    }
    assert {name: done[1][name] for name in expected} == expected
    reasons = {(row["row"], row["column"]): row["status"] for row in rows if row["status"] != "finished"}
    assert reasons["glas", "monuseg.transfer"] == "source, not found"
    assert reasons["monuseg", "all_others.maml"] == "not finished"
    assert {row["value"] for row in rows if row["status"] != "finished"} == {""}


def test_csv_of_folds_reads_back():
    records = three("together", (0.4, math.nan, 0.9), structures=("gland", "tissue"))[:2]
    rows = read(to_csv(lay_out(make_folds_spec(), records, PLANNED)))
    own = [row for row in rows if (row["row"], row["column"]) == ("together", "test.gland.pq")]
    assert [row["replicate"] for row in own] == PLANNED["together", ""]
    assert [row["status"] for row in own] == ["finished", "finished", "not finished"]
    assert [row["value"] for row in own] == ["0.4", "", ""]
    assert [row["num_images"] for row in own] == ["4", "4", ""]
    assert (own[0]["num_objects"], own[0]["ap_per_class"]) == ("40", "")
    assert (own[0]["paper_mean"], own[0]["paper_sd"]) == ("0.677", "0.028")
    assert "test.gland.dice" not in rows[0]  # Another score has lines of its own, or is not in the table.
    tissue = next(row for row in rows if (row["row"], row["column"]) == ("together", "test.tissue.map"))
    assert (tissue["num_images"], tissue["num_objects"]) == ("30", "")
    assert tissue["ap_per_class"] == "background=0.25;stroma=0.75;adipose="
    # Three cells of the row "together" with three divisions each, and one line for each of the other nine.
    assert len(rows) == 3 * 3 + 9
    assert list(rows[0])[:8] == ["row", "column", "score", "replicate", "status", "value", "paper_mean", "paper_sd"]


def test_csv_of_nothing_has_a_line_for_each_cell():
    rows = read(to_csv(lay_out(make_shots_spec(), [])))
    assert rows[0] == {
        "row": "scratch",
        "column": "shots10",
        "score": "accuracy",
        "replicate": "",
        "status": "not finished",
        "value": "",
        "paper_mean": "",
        "paper_sd": "",
    }
    assert len(rows) == 4


def test_csv_has_replicates_in_natural_order_and_plain_line_ends():
    text = to_csv(lay_out(make_pairs_spec(), [make_record(seed=seed) for seed in (10, 9)]))
    assert "\r" not in text
    assert [row["replicate"] for row in read(text) if row["replicate"]] == ["seed 9", "seed 10"]


def test_csv_has_of_a_score_only_what_belongs_to_it():
    (record,) = three("together", (0.4,), structures=("gland", "tissue"))
    rows = read(to_csv(lay_out(make_folds_spec(), [record], PLANNED)))
    assert {name for name in rows[0] if "XX" in name or name in ("num_", "_per_class")} == set()
    own = next(row for row in rows if (row["row"], row["column"], row["value"]) == ("together", "test.gland.pq", "0.4"))
    assert sorted(name for name in own if name.startswith("num_")) == ["num_images", "num_objects"]
    assert sorted(name for name in own if name.endswith("_per_class")) == ["ap_per_class"]


def test_a_cell_without_result_shows_the_papers_number_and_its_reason():
    (table,) = grids(lay_out(make_pairs_spec(), [make_record()]))
    (glands, _) = table.rows
    missing, done = glands.cells[3], glands.cells[2]
    assert (missing.reason, missing.below, missing.has_result) == ("not finished", ("paper 0.573",), False)
    assert done.has_result


@pytest.mark.parametrize(("number", "text"), [(0.0005, "0.001"), (0.12345, "0.123"), (math.nan, "—")])
def test_numbers_have_three_digits(number, text):
    assert format_score(number) == text


def test_an_interval_needs_both_ends():
    assert format_interval((0.25, 0.75)) == "[0.250, 0.750]"
    assert format_interval((math.nan, 0.75)) == format_interval((0.25, math.nan)) == ""


def test_baselines_are_printed_only_where_rows_are_compared():
    table = folds(*three("together", (0.4, 0.5, 0.9)))
    assert "Otsu threshold" in to_markdown(table)
    assert "Otsu threshold" not in to_markdown(replace(table, spec=replace(table.spec, baseline=None)))
    assert "majority" not in to_markdown(pairs(make_record()))
