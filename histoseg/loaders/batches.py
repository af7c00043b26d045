"""Instance-level sampling (MetaHistoSeg, Sec. 2.2): in each epoch, equally many random samples of each source, mixed.

The published code always draws `permutation[0]`, the same image of each source; here every image is reached.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from histoseg.errors import DataError
from histoseg.loaders.prefetch import PatchCutter, PatchPlan, prefetch
from histoseg.runs.config import Data
from histoseg.seeds import stream
from histoseg.shards.reader import MetaDataset
from histoseg.types import Batch, Place

ALONE = Place()


@dataclass(frozen=True, kw_only=True)
class BatchSampler:
    """Which samples step t has: a pure function of (seed, t)."""

    rows: Mapping[str, np.ndarray]  # The samples of each source that may be drawn
    batch: int  # Patches in one step over all ranks
    seed: int
    # How likely each of a source's rows is drawn, where classes weigh; a source without is shown without repetition.
    shares: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if empty := [source for source, rows in self.rows.items() if not len(rows)]:
            raise DataError(f"no images to train on in {', '.join(empty)}")

    @property
    def epoch_size(self) -> int:
        """Patches in one epoch: as many from each source as the smallest has."""
        return len(self.rows) * min(len(rows) for rows in self.rows.values())

    def epoch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The mixed pool of one epoch, in its order: which source, by position, and which of its rows."""
        rng = stream(self.seed, 0, number)
        smallest = min(len(rows) for rows in self.rows.values())
        drawn = [self._draw(source, smallest, rng) for source in self.rows]
        order = rng.permutation(self.epoch_size)
        return np.repeat(np.arange(len(drawn)), smallest)[order], np.concatenate(drawn)[order]

    def _draw(self, source: str, size: int, rng: np.random.Generator) -> np.ndarray:
        """That many rows of a source; by shares, the same row may come several times."""
        if source in self.shares:
            return rng.choice(self.rows[source], size=size, p=self.shares[source])
        return rng.choice(self.rows[source], size=size, replace=False)

    def steps(self, first_step: int, place: Place = ALONE) -> Iterator[list[PatchPlan]]:
        """This rank's patches of each step from `first_step` on: every world-size-th of the step.

        A step may reach into the next epoch. Patches of other ranks are not drawn, to save time.
        """
        names = list(self.rows)
        epoch_size = self.epoch_size
        epoch_number, owners, rows = -1, np.empty(0, int), np.empty(0, int)
        for step in count(first_step):
            plans = []
            for i in range(place.rank, self.batch, place.world_size):
                wanted, offset = divmod(step * self.batch + i, epoch_size)
                if wanted != epoch_number:
                    epoch_number, (owners, rows) = wanted, self.epoch(wanted)
                seed = int(stream(self.seed, 1, step, i).integers(2**32))
                plans.append(PatchPlan(source=names[owners[offset]], row=int(rows[offset]), seed=seed))
            yield plans


def batch_loader(
    dataset: MetaDataset, data: Data, sampler: BatchSampler, *, place: Place, first_step: int = 0
) -> Iterator[Batch]:
    """This rank's share of each step, without end: every world-size-th patch of the step."""
    cutter = PatchCutter(dataset, data)

    def make(plans: list[PatchPlan]) -> Batch:
        return Batch(patches=cutter.cut(plans), global_size=sampler.batch)

    return prefetch(sampler.steps(first_step, place), make)
