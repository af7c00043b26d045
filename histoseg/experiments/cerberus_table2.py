"""Cerberus, Table 2: nuclei and their classes."""

from histoseg.experiments._cerberus import ALL, SCALES, SOURCES, STRUCTURES, FoldGrid, Row
from histoseg.experiments._cerberus_paper import CITATION, TABLE2
from histoseg.experiments._cerberus_spec import NOTES, folds_table, groups
from histoseg.report.table import Paper

ROWS = {
    "unet": Row(title="U-Net", trainings=(("nuclei",),), mixed=False, encoder="unet", subtyping=("nuclei",)),
    "cerberus": Row(title="Cerberus", trainings=(ALL,), imagenet=True, subtyping=("nuclei",)),
    "cerberus_plus": Row(title="Cerberus+", trainings=(ALL,), imagenet=True, contour=True, subtyping=("nuclei",)),
}
SPEC = folds_table(
    title="Table 2: nuclei and their classes",
    rows={"unet": "U-Net", "hovernet": "HoVer-Net", "cerberus": "Cerberus", "cerberus_plus": "Cerberus+"},
    groups=groups(("nuclei",), {"pq": "PQ", "mpq": "mPQ", "mpq_plus": "mPQ+"}),
    paper=Paper(citation=f"{CITATION}, Table 2", numbers=TABLE2, only=frozenset({"hovernet"})),
    notes=(
        *NOTES,
        "mPQ is the mean over classes of the mean PQ over those images whose truth has the class; mPQ+ pools the "
        "counts of all images first. HoVer-Net is not part of this project: its numbers are the paper's.",
    ),
)
_GRID = FoldGrid(experiment="cerberus_table2", rows=ROWS)
runs = _GRID.runs
why_missing = _GRID.why_missing

__all__ = ["SCALES", "SOURCES", "SPEC", "STRUCTURES", "runs", "why_missing"]
