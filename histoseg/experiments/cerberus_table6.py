"""Cerberus, Table 6: classes of nuclei from the frozen features of encoders that were trained in different ways."""

from dataclasses import replace

from histoseg.experiments._cerberus import STRUCTURES
from histoseg.experiments._cerberus_paper import CITATION, TABLE6
from histoseg.experiments._cerberus_spec import MAJORITY, above_majority, folds_table, groups
from histoseg.experiments._representation import NOTES, ROWS, SCALES, SOURCES, EncoderGrid
from histoseg.report.sentences import leading_rows, margins
from histoseg.report.table import Paper

SPEC = replace(
    folds_table(
        title="Table 6: classes of nuclei from frozen features",
        rows={name: row.title for name, row in ROWS.items()},
        groups=groups(("nuclei",), {"map": "mAP", "mf1": "mF1"}),
        paper=Paper(citation=f"{CITATION}, Table 6", numbers=TABLE6),
        notes=NOTES,
    ),
    row_name="Features",
    baseline=MAJORITY,
    sentences=(leading_rows, margins, above_majority),
)
_GRID = EncoderGrid(experiment="cerberus_table6", rows=ROWS)
runs = _GRID.runs
why_missing = _GRID.why_missing
why_incomplete = _GRID.why_incomplete

__all__ = ["SCALES", "SOURCES", "SPEC", "STRUCTURES", "runs", "why_incomplete", "why_missing"]
