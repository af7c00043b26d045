"""Two cells on drawn images, from raw files to a page in about a minute: to see that everything is in place."""

from histoseg.experiments._grid import LeaveOneTaskOut, Sizes
from histoseg.experiments._metahistoseg_table import leave_one_out_table
from histoseg.methods.maml import Maml
from histoseg.methods.transfer import Transfer
from histoseg.models.unet import UNetSpec
from histoseg.runs.config import Data, Optim
from histoseg.scoring.pixels import Pixels

SOURCES = ("synthetic", "glas")
SPEC = leave_one_out_table(
    title="Smoke test: glands after drawn tissue",
    new_tasks={"glas": "Gland segmentation (GlaS)"},
    predecessors={"synthetic": "Synthetic"},
    methods={"maml": "MAML", "transfer": "TransferL"},
)
SCALES = {
    "laptop": Sizes(
        methods={"maml": Maml(support=1, query=1, episodes=2), "transfer": Transfer(batch=4)},
        data=Data(patch_px=64),
        network=UNetSpec(width=4),
        optim=Optim(lr=2e-3, steps=6),
        refine=Optim(lr=3e-3, steps=0, epochs=2),
        refine_batch=4,
        evaluator=Pixels(window_px=96, bootstrap=100),
    )
}
_GRID = LeaveOneTaskOut(experiment="smoke", sources=SOURCES, new_tasks=("glas",), columns=("synthetic",), scales=SCALES)
runs = _GRID.runs
why_missing = _GRID.why_missing
