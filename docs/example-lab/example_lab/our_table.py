"""Our nuclei as the new task after drawn tissue, MAML against transfer learning, as MetaHistoSeg's Table 1."""

from histoseg.experiments._grid import LeaveOneTaskOut, Sizes
from histoseg.experiments._metahistoseg_table import leave_one_out_table
from histoseg.methods.maml import Maml
from histoseg.methods.transfer import Transfer
from histoseg.models.unet import UNetSpec
from histoseg.runs.config import Data, Optim
from histoseg.scoring.pixels import Pixels

# Predecessors may be any sources of `histoseg list`; those that are not prepared are left out, and the page says so.
SOURCES = ("our_nuclei", "synthetic")
SPEC = leave_one_out_table(
    title="Our nuclei after drawn tissue",
    new_tasks={"our_nuclei": "Our nuclei"},
    predecessors={"synthetic": "Synthetic"},
    methods={"maml": "MAML", "transfer": "TransferL"},
)
SCALES = {
    "smoke": Sizes(  # To see that everything is in place
        methods={"maml": Maml(support=1, query=1, episodes=2), "transfer": Transfer(batch=4)},
        data=Data(patch_px=64),
        network=UNetSpec(width=4),
        optim=Optim(lr=2e-3, steps=4),
        refine=Optim(lr=3e-3, steps=0, epochs=2),
        refine_batch=4,
        evaluator=Pixels(window_px=96, bootstrap=100),
    ),
    "laptop": Sizes(
        methods={"maml": Maml(support=2, query=2, episodes=2), "transfer": Transfer(batch=8)},
        data=Data(patch_px=96),
        network=UNetSpec(width=16),
        optim=Optim(lr=1e-3, steps=200),
        refine=Optim(lr=1e-3, steps=0, epochs=16, patience=6),
        refine_batch=4,
        evaluator=Pixels(window_px=256),
    ),
    # The paper's sizes are the defaults.
    "paper": Sizes(methods={"maml": Maml(), "transfer": Transfer()}, optim=Optim(precision="bf16")),
}
_GRID = LeaveOneTaskOut(
    experiment="our_table", sources=SOURCES, new_tasks=("our_nuclei",), columns=("synthetic",), scales=SCALES
)
runs = _GRID.runs
why_missing = _GRID.why_missing
