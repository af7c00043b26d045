"""MILD-Net and Rota-Net as rows of Cerberus' Table 3: on the same patches, by the same optimiser and as long.

Graham et al. 2023, Sec. 4.3.1: MILD-Net has a network for each structure, Rota-Net one for glands and lumina together.
What the two papers do otherwise in training (docs/comparators.md) is not done here, so that rows differ by networks.
"""

from histoseg.experiments._cerberus import SCALES, Row, Sizes
from histoseg.experiments._comparator import Comparator, Phase
from histoseg.methods.multitask import MultiTask
from histoseg.models.mildnet import MildNetSpec
from histoseg.models.rotanet import RotaNetSpec
from histoseg.runs.config import Optim

AUX_SHARE = 8 / 30  # Of a training, after which auxiliary losses count a tenth: 8 of 30 epochs (MILD-Net, p. 9)
ORIENTATIONS = 4  # Of each feature of Rota-Net


def _mild_net(sizes: Sizes) -> Comparator:
    optim = sizes.optim_of(1)
    network = MildNetSpec(width=sizes.width, aux_steps=round(AUX_SHARE * optim.steps))
    return Comparator(network=network, phases=(_phase(sizes, optim, mixed=False),), evaluator=sizes.evaluator)


def _rota_net(sizes: Sizes) -> Comparator:
    """With as many maps as the other rows have channels."""
    network = RotaNetSpec(width=sizes.width // ORIENTATIONS)
    return Comparator(network=network, phases=(_phase(sizes, sizes.optim, mixed=True),), evaluator=sizes.evaluator)


def _phase(sizes: Sizes, optim: Optim, *, mixed: bool) -> Phase:
    """The one stage of a training."""
    method = MultiTask(
        batch=sizes.batch, mixed=mixed, loss_weights=sizes.loss_weights, masked=sizes.masked, in_turn=sizes.in_turn
    )
    return Phase(label="train", method=method, optim=optim)


MILD_NET = Row(
    title="MILD-Net",
    trainings=(("gland",), ("lumen",)),
    comparator={scale: _mild_net(sizes) for scale, sizes in SCALES.items()},
)
ROTA_NET = Row(
    title="Rota-Net",
    trainings=(("gland", "lumen"),),
    comparator={scale: _rota_net(sizes) for scale, sizes in SCALES.items()},
)
