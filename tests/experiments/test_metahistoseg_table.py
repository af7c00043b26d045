"""What only tables of MetaHistoSeg's protocol say, beside what all tables have."""

import math

import pytest

from histoseg.experiments._metahistoseg_table import (
    leave_one_out_table,
    majority,
    overlapping_intervals,
    paired_wins,
    three_averages,
)
from histoseg.report.layout import lay_out
from tests.report.records import make_record
from tests.report.specs import make_pairs_spec

PREDECESSORS = {"all_others": "All others", "monuseg": "Nuclei only"}


def spec_of(methods, new_tasks=("glas", "monuseg"), predecessors=PREDECESSORS):
    titles = {"glas": "Glands", "monuseg": "Nuclei"}
    return leave_one_out_table("A table", {name: titles[name] for name in new_tasks}, predecessors, methods)


def test_columns_are_predecessors_by_methods_and_no_task_precedes_itself():
    spec = spec_of({"maml": "MAML", "transfer": "TransferL"})
    assert spec.groups == {
        "All others": {"all_others.maml": "MAML", "all_others.transfer": "TransferL"},
        "Nuclei only": {"monuseg.maml": "MAML", "monuseg.transfer": "TransferL"},
    }
    assert spec.not_applicable == {("monuseg", "monuseg.maml"), ("monuseg", "monuseg.transfer")}
    assert (spec.row_name, spec.compared, spec.score, spec.score_title) == (
        "New task", "columns", "miou_pooled", "mIoU",
    )  # fmt: skip
    assert spec.class_scores == {"iou": "IoU"}


def test_the_majority_is_the_mean_of_finished_cells():
    table = lay_out(
        make_pairs_spec(),
        [
            make_record(majority_miou_pooled=0.2),
            make_record(seed=1, majority_miou_pooled=0.4),
            make_record(method="transfer", majority_miou_pooled=0.5),
        ],
    )
    # Means of the cells: (0.2 + 0.4) / 2 and 0.5; their mean
    assert majority(table.cells.values()) == pytest.approx(0.4)
    assert math.isnan(majority([cell for cell in table.cells.values() if not cell.records]))


def test_one_method_has_no_pairs():
    table = lay_out(spec_of({"maml": "MAML"}), [make_record(), make_record("glas", "all_others")])
    assert paired_wins(table) == []
    assert overlapping_intervals(table) == []


def test_a_table_of_one_cell_each_has_one_pair():
    spec = spec_of({"maml": "MAML", "transfer": "TransferL"}, ["glas"], {"all_others": "All others"})
    interval = {"interval_low": 0.4, "interval_high": 0.6}
    table = lay_out(
        spec,
        [
            make_record("glas", "all_others", "maml", miou_pooled=0.5, **interval),
            make_record("glas", "all_others", "transfer", miou_pooled=0.55, **interval),
        ],
    )
    assert paired_wins(table) == [
        "Here, of 1 pairs the better method is MAML in 0, TransferL in 1. "
        "Mean over these: MAML 0.5000, TransferL 0.5500."
    ]
    assert overlapping_intervals(table) == ["In 1 of 1 pairs the methods' intervals overlap."]


def test_three_averages_of_every_finished_cell():
    scores = {"miou_pooled": 0.5, "miou_reference": 0.4, "miou_present": 0.45, "majority_miou_pooled": 0.25}
    section = three_averages(lay_out(make_pairs_spec(), [make_record(**scores), make_record(seed=1, **scores)]))
    assert (section.name, section.heading) == ("averages", "Three ways to average")
    (listing,) = section.listings
    assert listing.caption == "The same predictions, averaged in three ways"
    columns = [
        ("New task", "head", "Glands"),
        ("Predecessors", "text", "Nuclei only"),
        ("Method", "text", "MAML"),
        ("Pooled", "number", "0.500"),
        ("Reference", "number", "0.400"),
        ("Present", "number", "0.450"),
        ("Majority", "number", "0.250"),
        ("Paper", "number", "0.563"),
        ("Replicates", "text", "seed 0, seed 1"),
    ]
    assert list(zip(listing.heads, listing.kinds, listing.rows[0], strict=True)) == columns
    assert len(listing.rows) == 1
    assert section.bullets == [
        "Pooled: IoU of each class over the pixels of all test images, then the mean over classes (the paper's Eq. 1; "
        "our headline).",
        "Reference: as the paper's published code computes it: per image, a class absent from the image counts 0, then "
        "the mean over images. A perfect prediction of an image that shows two of four classes scores 0.5.",
        "Present: per image, the mean over the classes that the image shows, then the mean over images.",
        "Majority: pooled, for a predictor that always answers the most frequent class. A score near it learned "
        "nothing.",
    ]


def test_nothing_finished_has_nothing_to_average():
    table = lay_out(make_pairs_spec(), [])
    assert (three_averages(table).listings, three_averages(table).bullets) == ([], [])
    assert overlapping_intervals(table) == []
