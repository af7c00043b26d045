"""One Cerberus+ to keep: glands, lumina, nuclei with their classes, and tissue in one network."""

from histoseg.experiments._cerberus import ALL, SCALES, SEGMENTATION, SOURCES, FoldGrid, Row
from histoseg.experiments._cerberus_spec import NOTES, SPLITS
from histoseg.reporting.fold_spec import FoldTableSpec

ROWS = {"cerberus_plus": Row(title="Cerberus+", trainings=(ALL,), imagenet=True, contour=True, subtyping=True)}
SPEC = FoldTableSpec(
    title="One network for glands, lumina, nuclei and tissue",
    rows={"cerberus_plus": "Cerberus+"},
    blocks={
        title: {
            **{f"{split}.{structure}.pq": f"{structure.capitalize()} PQ" for structure in SEGMENTATION},
            f"{split}.nuclei.mpq_plus": "Nuclei mPQ+",
            f"{split}.tissue.map": "Tissue mAP",
        }
        for split, title in SPLITS.items()
    },
    notes=(*NOTES, "This network is trained on two folds and scored on the third."),
)
_GRID = FoldGrid(experiment="cerberus", rows=ROWS, divisions=((("fold1", "fold2"), "fold3"),))
runs = _GRID.runs
why_missing = _GRID.why_missing

__all__ = ["SCALES", "SOURCES", "SPEC", "runs", "why_missing"]
