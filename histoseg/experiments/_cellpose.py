"""Cellpose as a row of Cerberus' Table 2: by its own package, on the same patches and as long as the other rows.

The paper of Cerberus has no such row. The rate, 5e-3, is the package's; it raises it over the first ten epochs and
halves it at the end, where here it is a tenth after most of the steps.
"""

from dataclasses import replace

from histoseg.experiments._cerberus import SCALES, Row, Sizes
from histoseg.experiments._comparator import Comparator, Phase
from histoseg.methods.multitask import MultiTask
from histoseg.models.cellpose import CellposeSpec
from histoseg.scoring.objects import Objects

NOTE = (
    "Cellpose (Stringer et al. 2021) is no row of the paper either: the network, its flows and its objects are those "
    "of its own package, an optional one (histoseg[cellpose]); patches, steps and scores are those of the other rows; "
    "see docs/comparators.md."
)
LR = 5e-3


def _comparator(sizes: Sizes, scale: str) -> Comparator:
    """With half of Cerberus' channels at each scale, as 32 are published for it and 64 for Cerberus."""
    side_px = sizes.data.side_px
    is_published = scale in ("paper", "reference-code")  # Elsewhere three of four pixels are saved.
    return Comparator(
        network=CellposeSpec(width=sizes.width // 2, enlarge=2 if is_published else 1),
        phases=(
            Phase(
                label="train", method=MultiTask(batch=sizes.batch, mixed=False), optim=replace(sizes.optim_of(1), lr=LR)
            ),
        ),
        evaluator=Objects(window_px=side_px, margin_px=side_px // 4),
    )


CELLPOSE = Row(
    title="Cellpose",
    trainings=(("nuclei",),),
    comparator={scale: _comparator(sizes, scale) for scale, sizes in SCALES.items()},
    extra="cellpose",
)
