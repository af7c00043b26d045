"""HoVer-Net's row: two phases (Graham et al. 2019), on the patches and with the schedule of all networks of Cerberus.

"We ensure that the exact same input patches are used for a fair comparison" (Cerberus, Sec. 4.3.1): those of 448 pixels
fit the fast mode, in which the network predicts 356 of them. "All models" have 27 patches in a step, and 90,000 steps
at a rate of 1e-3, which is 1e-4 after 70,000 (Sec. 4.4). Of these steps the first half trains the decoders while the
encoder's weights rest, as HoVer-Net's own training does in the first of its two phases, which are equally long.

That training begins with ImageNet's weights of the same encoder. Here it begins with random numbers.
"""

from collections.abc import Mapping

from histoseg.experiments._comparator import Comparator, Phase
from histoseg.methods.multitask import MultiTask
from histoseg.models.hovernet import HoVerNetSpec
from histoseg.runs.config import Optim
from histoseg.scoring.objects import Objects


def _phases(batches: tuple[int, int], first: Optim, second: Optim) -> tuple[Phase, Phase]:
    """The decoders alone, then all of the network."""
    return (
        Phase(label="decoders", method=MultiTask(batch=batches[0], mixed=False, trains="decoders"), optim=first),
        Phase(label="whole", method=MultiTask(batch=batches[1], mixed=False), optim=second),
    )


_PUBLISHED = Optim(lr=1e-4, steps=45_000, drop_at=22_500)  # Its code: a tenth from the middle of a phase on

HOVERNET: Mapping[str, Comparator] = {
    # Of patches of 96 pixels it would predict 4; narrow, it needs a higher rate to learn in so few steps.
    "laptop": Comparator(
        network=HoVerNetSpec(width=8),
        phases=_phases((4, 4), Optim(lr=2e-3, steps=40), Optim(lr=3e-3, steps=200, drop_at=160)),
        evaluator=Objects(window_px=384, margin_px=56),
        cut_px=144,
        learns_types=True,
    ),
    "real-cpu": Comparator(
        network=HoVerNetSpec(width=16),
        phases=_phases((8, 8), Optim(lr=1e-3, steps=100), Optim(lr=1e-3, steps=300, drop_at=240)),
        evaluator=Objects(window_px=640, margin_px=64),
        learns_types=True,
    ),
    "paper": Comparator(
        network=HoVerNetSpec(),
        phases=_phases(
            (27, 27),
            Optim(lr=1e-3, steps=45_000, precision="bf16", compile=True),
            Optim(lr=1e-3, steps=45_000, drop_at=25_000, precision="bf16", compile=True),
        ),
        evaluator=Objects(),
        learns_types=True,
    ),
    # What its own code has: patches, the batches of one GPU, rates, and terms that all weigh the same (PyTorch).
    "reference-code": Comparator(
        network=HoVerNetSpec(distance_weight=1.0),
        phases=_phases((16, 4), _PUBLISHED, _PUBLISHED),
        evaluator=Objects(window_px=256, margin_px=56),
        cut_px=256,
        learns_types=True,
    ),
}
