"""Cerberus, Table 4: single-task against multi-task learning, fixed against mixed batches, two encoders."""

from histoseg.experiments._cerberus import ALL, SCALES, SEGMENTATION, SINGLE, SOURCES, STRUCTURES, FoldGrid, Row
from histoseg.experiments._cerberus_paper import CITATION, TABLE4
from histoseg.experiments._cerberus_spec import NOTES, folds_table, groups
from histoseg.report.table import Paper

TOGETHER = (SEGMENTATION,)
ROWS = {
    "unet_stl": Row(title="U-Net, single task", trainings=SINGLE, mixed=False, encoder="unet"),
    "unet_fixed": Row(title="U-Net, multi-task, fixed", trainings=TOGETHER, mixed=False, encoder="unet"),
    "unet_mixed": Row(title="U-Net, multi-task, mixed", trainings=TOGETHER, encoder="unet"),
    "stl": Row(title="ResNet34, single task", trainings=SINGLE, mixed=False),
    "fixed": Row(title="ResNet34, multi-task, fixed", trainings=TOGETHER, mixed=False),
    "mixed": Row(title="ResNet34, multi-task, mixed", trainings=TOGETHER),
    "in_mixed": Row(title="+ ImageNet", trainings=TOGETHER, imagenet=True),
    "in_mixed_pc": Row(title="+ ImageNet + patch classification", trainings=(ALL,), imagenet=True),
}
SPEC = folds_table(
    title="Table 4: single-task and multi-task learning of nuclei, glands and lumina",
    rows={name: row.title for name, row in ROWS.items()},
    groups=groups(("nuclei", "gland", "lumen"), {"dice": "Dice", "pq": "PQ"}),
    paper=Paper(citation=f"{CITATION}, Table 4", numbers=TABLE4),
    notes=NOTES,
)
_GRID = FoldGrid(experiment="cerberus_table4", rows=ROWS)
runs = _GRID.runs
why_missing = _GRID.why_missing

__all__ = ["SCALES", "SOURCES", "SPEC", "STRUCTURES", "runs", "why_missing"]
