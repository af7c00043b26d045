"""One Cerberus+ to keep: every structure of objects, nuclei with their classes, and tissue in one network."""

from histoseg.experiments._cerberus import SCALES, FoldGrid, Row, sources_teaching
from histoseg.experiments._cerberus_spec import ON_SCORES, ON_WEIGHTS, SPLITS, folds_table
from histoseg.structures import TISSUE, structures

OBJECTS = tuple(row.name for row in structures().values() if row.kind == "objects")  # Declared ones, too
ROWS = {
    "cerberus_plus": Row(
        title="Cerberus+", trainings=((*OBJECTS, TISSUE),), imagenet=True, contour=True, subtyping=OBJECTS
    )
}
STRUCTURES = (*OBJECTS, TISSUE)
SOURCES = sources_teaching(STRUCTURES)
SPEC = folds_table(
    title=f"One network for {', '.join(structures()[name].plural for name in OBJECTS)} and tissue",
    rows={"cerberus_plus": "Cerberus+"},
    groups={
        title: {
            **{f"{split}.{structure}.pq": f"{structure.capitalize()} PQ" for structure in OBJECTS},
            f"{split}.nuclei.mpq_plus": "Nuclei mPQ+",
            f"{split}.tissue.map": "Tissue mAP",
        }
        for split, title in SPLITS.items()
    },
    notes=(
        "This network is trained on two folds and scored on the third, which the training has not seen. It is the one "
        "after the last step; nothing is chosen on a score.",
        ON_SCORES,
        ON_WEIGHTS,
    ),
    keeps_model=True,
)
_GRID = FoldGrid(experiment="cerberus", rows=ROWS, divisions=((("fold1", "fold2"), "fold3"),), least=1)
runs = _GRID.runs
why_missing = _GRID.why_missing

__all__ = ["SCALES", "SOURCES", "SPEC", "STRUCTURES", "runs", "why_missing"]
