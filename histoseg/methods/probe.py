"""Patch classification on features that stay as they are: two fully connected layers are trained, and nothing else.

Cerberus (Graham et al. 2023), Sec. 3.3.1 and 4.3.3. Features are computed once for each set of images and encoder and
kept in the store, so that a training takes seconds. Patches are therefore not augmented.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from histoseg.errors import ConfigError
from histoseg.loaders.batches import BatchSampler
from histoseg.models.probe import probe_of
from histoseg.runs.config import Run
from histoseg.shards.reader import MetaDataset
from histoseg.types import Place, Task

if TYPE_CHECKING:
    from histoseg.methods._patch_features import ProbeBatch
    from histoseg.models.network import Network
    from histoseg.models.probe.network import Probe


@dataclass(frozen=True, kw_only=True)
class Probing:
    """Training of two layers on frozen features by cross-entropy; a step has `batch` patches over all ranks."""

    batch: int = 256  # The paper gives none.

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise ConfigError(f"method.batch = {self.batch}: must be 2 or more, since one patch has no variance")

    def network(self, run: Run, tasks: Mapping[str, Task], before: "Network | None", seed: int) -> "Probe":
        """Two new layers on the encoder of the stage before, or on one that is still to be given its weights."""
        fresh = probe_of(run).build(tasks, seed, run.data.tissue_px)
        network = fresh if before is None else fresh.with_encoder_of(before)
        network.freeze_encoder()
        return network

    def steps_per_epoch(self, dataset: MetaDataset) -> int:
        """Steps that show as many patches as there are objects in the tiles; one that tiles cut counts in each."""
        counts = (np.asarray(dataset.sources[name].samples.num_objects) for name in dataset.sources)
        rows = (dataset.training_rows(name) for name in dataset.sources)
        return -(-sum(int(count[chosen].sum()) for count, chosen in zip(counts, rows, strict=True)) // self.batch)

    def batches(
        self, dataset: MetaDataset, run: Run, *, seed: int, place: Place, first_step: int
    ) -> "Iterator[ProbeBatch]":
        from histoseg.methods._patch_features import PatchFeatures, ProbeBatch

        table = PatchFeatures(dataset, probe_of(run).patch_px, place)
        sampler = BatchSampler(rows={"objects": np.arange(len(table.keys))}, batch=self.batch, seed=seed)
        for plans in sampler.steps(first_step, place):
            rows = np.array([plan.row for plan in plans], np.int64)
            keys = tuple(table.keys[row] for row in rows.tolist())
            yield ProbeBatch(table=table, rows=rows, keys=keys, global_size=self.batch)

    def backward(self, model: "Probe", batch: "ProbeBatch") -> float:
        from histoseg.methods._patch_features import backward

        return backward(model, batch)


METHOD = Probing
