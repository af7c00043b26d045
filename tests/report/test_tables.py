import csv
import io
import math

import pytest

from histoseg.errors import DataError
from tests.report.records import make_record
from tests.report.table_of_four import make_spec


def load(*raws):
    from histoseg.report.records import from_json

    return [from_json(raw, raw["cell"]) for raw in raws]


def collect(*raws, missing=None, **changes):
    from histoseg.report.cells import collect_cells

    spec = make_spec(**changes)
    return spec, collect_cells(spec, load(*raws), missing)


def rows_of(markdown):
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in ([c.strip() for c in line.strip("|").split("|")] for line in lines)}


def test_every_kind_of_cell_in_markdown():
    from histoseg.report.records import Address
    from histoseg.report.tables import to_markdown

    table = to_markdown(
        *collect(
            make_record("glas", "monuseg", "maml", miou=0.6126, interval=(0.5, 0.7)),
            make_record("glas", "monuseg", "transfer", miou=0.6124, interval=(0.51, 0.69)),
            make_record("glas", "all_others", "maml", miou=0.3, interval=(math.nan, math.nan)),
            missing={Address("monuseg", "all_others", "maml"): "source not found"},
        )
    )
    rows = rows_of(table)
    assert rows["New task \\ predecessors"] == [
        "All others<br>MAML",
        "All others<br>TransferL",
        "Nuclei only<br>MAML",
        "Nuclei only<br>TransferL",
    ]
    # One method alone is not the better one; a pair is ordered by what is measured, not by what is printed.
    assert rows["**Glands**"] == [
        "0.300",
        "—<br>not finished",
        "**0.613**<br>[0.500, 0.700]<br>paper 0.563",
        "0.612<br>[0.510, 0.690]<br>paper 0.573",
    ]
    assert rows["**Nuclei**"] == ["—<br>source not found", "—<br>not finished", "NA", "NA"]
    assert "Somebody (2022), Table 1. Compare with care." in table
    assert "3 of 6 cells are finished." in table
    # Here MAML leads the only whole pair; in the paper TransferL does, 0.573 to 0.563.
    # The 0.300 that has no counterpart yet is in no mean.
    means = "Mean over these: MAML {}, TransferL {}.".format
    assert f"Here, of 1 pairs the better method is MAML in 1, TransferL in 0. {means(0.6126, 0.6124)}" in table
    whose = "In the paper, of 1 pairs the better method is MAML in 0, TransferL in 1."
    assert f"{whose} {means('0.5630', '0.5730')}" in table
    assert "In 1 of 1 pairs the methods' intervals overlap." in table


def test_mean_and_spread_over_three_seeds():
    from histoseg.report.tables import to_markdown

    scores, lows = (0.4, 0.5, 0.9), (0.3, 0.45, 0.6)
    raws = [
        make_record(seed=seed, miou=score, interval=(low, 0.95))
        for seed, score, low in zip((2, 0, 1), scores, lows, strict=True)
    ]
    table = to_markdown(*collect(*raws))
    # Mean 1.8 / 3 = 0.6; squares 0.04 + 0.01 + 0.09 = 0.14, / 2 = 0.07, root 0.2646; low ends 1.35 / 3 = 0.45.
    assert rows_of(table)["**Glands**"][2] == "0.600 ± 0.265<br>[0.450, 0.950]<br>paper 0.563"


def test_equal_methods_are_both_bold_and_neither_wins():
    from histoseg.report.tables import to_markdown

    table = to_markdown(*collect(make_record(miou=0.5), make_record(method="transfer", miou=0.5)))
    assert all(text.startswith("**0.500**") for text in rows_of(table)["**Glands**"][2:])
    assert "of 1 pairs the better method is MAML in 0, TransferL in 0." in table


def test_a_bar_in_a_title_does_not_break_the_table():
    from histoseg.report.tables import to_markdown

    table = to_markdown(*collect(rows={"glas": "Gl|ands"}))
    assert r"| **Gl\|ands** |" in table


def test_records_that_contradict_each_other_are_refused():
    twin = {**make_record(), "cell": "0123456789abcdef"}
    with pytest.raises(DataError, match="0123456789abcdef are both Glands after Nuclei only, MAML, seed 0"):
        collect(make_record(), twin)
    with pytest.raises(DataError, match="has no place in the table 'A made-up table'"):
        collect(make_record("digestpath", "glas"))


def test_csv_reads_back():
    from histoseg.report.records import Address
    from histoseg.report.tables import to_csv

    raws = [make_record(seed=seed) for seed in (1, 0)]
    raws[1]["scores"]["per_class"] = [0.25, None]
    _, cells = collect(*raws, missing={Address("glas", "monuseg", "transfer"): "source, not found"})
    rows = list(csv.DictReader(io.StringIO(to_csv(cells))))
    assert len(rows) == 2 + 5
    first, second = [row for row in rows if row["status"] == "finished"]
    assert (first["seed"], second["seed"]) == ("0", "1")
    for name in ("miou_pooled", "miou_reference", "miou_present", "majority_miou_pooled"):
        assert float(second[name]) == raws[0]["scores"][name]
    assert [float(second["interval_low"]), float(second["interval_high"])] == raws[0]["scores"]["interval"]
    assert first["iou_per_class"] == "background=0.25;gland="
    assert first["cell"] == raws[1]["cell"]
    assert (first["num_test_images"], first["seconds_refine"], first["paper_miou"]) == ("6", "20.25", "0.563")
    reasons = {(r["new_task"], r["column"], r["method"]): r["status"] for r in rows if r["status"] != "finished"}
    assert reasons["glas", "monuseg", "transfer"] == "source, not found"
    assert reasons["monuseg", "all_others", "maml"] == "not finished"
