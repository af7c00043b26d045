"""Which stored samples a stage trains on: those of its selection, or some more of them than the stage before.

Regions that a round of annotation adds are written down before the first step, so that a training that is resumed
trains on the same ones, whatever machine it is on.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from histoseg.annotate.cover import num_features, region_features
from histoseg.annotate.rank import Looks, in_order, take
from histoseg.distributed import sum_over_ranks
from histoseg.errors import CheckpointError, ConfigError
from histoseg.maps.windows import MarginWindows, OverlapWindows, Windows
from histoseg.models.network import Network
from histoseg.models.spec import difficulty_spec_of
from histoseg.runs.config import Run, Select
from histoseg.runs.names import stage_name
from histoseg.seeds import number_of, stream
from histoseg.shards.reader import MetaDataset
from histoseg.store.keys import chosen_key
from histoseg.store.objects import Store
from histoseg.training.loop import as_saved
from histoseg.training.process import Process
from histoseg.types import Image

logger = logging.getLogger(__name__)


class ChosenRegion(BaseModel):
    """A stored sample that was chosen; `score` is how difficult it was found, None where chance chose it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    key: str
    score: float | None = None


class Chosen(BaseModel):
    """`chosen.json`: the samples that a stage trains on, those of the rounds before it first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    regions: tuple[ChosenRegion, ...]
    added: int  # How many of them this round added
    pixels: int  # Of those that it added


@dataclass(frozen=True, kw_only=True)
class Round:
    """A stage that adds regions.

    Attributes:
        before: The network of the stage before; None for the first.
        part: All samples that may be chosen.
    """

    run: Run
    number: int
    before: Network | None
    part: MetaDataset
    process: Process

    @property
    def select(self) -> Select:
        """What the stage selects."""
        return self.run.stages[self.number].select

    @property
    def samples(self) -> list[tuple[str, int]]:
        """Source and row of each sample, in the order of the sources."""
        return [(name, row) for name in self.part.sources for row in self.part.training_rows(name).tolist()]


def stage_samples(
    run: Run, number: int, before: Network | None, dataset: MetaDataset, store: Store, process: Process
) -> MetaDataset:
    """The samples that a stage trains on; every rank gets the same.

    Raises:
        ConfigError: If regions are to be chosen by difficulty, and the network does not say where it is unsure.
        CheckpointError: If what was chosen before cannot be read.
    """
    part = dataset.select(run.stages[number].select, run.seed)
    if not run.stages[number].select.regions:
        return part
    own = Round(run=run, number=number, before=before, part=part, process=process)
    chosen = read_chosen(run, number, dataset.checksums, store)
    # Only the leading rank writes; if it has not, all choose, and the leading rank's choice is everybody's.
    is_known = torch.tensor(int(process.leads and chosen is not None), device=process.device)
    if not int(sum_over_ranks(is_known)):
        earlier = read_chosen(run, number - 1, dataset.checksums, store) if number else None
        chosen = _choose(own, () if earlier is None else earlier.regions)
        if process.leads:
            name = stage_name(run, number, dataset.checksums)
            store.put(chosen_key(name), chosen.model_dump_json().encode())
            logger.info("%s: %d regions added to %d", name, chosen.added, len(chosen.regions) - chosen.added)
    return _narrowed(own, chosen)


def read_chosen(run: Run, number: int, checksums: Mapping[str, str], store: Store) -> Chosen | None:
    """What a stage chose; None if it has not chosen yet, or takes all."""
    key = chosen_key(stage_name(run, number, checksums))
    if not run.stages[number].select.regions or store.size(key) is None:
        return None
    try:
        return Chosen.model_validate_json(store.get(key))
    except ValidationError as error:
        raise CheckpointError(f"{store.url}/{key} is damaged; delete its folder to train the stage again") from error


def _choose(own: Round, earlier: Sequence[ChosenRegion]) -> Chosen:
    """The regions of earlier rounds, as far as they are of the same sources, and those that this one adds."""
    columns = {name: index.samples for name, index in own.part.sources.items()}
    kept = tuple(region for region in earlier if region.source in columns)
    done = {(region.source, region.key) for region in kept}
    samples = own.samples
    is_done = np.array([(name, columns[name].key[row]) in done for name, row in samples], bool)
    images = [(name, columns[name].image[row]) for name, row in samples]
    looks = None if own.select.choose == "random" else sample_looks(own)
    scores = looks.difficulties.tolist() if looks else [None] * len(samples)
    rng = stream(own.run.seed, own.number, number_of("regions"))
    order = in_order(looks, is_done, own.select.regions, rng)
    earlier_images = [images[i] for i in np.flatnonzero(is_done)]
    taken = take(order, images, own.select.regions, own.select.per_image, earlier_images)
    added = [(scores[i], *samples[i]) for i in taken]
    regions = [ChosenRegion(source=name, key=columns[name].key[row], score=score) for score, name, row in added]
    pixels = sum(columns[name].height[row] * columns[name].width[row] for _, name, row in added)
    return Chosen(regions=(*kept, *regions), added=len(regions), pixels=pixels)


def sample_looks(own: Round) -> Looks:
    """What the network of the stage before makes of each sample: its mean difficulty, and features if they are needed.

    Each rank looks at its share of the images. An image is looked at whole, as an annotator sees it.
    """
    if own.before is None:
        raise ConfigError(f"stage {own.number}: no network is before it, so regions can only be chosen at random")
    network, samples = as_saved(own.before), own.samples
    width = num_features(network) if own.select.choose == "representative" else 0
    found = np.zeros((len(samples), 1 + width))
    by_image: dict[tuple[str, str], list[int]] = {}
    for i, (name, row) in enumerate(samples):
        by_image.setdefault((name, own.part.sources[name].samples.image[row]), []).append(i)
    place = own.process.place
    for (name, _), members in list(by_image.items())[place.rank :: place.world_size]:
        rows = [samples[i][1] for i in members]
        image = own.part.whole_image(name, rows).image
        squares = [_square(own, name, row) for row in rows]
        found[members, 0] = _mean_difficulties(own, network, name, image, squares)
        if width:
            found[members, 1:] = [region_features(network, image[square]) for square in squares]
    summed = sum_over_ranks(torch.from_numpy(found).to(own.process.device)).cpu().numpy()
    return Looks(difficulties=summed[:, 0], features=summed[:, 1:].astype(np.float32) if width else None)


def _square(own: Round, source: str, row: int) -> tuple[slice, slice]:
    """Where a stored sample lies in its image."""
    columns = own.part.sources[source].samples
    top, left = columns.top[row], columns.left[row]
    return slice(top, top + columns.height[row]), slice(left, left + columns.width[row])


def _mean_difficulties(
    own: Round, network: Network, source: str, image: Image, squares: Sequence[tuple[slice, slice]]
) -> list[float]:
    """The mean difficulty of each of an image's squares."""
    spec = difficulty_spec_of(own.run.at(own.number - 1).network)
    found = spec.difficulty(network, image, _windows(own.run), own.part.sources[source].task.structure)
    return [float(found[square].mean(dtype=np.float64)) for square in squares]


def _windows(run: Run) -> Windows:
    """Those of the evaluator, through which the run looks at whole images."""
    if not isinstance(run.evaluator, MarginWindows | OverlapWindows):
        raise ConfigError(f"evaluator {type(run.evaluator).__name__} has no windows; choose regions at random")
    return run.evaluator


def _narrowed(own: Round, chosen: Chosen | None) -> MetaDataset:
    """The chosen samples alone, as the leading rank has them."""
    names = set[tuple[str, str]]()
    if own.process.leads and chosen is not None:
        names = {(region.source, region.key) for region in chosen.regions}
    samples = own.samples
    columns = {name: index.samples.key for name, index in own.part.sources.items()}
    own_votes = torch.tensor([(name, columns[name][row]) in names for name, row in samples], dtype=torch.int64)
    votes = sum_over_ranks(own_votes.to(own.process.device)).tolist()
    rows: dict[str, list[int]] = {name: [] for name in own.part.sources}
    for (name, row), is_chosen in zip(samples, votes, strict=True):
        if is_chosen:
            rows[name].append(row)
    return replace(own.part, chosen={name: np.array(found, np.int64) for name, found in rows.items()})
