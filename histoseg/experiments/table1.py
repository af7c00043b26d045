"""MetaHistoSeg, Table 1: four new tasks by five sets of predecessor tasks, MAML against instance transfer learning.

A pretrained model depends on its method and predecessor tasks alone, so 16 pretrainings serve the 32 cells.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from histoseg.config import Data, Eval, Model, Optim, Refine, Run
from histoseg.experiments._table1_paper import CITATION, MIOU
from histoseg.methods.maml import Maml
from histoseg.methods.transfer import Transfer
from histoseg.reporting.cells import TableSpec
from histoseg.reporting.records import Address
from histoseg.shards.index import SourceIndex
from histoseg.types import SPLITS, Method

NEW_TASKS = ("breastpathq", "monuseg", "glas", "digestpath")
SOURCES = ("gleason2019", *NEW_TASKS)
ALL_OTHERS = "all_others"
COLUMNS = (ALL_OTHERS, *NEW_TASKS)
METHODS = ("maml", "transfer")

SPEC = TableSpec(
    title="Table 1: mIoU on each new task, refined from models pretrained on predecessor tasks",
    rows={
        "breastpathq": "BreastPathQ",
        "monuseg": "MoNuSeg",
        "glas": "Gland segmentation (GlaS)",
        "digestpath": "DigestPath",
    },
    columns={
        ALL_OTHERS: "All others",
        "breastpathq": "BreastPathQ",
        "monuseg": "MoNuSeg",
        "glas": "GlaS",
        "digestpath": "DigestPath",
    },
    methods={"maml": "MAML", "transfer": "TransferL"},
    not_applicable=frozenset((task, task) for task in NEW_TASKS),
    paper={Address(*place): value for place, value in MIOU.items()},
    citation=CITATION,
    paper_note="The paper's numbers come from code that averages per image: compare them with the per-image mIoU.",
)

# The numbers of Sec. 3.1 are the defaults of every field; the paper does not tell how it refined, so epochs, batch
# and learning rate there are those that the README of its published code gives.
_PAPER = {
    "data": Data(),
    "model": Model(),
    "optim": Optim(precision="bf16"),
    "refine": Refine(),
    "eval": Eval(),
    "maml": Maml(),
    "transfer": Transfer(),
}
SCALES: Mapping[str, Mapping[str, object]] = {
    # Everything of the paper's experiment but its size: a table in minutes on two cores.
    "laptop": {
        "data": Data(patch_px=96),
        "model": Model(width=8),
        "optim": Optim(lr=2e-3, steps=40),
        "refine": Refine(lr=3e-3, epochs=8, batch=4),
        "eval": Eval(window_px=96),
        "maml": Maml(support=2, query=2, episodes=2),
        "transfer": Transfer(batch=8),
    },
    # Real images on a few cores, long enough to learn from them.
    "real-cpu": {
        "data": Data(patch_px=128),
        "model": Model(width=16),
        "optim": Optim(lr=1e-3, steps=120),
        "refine": Refine(lr=1e-3, epochs=25, batch=4, patience=10),
        "eval": Eval(window_px=256),
        "maml": Maml(support=2, query=2, episodes=2),
        "transfer": Transfer(batch=8),
    },
    "paper": _PAPER,
    # The values in the published code's README where they differ from the paper (docs/protocols.md).
    "reference-code": {
        **_PAPER,
        "optim": Optim(lr=1e-4, steps=200_000),
        "maml": Maml(support=2, query=2, episodes=2),
        "transfer": Transfer(batch=4),
    },
}


def runs(scale: str, seeds: int, sources: Mapping[str, SourceIndex]) -> list[Run]:
    """Every cell that the prepared sources allow, for seeds 0 to `seeds` - 1."""
    return [
        _run(scale, seed, column, new_task, method, sources)
        for seed in range(seeds)
        for new_task, column in _cells()
        for method in METHODS
        if not why_missing(new_task, column, sources)
    ]


def why_missing(new_task: str, column: str, sources: Mapping[str, SourceIndex]) -> str:
    """Why a cell cannot be had from these sources; empty if it can."""
    if new_task not in sources:
        return f"no shards of {new_task}"
    if lacking := [split for split in SPLITS if not len(sources[new_task].rows(split))]:
        patients = len(set(sources[new_task].samples.patient))
        return f"{new_task} has {patients} patient(s), too few for a {' and a '.join(lacking)} split"
    if not _predecessors(new_task, column, sources):
        return f"no shards of {column}"
    return ""


def _cells() -> Iterator[tuple[str, str]]:
    """New task and column of every cell but the four that are NA."""
    return ((row, column) for row in NEW_TASKS for column in COLUMNS if row != column)


def _predecessors(new_task: str, column: str, sources: Mapping[str, SourceIndex]) -> tuple[str, ...]:
    wanted = [source for source in SOURCES if source != new_task] if column == ALL_OTHERS else [column]
    return tuple(source for source in wanted if source in sources)


def _run(scale: str, seed: int, column: str, new_task: str, method: str, sources: Mapping[str, SourceIndex]) -> Run:
    sizes = SCALES[scale]
    chosen: Method = sizes[method]  # type: ignore[assignment]  # the keys are this file's own
    parts = {name: sizes[name] for name in ("data", "model", "optim", "refine", "eval")}
    run = Run(
        experiment="table1",
        scale=scale,
        method=chosen,
        predecessors=_predecessors(new_task, column, sources),
        new_task=new_task,
        column=column,
        seed=seed,
    )
    return replace(run, **parts)  # type: ignore[arg-type]  # likewise
