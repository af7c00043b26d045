"""Cerberus, Table 3: glands and lumina."""

from histoseg.experiments._cerberus import ALL, SCALES, SOURCES, STRUCTURES, FoldGrid, Row
from histoseg.experiments._cerberus_paper import CITATION, TABLE3
from histoseg.experiments._cerberus_spec import NOTES, folds_table, groups
from histoseg.report.table import Paper

ROWS = {
    "unet": Row(title="U-Net", trainings=(("gland",), ("lumen",)), mixed=False, encoder="unet"),
    "cerberus": Row(title="Cerberus", trainings=(ALL,), imagenet=True),
    "cerberus_plus": Row(title="Cerberus+", trainings=(ALL,), imagenet=True, contour=True),
}
SPEC = folds_table(
    title="Table 3: glands and lumina",
    rows={
        "unet": "U-Net",
        "mildnet": "MILD-Net",
        "rotanet": "Rota-Net",
        "cerberus": "Cerberus",
        "cerberus_plus": "Cerberus+",
    },
    groups=groups(("gland", "lumen"), {"pq": "PQ"}),
    paper=Paper(citation=f"{CITATION}, Table 3", numbers=TABLE3, only=frozenset({"mildnet", "rotanet"})),
    notes=(*NOTES, "MILD-Net and Rota-Net are not part of this project: their numbers are the paper's."),
)
_GRID = FoldGrid(experiment="cerberus_table3", rows=ROWS)
runs = _GRID.runs
why_missing = _GRID.why_missing

__all__ = ["SCALES", "SOURCES", "SPEC", "STRUCTURES", "runs", "why_missing"]
