"""Cerberus, Table 5: classes of tissue, learned alone and together with objects."""

from histoseg.experiments._cerberus import ALL, SCALES, SOURCES, STRUCTURES, FoldGrid, Row
from histoseg.experiments._cerberus_paper import CITATION, TABLE5
from histoseg.experiments._cerberus_spec import NOTES, folds_table
from histoseg.report.table import Paper

ROWS = {
    "in_stl": Row(title="ImageNet, single task", trainings=(("tissue",),), mixed=False, imagenet=True),
    "in_mixed_pc": Row(title="ImageNet, multi-task", trainings=(ALL,), imagenet=True),
}
SPEC = folds_table(
    title="Table 5: classes of tissue, learned alone and together with objects",
    rows={name: row.title for name, row in ROWS.items()},
    groups={
        "Cross-validation": {"test.tissue.map": "mAP", "test.tissue.mf1": "mF1"},
        "External test set": {"external.tissue.map": "mAP", "external.tissue.mf1": "mF1"},
    },
    paper=Paper(citation=f"{CITATION}, Table 5", numbers=TABLE5),
    notes=(
        *NOTES,
        "mAP and mF1 are means over classes; which class of each data set is which of the nine is our inference, as "
        "the paper shows it only as a figure. The paper has no external test set here; ours is CRC-VAL-HE-7K.",
    ),
)
_GRID = FoldGrid(experiment="cerberus_table5", rows=ROWS)
runs = _GRID.runs
why_missing = _GRID.why_missing

__all__ = ["SCALES", "SOURCES", "SPEC", "STRUCTURES", "runs", "why_missing"]
