"""nnU-Net as a row of Cerberus' tables: on the same patches and as long as the other rows, trained by its own recipe.

The paper of Cerberus has no such row. nnU-Net's optimiser belongs to the recipe and is kept; its foreground
oversampling is approximated by drawing samples by class (docs/comparators.md). The number of steps and the patches of a
step are those of the other rows, so that rows see the same data.
"""

from dataclasses import replace

from histoseg.experiments._cerberus import SCALES, Row, Sizes
from histoseg.experiments._comparator import Comparator, Phase
from histoseg.methods.multitask import MultiTask
from histoseg.models.nnunet import NNUNetSpec
from histoseg.scoring.objects import Objects

NOTE = (
    "nnU-Net (Isensee et al. 2021) is no row of the paper: its recipe is restated here for the same patches and steps, "
    "with a network for each structure and objects by border and core; see docs/comparators.md."
)
LR = 1e-2  # Isensee et al. 2021: the rate at the first step
FOREGROUND = 0.33  # Isensee et al. 2021: patches centred on foreground; here those whose sample is drawn by class


def _comparator(sizes: Sizes, scale: str) -> Comparator:
    """With half of Cerberus' channels at each scale, as 32 are published for it and 64 for Cerberus.

    Windows are as large as patches, as instance normalisation sees all of a window. With a margin of a quarter there
    are as many as in nnU-Net's steps of half a patch.
    """
    side_px = sizes.data.side_px
    is_published = scale in ("paper", "reference-code")  # Elsewhere three of four predictions are saved.
    method = MultiTask(batch=sizes.batch, mixed=False, class_weighting=FOREGROUND)
    optim = replace(sizes.optim_of(1), lr=LR, drop_at=0, optimizer="sgd", schedule="poly")
    return Comparator(
        network=NNUNetSpec(width=sizes.width // 2, patch_px=side_px, mirror=is_published),
        phases=(Phase(label="train", method=method, optim=optim),),
        evaluator=Objects(window_px=side_px, margin_px=side_px // 4),
    )


def nn_unet(*structures: str) -> Row:
    """The row: a network for each structure."""
    return Row(
        title="nnU-Net (2D)",
        trainings=tuple((structure,) for structure in structures),
        comparator={scale: _comparator(sizes, scale) for scale, sizes in SCALES.items()},
    )
