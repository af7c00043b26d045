"""How a network that Cerberus is compared with takes its row: it is trained and scored as Cerberus is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from histoseg.methods.multitask import MultiTask
from histoseg.runs.config import Data, Optim, Select, Settings, Stage
from histoseg.scoring.objects import Objects
from histoseg.types import Split


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stage of a comparator's training."""

    label: str
    method: MultiTask
    optim: Optim


@dataclass(frozen=True, kw_only=True)
class Comparator:
    """The network and the training of a comparator at one scale.

    Attributes:
        network: Its settings.
        phases: Its stages, in order; each begins with the network of the one before.
        evaluator: How whole images are predicted and scored.
        cut_px: Side of its patches; 0 means that of the scale. Images are stored as for the other rows.
        learns_types: Whether it learns the classes of objects beside the objects: then from those sources alone that
            annotate the same classes, if any do.
    """

    network: Settings
    phases: tuple[Phase, ...]
    evaluator: Objects
    cut_px: int = 0
    learns_types: bool = False

    def data(self, of_scale: Data) -> Data:
        """How patches are cut, where the other rows of the scale cut them in that way."""
        return replace(of_scale, cut_px=self.cut_px)

    def stages(self, sources: Sequence[str], splits: tuple[Split, ...]) -> tuple[Stage, ...]:
        """Its stages on some sources."""
        select = Select(sources=tuple(sources), splits=splits)
        return tuple(
            Stage(label=phase.label, method=phase.method, select=select, optim=phase.optim) for phase in self.phases
        )
