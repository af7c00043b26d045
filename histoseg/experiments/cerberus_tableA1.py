"""Cerberus, Table A1: average precision of each class of nuclei, from frozen features and by pixel."""

from dataclasses import replace

from histoseg.experiments._cerberus import STRUCTURES
from histoseg.experiments._cerberus_paper import CITATION, NUCLEI_CLASSES, TABLEA1
from histoseg.experiments._cerberus_spec import SPLITS, folds_table
from histoseg.experiments._representation import NOTES, PIXEL, ROWS, SCALES, SOURCES, EncoderGrid
from histoseg.report.sentences import leading_rows, margins
from histoseg.report.table import Paper

_ROWS = {**ROWS, **PIXEL}
SPEC = replace(
    folds_table(
        title="Table A1: average precision of each class of nuclei",
        rows={name: row.title for name, row in _ROWS.items()},
        groups={
            title: {f"{split}.nuclei.ap.{name}": name.capitalize() for name in NUCLEI_CLASSES}
            for split, title in SPLITS.items()
        },
        paper=Paper(citation=f"{CITATION}, Table A1", numbers=TABLEA1),
        notes=NOTES,
    ),
    row_name="Features",
    baseline=None,
    class_scores={},
    sentences=(leading_rows, margins),
)
_GRID = EncoderGrid(experiment="cerberus_tableA1", rows=_ROWS)
runs = _GRID.runs
why_missing = _GRID.why_missing
why_incomplete = _GRID.why_incomplete

__all__ = ["SCALES", "SOURCES", "SPEC", "STRUCTURES", "runs", "why_incomplete", "why_missing"]
