"""Cerberus, Table 3: glands and lumina."""

from histoseg.experiments._cerberus import ALL, SCALES, SOURCES, STRUCTURES, FoldGrid, Row
from histoseg.experiments._cerberus_paper import CITATION, TABLE3
from histoseg.experiments._cerberus_spec import NOTES, folds_table, groups
from histoseg.experiments._gland_comparators import MILD_NET, ROTA_NET
from histoseg.experiments._nnunet import NOTE, nn_unet
from histoseg.report.table import Paper

ROWS = {
    "unet": Row(title="U-Net", trainings=(("gland",), ("lumen",)), mixed=False, encoder="unet"),
    "mildnet": MILD_NET,
    "rotanet": ROTA_NET,
    "nnunet": nn_unet("gland", "lumen"),
    "cerberus": Row(title="Cerberus", trainings=(ALL,), imagenet=True),
    "cerberus_plus": Row(title="Cerberus+", trainings=(ALL,), imagenet=True, contour=True),
}
SPEC = folds_table(
    title="Table 3: glands and lumina",
    rows={name: row.title for name, row in ROWS.items()},
    groups=groups(("gland", "lumen"), {"pq": "PQ"}),
    paper=Paper(citation=f"{CITATION}, Table 3", numbers=TABLE3),
    notes=(
        *NOTES,
        "MILD-Net and Rota-Net are trained on patches of the same kind and as long as the other rows, MILD-Net once "
        "for glands and once for lumina; docs/comparators.md says what is done where their papers leave it open.",
        NOTE,
    ),
)
_GRID = FoldGrid(experiment="cerberus_table3", rows=ROWS)
runs = _GRID.runs
why_missing = _GRID.why_missing

__all__ = ["SCALES", "SOURCES", "SPEC", "STRUCTURES", "runs", "why_missing"]
