"""A meta-dataset: the indexes of some sources and, by row, their pixels from a verified cache on the local disk."""

import fcntl
import hashlib
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import UInt16

from histoseg.errors import DataError, StorageError
from histoseg.maps.boxes import centred_within, chosen, draw_boxes, moved
from histoseg.runs.config import Select
from histoseg.seeds import number_of, stream
from histoseg.shards.index import SourceIndex, open_index, rewrite_command
from histoseg.shards.stored import Shard, StoredBox
from histoseg.store.keys import shard_key
from histoseg.store.objects import Store
from histoseg.types import Boxes, Image, Sample, SemanticMap, Split

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MetaDataset:
    """The sources a run reads, by name; `read` gives the pixels of one stored sample.

    Attributes:
        chosen: The stored samples of each source that may be trained on; all of them where a source is not named.
    """

    sources: Mapping[str, SourceIndex]
    cache: "ShardCache"
    chosen: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def open(cls, store: Store, names: Iterable[str], layout: str, cache_folder: Path) -> "MetaDataset":
        """The meta-dataset of some prepared sources; shards are fetched when first read."""
        sources = {name: open_index(store, name, layout) for name in names}
        return cls(sources=sources, cache=ShardCache(store, cache_folder))

    @property
    def checksums(self) -> dict[str, str]:
        """The index checksum of each source."""
        return {name: index.checksum for name, index in self.sources.items()}

    def select(self, select: Select, seed: int) -> "MetaDataset":
        """The sources and stored samples of a selection; `seed` draws the images where only some are wanted."""
        sources = {name: self.sources[name] for name in select.sources}
        chosen = {name: _chosen_rows(name, index, select, seed) for name, index in sources.items()}
        return replace(self, sources=sources, chosen=chosen)

    def training_rows(self, source: str) -> np.ndarray:
        """The stored samples of a source that may be trained on, int64."""
        return self.chosen[source] if source in self.chosen else self.sources[source].rows()

    def read(self, source: str, row: int) -> tuple[Image, SemanticMap]:
        """Image and semantic map of one stored sample, read-only views of the cached shard."""
        index = self.sources[source]
        samples = index.samples
        shard = self.cache.open(index, samples.shard[row])
        size = samples.height[row], samples.width[row]
        image = _view(shard, samples.image_offset[row], (*size, 3))
        if index.task.kind == "patch":
            return image, np.broadcast_to(np.uint8(self.patch_class(source, row)), size)
        if index.task.kind == "boxes":
            return image, draw_boxes(self.read_boxes(source, row), size)
        return image, _view(shard, samples.map_offset[row], size)

    def read_instances(self, source: str, row: int) -> UInt16[np.ndarray, "H W"]:
        """The instance map of one stored sample of a source that has them; a read-only view of the cached shard."""
        index = self.sources[source]
        samples = index.samples
        shard = self.cache.open(index, samples.shard[row])
        size = samples.height[row], samples.width[row]
        begin = samples.instance_offset[row]
        view: np.ndarray = shard[begin : begin + 2 * math.prod(size)].view("<u2").reshape(size)
        return view

    def read_boxes(self, source: str, row: int) -> Boxes:
        """The boxes that share some area with a stored sample, whole, in pixels of the sample."""
        samples = self.sources[source].samples
        return moved(_boxes(samples.boxes[row]), -samples.left[row], -samples.top[row])

    def _own_boxes(self, source: str, rows: Sequence[int]) -> Boxes:
        """The boxes of the image that is stored in some rows, each once, in pixels of the image."""
        samples, parts = self.sources[source].samples, []
        for row in rows:
            place = (samples.top[row], samples.left[row], samples.height[row], samples.width[row])
            boxes = _boxes(samples.boxes[row])
            parts.append(chosen(boxes, centred_within(boxes.corners, place)))
        corners, classes = ([getattr(part, name) for part in parts] for name in ("corners", "classes"))
        return Boxes(corners=np.concatenate(corners), classes=np.concatenate(classes))

    def patch_class(self, source: str, row: int) -> int:
        """The class of a stored sample of a source with one class per image."""
        return int(np.argmax(self.sources[source].samples.class_pixels[row]))

    def images(self, source: str, split: Split) -> dict[str, list[int]]:
        """The rows that each image of a split is stored in, by the image's key."""
        index = self.sources[source]
        tiles: dict[str, list[int]] = {}
        for row in index.rows(split).tolist():
            tiles.setdefault(index.samples.image[row], []).append(row)
        return tiles

    def whole_images(self, source: str, split: Split) -> Iterator[Sample]:
        """Each image of a split, assembled from its tiles."""
        for rows in self.images(source, split).values():
            yield self.whole_image(source, rows)

    def whole_image(self, source: str, rows: Sequence[int]) -> Sample:
        """The image that is stored in some rows."""
        index = self.sources[source]
        samples = index.samples
        height = max(samples.top[row] + samples.height[row] for row in rows)
        width = max(samples.left[row] + samples.width[row] for row in rows)
        image, semantic_map = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.uint8)
        instance_map = np.empty((height, width), np.int32) if index.task.kind == "instance" else None
        for row in rows:
            place = np.s_[
                samples.top[row] : samples.top[row] + samples.height[row],
                samples.left[row] : samples.left[row] + samples.width[row],
            ]
            image[place], semantic_map[place] = self.read(source, row)
            if instance_map is not None:
                instance_map[place] = self.read_instances(source, row)
        return Sample(
            key=samples.image[rows[0]],
            patient=samples.patient[rows[0]],
            image=image,
            semantic_map=semantic_map,
            mpp=samples.mpp[rows[0]],
            instance_map=instance_map,
            boxes=self._own_boxes(source, rows) if index.task.kind == "boxes" else None,
        )


def _boxes(stored: Sequence[StoredBox]) -> Boxes:
    numbers = np.array(stored, np.float64).reshape(-1, 5)
    return Boxes(corners=numbers[:, :4].astype(np.float32), classes=numbers[:, 4].astype(np.uint8))


def _chosen_rows(name: str, index: SourceIndex, select: Select, seed: int) -> np.ndarray:
    """The rows of some splits, or all tiles of `shots` images of them, drawn at random."""
    rows = index.rows(*select.splits)
    images = np.asarray(index.samples.image)[rows]
    if select.with_objects:
        has_some = np.isin(images, np.unique(images[np.asarray(index.samples.num_objects)[rows] > 0]))
        rows, images = rows[has_some], images[has_some]
    if not select.shots:
        return rows
    names = np.unique(images)
    stream_of_draw = (select.draw,) if select.draw else ()  # The first draw is the one there was before others.
    drawn = stream(seed, number_of(name), *stream_of_draw).choice(
        names, size=min(select.shots, len(names)), replace=False
    )
    return np.asarray(rows[np.isin(images, drawn)])


class ShardCache:
    """Shards on the local disk, checked against their SHA-256 on arrival and mapped into memory when read."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self._open: dict[str, np.ndarray] = {}
        self._locks: dict[str, Lock] = {}

    def open(self, index: SourceIndex, number: int) -> np.ndarray:
        """All bytes of one of a source's shards, uint8, mapped but not yet read."""
        sha256 = index.shards[number].sha256
        if sha256 not in self._open:
            # A lock for each shard: one thread fetches it, while others fetch and read others.
            with self._locks.setdefault(sha256, Lock()):
                if sha256 not in self._open:
                    try:
                        path = self._fetch(index, index.shards[number])
                    except OSError as error:
                        what = f"cannot keep shards there ({error.strerror or error})"
                        raise StorageError(
                            f"{self.folder}: {what}; make room there, or name another --cache"
                        ) from error
                    # As a plain array: each slice of a memmap would be one too, at several times the cost.
                    self._open[sha256] = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
        return self._open[sha256]

    def _fetch(self, index: SourceIndex, shard: Shard) -> Path:
        path = self.folder / f"{shard.sha256}.tar"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{shard.sha256}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # One process of a node fetches, the others wait for it.
            if not path.exists() or path.stat().st_size != shard.num_bytes:
                arrived = path.with_suffix(".unchecked")
                self.store.download(shard_key(index.task.name, index.layout, shard.name), arrived)
                check_shard(arrived, shard, self.store.url, index)
                arrived.replace(path)
        return path


def check_shard(path: Path, shard: Shard, url: str, index: SourceIndex) -> None:
    """Refuse a file that is not, byte for byte, the shard that was written to a store."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != shard.sha256:
        size = path.stat().st_size
        path.unlink()
        key = shard_key(index.task.name, index.layout, shard.name)
        again = rewrite_command(index.task.name, url, index.layout, index.options)
        raise DataError(
            f"{url}/{key} is damaged: {size} bytes with SHA-256 {found[:12]}, expected {shard.num_bytes} with "
            f"{shard.sha256[:12]}; write it again: {again}"
        )


def _view(shard: np.ndarray, offset: int, shape: tuple[int, ...]) -> np.ndarray:
    return shard[offset : offset + math.prod(shape)].reshape(shape)
