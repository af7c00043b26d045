"""Which predecessor helps? Every new task by every set of predecessors, with what could be known before the training.

MetaHistoSeg closes with this question: "it remains unclear how interoperability of the testing task and predecessor
task(s) [...] precisely determine meta learning and transfer learning effectiveness" (Sec. 4). The tasks are those that
its Table 1 has as new ones, the sets all that can be made of the others; pretrainings and refinings that Table 1 also
has are shared with it.
"""

from dataclasses import replace

from histoseg.experiments import table1
from histoseg.experiments._affinity_advice import suggestions
from histoseg.experiments._affinity_table import heat_maps, say_agreement
from histoseg.experiments._grid import NONE, LeaveOneTaskOut, Sizes, members, subsets
from histoseg.experiments._metahistoseg_table import leave_one_out_table
from histoseg.scoring.affinity import Affinity

METHOD = "transfer"
SOURCES = tuple(table1.NEW_TASKS)
TITLES = {**table1.NEW_TASKS, "glas": "GlaS"}
SETS = subsets(SOURCES, len(SOURCES) - 1)
COLUMNS = {NONE: "None", **{name: " + ".join(TITLES[source] for source in members(name)) for name in SETS}}


def _measured(sizes: Sizes, patches: int) -> Sizes:
    """The sizes of Table 1, with one method and with measures on so many patches."""
    return replace(sizes, methods={METHOD: sizes.methods[METHOD]}, before=Affinity(patches=patches))


_LAPTOP = _measured(table1.SCALES["laptop"], 32)
SCALES = {
    # Half of the epochs of Table 1: there are more cells, and predecessors matter most where refining is short.
    "laptop": replace(_LAPTOP, refine=replace(_LAPTOP.refine, epochs=8)),
    "real-cpu": _measured(table1.SCALES["real-cpu"], 64),
    "paper": _measured(table1.SCALES["paper"], 256),
}
_TABLE = leave_one_out_table(
    title="Affinity: mIoU on each new task, refined after every set of predecessor tasks",
    new_tasks=table1.NEW_TASKS,
    predecessors=COLUMNS,
    methods={METHOD: "TransferL"},
    notes=("The column None is refined from random numbers: gains are counted from it.",),
)
SPEC = replace(
    _TABLE,
    sentences=(*_TABLE.sentences, say_agreement),
    sections=(heat_maps, suggestions, *_TABLE.sections),
)
_GRID = LeaveOneTaskOut(
    experiment="affinity", sources=SOURCES, new_tasks=SOURCES, columns=tuple(COLUMNS), scales=SCALES
)
runs = _GRID.runs
measuring = _GRID.measuring
why_missing = _GRID.why_missing
