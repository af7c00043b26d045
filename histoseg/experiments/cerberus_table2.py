"""Cerberus, Table 2: nuclei and their classes, by Cerberus, HoVer-Net, nnU-Net and Cellpose."""

from histoseg.experiments._cellpose import CELLPOSE
from histoseg.experiments._cellpose import NOTE as CELLPOSE_NOTE
from histoseg.experiments._cerberus import ALL, SCALES, SOURCES, STRUCTURES, FoldGrid, Row
from histoseg.experiments._cerberus_paper import CITATION, TABLE2
from histoseg.experiments._cerberus_spec import NOTES, folds_table, groups
from histoseg.experiments._hovernet import HOVERNET
from histoseg.experiments._nnunet import NOTE, nn_unet
from histoseg.report.table import Paper

ROWS = {
    "unet": Row(title="U-Net", trainings=(("nuclei",),), mixed=False, encoder="unet", subtyping=("nuclei",)),
    "hovernet": Row(title="HoVer-Net", trainings=(("nuclei",),), comparator=HOVERNET),
    "nnunet": nn_unet("nuclei"),
    "cellpose": CELLPOSE,
    "cerberus": Row(title="Cerberus", trainings=(ALL,), imagenet=True, subtyping=("nuclei",)),
    "cerberus_plus": Row(title="Cerberus+", trainings=(ALL,), imagenet=True, contour=True, subtyping=("nuclei",)),
}
SPEC = folds_table(
    title="Table 2: nuclei and their classes",
    rows={name: row.title for name, row in ROWS.items()},
    groups=groups(("nuclei",), {"pq": "PQ", "mpq": "mPQ", "mpq_plus": "mPQ+"}),
    paper=Paper(citation=f"{CITATION}, Table 2", numbers=TABLE2),
    notes=(
        *NOTES,
        "mPQ is the mean over classes of the mean PQ over those images whose truth has the class; mPQ+ pools the "
        "counts of all images first. HoVer-Net learns nuclei and their classes together, in two phases; its published "
        "training begins with ImageNet's weights of its encoder, ours with random numbers.",
        NOTE,
        CELLPOSE_NOTE,
    ),
)
_GRID = FoldGrid(experiment="cerberus_table2", rows=ROWS)
runs = _GRID.runs
why_missing = _GRID.why_missing

__all__ = ["SCALES", "SOURCES", "SPEC", "STRUCTURES", "runs", "why_missing"]
