"""Two cells on drawn images, from raw files to a page in about a minute: to see that everything is in place."""

from histoseg.experiments._grid import LeaveOneTaskOut, Sizes
from histoseg.experiments._metahistoseg_table import leave_one_out_table
from histoseg.methods.maml import Maml
from histoseg.methods.transfer import Transfer
from histoseg.runs.config import Data, Eval, Model, Optim, Refine

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
        model=Model(width=4),
        optim=Optim(lr=2e-3, steps=6),
        refine=Refine(lr=3e-3, epochs=2, batch=4),
        eval=Eval(window_px=96, bootstrap=100),
    )
}
_GRID = LeaveOneTaskOut(experiment="smoke", sources=SOURCES, new_tasks=("glas",), columns=("synthetic",), scales=SCALES)
runs = _GRID.runs
why_missing = _GRID.why_missing
