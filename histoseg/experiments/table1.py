"""MetaHistoSeg, Table 1: four new tasks by five sets of predecessor tasks, MAML against instance transfer learning.

A pretrained model depends on its method and predecessor tasks alone, so 16 pretrainings serve the 32 cells.
"""

from histoseg.experiments._grid import ALL_OTHERS, LeaveOneTaskOut, Sizes
from histoseg.experiments._metahistoseg_table import leave_one_out_table
from histoseg.experiments._table1_paper import CITATION, MIOU
from histoseg.methods.maml import Maml
from histoseg.methods.transfer import Transfer
from histoseg.models.unet import UNetSpec
from histoseg.report.table import Paper
from histoseg.runs.config import Data, Optim
from histoseg.scoring.pixels import Pixels

NEW_TASKS = {
    "breastpathq": "BreastPathQ",
    "monuseg": "MoNuSeg",
    "glas": "Gland segmentation (GlaS)",
    "digestpath": "DigestPath",
}
SOURCES = ("gleason2019", *NEW_TASKS)
PREDECESSORS = {ALL_OTHERS: "All others", **NEW_TASKS, "glas": "GlaS"}
SPEC = leave_one_out_table(
    title="Table 1: mIoU on each new task, refined from models pretrained on predecessor tasks",
    new_tasks=NEW_TASKS,
    predecessors=PREDECESSORS,
    methods={"maml": "MAML", "transfer": "TransferL"},
    notes=("The paper's numbers come from code that averages per image: compare them with the per-image mIoU.",),
    paper=Paper(citation=CITATION, numbers=MIOU, score=("miou_reference", "averaged as the paper's code")),
)
SCALES = {
    # Everything of the paper's experiment but its size: a table in minutes on two cores.
    "laptop": Sizes(
        methods={"maml": Maml(support=2, query=2, episodes=2), "transfer": Transfer(batch=8)},
        data=Data(patch_px=96),
        network=UNetSpec(width=8),
        optim=Optim(lr=2e-3, steps=40),
        refine=Optim(lr=2e-3, steps=0, epochs=16),
        refine_batch=4,
        evaluator=Pixels(window_px=96),
    ),
    # Real images on a few cores, long enough to learn from them.
    "real-cpu": Sizes(
        methods={"maml": Maml(support=2, query=2, episodes=2), "transfer": Transfer(batch=8)},
        data=Data(patch_px=128),
        network=UNetSpec(width=16),
        optim=Optim(lr=1e-3, steps=60),
        refine=Optim(lr=1e-3, steps=0, epochs=16, patience=6),
        refine_batch=4,
        evaluator=Pixels(window_px=256),
    ),
    # Sec. 3.1, which is where every default comes from. The paper does not say how it refined: epochs, batch and
    # learning rate there are those that the README of its published code gives.
    "paper": Sizes(methods={"maml": Maml(), "transfer": Transfer()}, optim=Optim(precision="bf16")),
    # What the published code's README says otherwise (docs/protocols.md).
    "reference-code": Sizes(
        methods={"maml": Maml(support=2, query=2, episodes=2), "transfer": Transfer(batch=4)},
        network=UNetSpec(norm="batch"),
        optim=Optim(steps=200_000),
    ),
}
_GRID = LeaveOneTaskOut(
    experiment="table1", sources=SOURCES, new_tasks=tuple(NEW_TASKS), columns=tuple(PREDECESSORS), scales=SCALES
)
runs = _GRID.runs
why_missing = _GRID.why_missing
