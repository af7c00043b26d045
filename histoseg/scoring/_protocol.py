"""What an evaluator does, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from histoseg.models.network import Network
from histoseg.records.schema import Panel, ScoredImage
from histoseg.runs.config import Run, Select
from histoseg.scoring._pictures import Pictures
from histoseg.shards.reader import MetaDataset
from histoseg.training.process import Process


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of one network, as fields of a `histoseg.records.schema.Record`."""

    scores: Mapping[str, float]
    headline: str  # The most important ones in a few words, for the log
    measures: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    images: tuple[ScoredImage, ...] = ()
    panels: tuple[Panel, ...] = ()


@runtime_checkable
class Evaluator(Protocol):
    """How a network is scored. A frozen dataclass whose fields say how images are predicted."""

    def validate(self, network: Network, run: Run, dataset: MetaDataset, select: Select, process: Process) -> float:
        """One score by which an epoch is chosen, higher is better, the same on every rank; nan if undefined."""

    def score(self, network: Network, run: Run, dataset: MetaDataset, process: Process, pictures: Pictures) -> Scores:
        """All that is recorded. Each rank predicts its share of the images, and every rank gets all scores."""
