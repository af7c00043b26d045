"""index.json: what a source's shards hold, so that any sample is one range of bytes away.

Samples are stored by column: a million of them are 128 MB of JSON, read in seconds (benchmarks/growth.py).
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from histoseg.errors import ConfigError, DataError
from histoseg.store.objects import Store
from histoseg.types import EXTERNAL, FOLDS, IGNORE, SPLITS, Split, Task

FORMAT = 2
MANY_LEFT_OUT = 0.5  # Of all pixels: more is then left out than learnt from.
ALL_SPLITS: tuple[Split, ...] = (*SPLITS, *FOLDS, EXTERNAL)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One tar: its object name below the source's folder, and what makes it whole."""

    name: str
    split: Split
    sha256: str
    num_bytes: int
    num_samples: int


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Columns of equal length; row i is one stored sample: an image, or a tile of a large one.

    Attributes:
        key: Stable unique name, and the name of its members in the tar.
        image: The key of the whole image; equal to `key` unless that was cut into tiles.
        patient: Whom the tissue came from.
        shard: Position in the index's list of shards.
        top, left: Where the tile lies in the whole image, in pixels.
        height, width: Size of the sample in pixels.
        mpp: Microns per pixel.
        image_offset, map_offset, instance_offset: Where the pixels of the image, the semantic map (1 byte each) and the
            instance map (2 bytes each, little-endian) begin in the tar, in bytes; -1 where there is no such map.
        class_pixels: Pixels of each class, IGNORE left out.
        num_objects: Objects in the instance map.
    """

    key: list[str]
    image: list[str]
    patient: list[str]
    shard: list[int]
    top: list[int]
    left: list[int]
    height: list[int]
    width: list[int]
    mpp: list[float]
    image_offset: list[int]
    map_offset: list[int]
    instance_offset: list[int]
    class_pixels: list[list[int]]
    num_objects: list[int]


@dataclass(frozen=True, kw_only=True)
class SourceIndex:
    """What the shards of one source hold.

    Attributes:
        task: The source's task.
        origin: "demo" if the program drew the raw files itself, else "raw".
        layout: The name of the way in which these shards are stored (`Data.layout`).
        tile_px: Side that no tile of a larger image falls short of.
        options: The reader's options, for example how raters were consolidated.
        shards: The tars.
        samples: What they hold.
        checksum: SHA-256 of the index object, which stands for all bytes below it.
    """

    task: Task
    origin: str
    layout: str
    tile_px: int
    options: dict[str, str]
    shards: tuple[Shard, ...]
    samples: Samples
    checksum: str

    @property
    def folder(self) -> str:
        """Where the shards lie in their store."""
        return shard_folder(self.task.name, self.layout)

    @cached_property
    def split_rows(self) -> dict[Split, np.ndarray]:
        """The rows of each split, int64, in stored order."""
        split_of = np.array([ALL_SPLITS.index(shard.split) for shard in self.shards], dtype=np.int8)
        by_row = split_of[np.asarray(self.samples.shard, dtype=np.int64)]
        return {split: np.flatnonzero(by_row == number) for number, split in enumerate(ALL_SPLITS)}

    def rows(self, *splits: Split) -> np.ndarray:
        """The rows of some splits, or of all if none is named; int64, in stored order."""
        chosen = [self.split_rows[split] for split in splits or ALL_SPLITS]
        return chosen[0].copy() if len(chosen) == 1 else np.sort(np.concatenate(chosen))

    def class_pixels(self, *splits: Split) -> np.ndarray:
        """Pixels of each class over some splits, int64."""
        rows = self.rows(*splits)
        counts = np.asarray(self.samples.class_pixels, dtype=np.int64).reshape(-1, self.task.num_classes)
        return np.asarray(counts[rows].sum(axis=0), dtype=np.int64)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of a table must know about this source."""
        seen = [self.task.classes[i] for i in np.flatnonzero(self.class_pixels())]
        if len(seen) > 1:
            return ()
        return (f"{self.task.name}: every labelled pixel is {', '.join(seen) or 'IGNORE'}; were the masks read right?",)


def find_doubts(index: SourceIndex) -> list[str]:
    """What whoever prepares a source should look at: classes and splits without any image, and labels left out."""
    samples, source, lines = index.samples, index.task.name, []
    pixels = index.class_pixels()
    num_pixels = sum(height * width for height, width in zip(samples.height, samples.width, strict=True))
    left_out = 1 - int(pixels.sum()) / num_pixels
    unlabelled = f"{left_out:.0%} of its pixels are {IGNORE}, which means not labelled"
    if unseen := [name for name, count in zip(index.task.classes, pixels.tolist(), strict=True) if not count]:
        also = f", and {unlabelled}" if left_out else ""
        lines.append(f"{source}: no pixel is {', '.join(unseen)}{also}; if that is wrong, map the values in `read`")
    elif left_out > MANY_LEFT_OUT:
        lines.append(f"{source}: {unlabelled}; if that is wrong, map the values in `read`")
    empty = [split for split in SPLITS if not len(index.rows(split))]
    if 0 < len(empty) < len(SPLITS):  # Folds have none of the three.
        patients = len(set(samples.patient))
        lines.append(f"{source}: too few patients ({patients}) for {' and '.join(empty)}; a new task needs three")
    return lines


def shard_folder(source: str, layout: str) -> str:
    """Where a source's shards of a layout lie in the store."""
    return f"shards/{source}/{layout}"


def index_key(source: str, layout: str) -> str:
    """Where their index lies."""
    return f"{shard_folder(source, layout)}/index.json"


def prepare_command(sources: Sequence[str], url: str, options: str) -> str:
    """What to type to have sources written to a store; what only a person knows is in capitals."""
    return f"`histoseg prepare {' '.join(sources)} --raw FOLDER --store {url} {options}`"


def layout_options(layout: str) -> str:
    """The options of `histoseg prepare` that give a layout; one with folds only an experiment that reads it gives."""
    plain = re.fullmatch(r"(\d+)px", layout)
    return f"--patch-px {plain[1]}" if plain else "--experiment NAME --scale SCALE"


def rewrite_command(source: str, url: str, layout: str) -> str:
    """What to type to have a source's shards written once more, whatever is there."""
    return prepare_command([source], url, f"{layout_options(layout)} --rewrite")


def encode(index: dict[str, Any]) -> bytes:
    """The index as the bytes that are stored: the same content always gives the same bytes."""
    return json.dumps(index, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def describe(task: Task, made: dict[str, Any], parts: list[dict[str, Any]]) -> bytes:
    """The index of shards written one by one.

    Args:
        task: The source's task.
        made: How they were made: `origin`, `layout`, `tile_px` and `options`.
        parts: In order, each `{"shard": ..., "samples": ...}`.
    """
    columns: dict[str, list[Any]] = {column.name: [] for column in fields(Samples)}
    for number, part in enumerate(parts):
        for name, column in columns.items():
            column.extend([number] * part["shard"]["num_samples"] if name == "shard" else part["samples"][name])
    content = {
        "format": FORMAT,
        "task": asdict(task),
        **made,
        "shards": [part["shard"] for part in parts],
        "samples": columns,
        "patients": {
            split: sorted({p for part in parts if part["shard"]["split"] == split for p in part["samples"]["patient"]})
            for split in dict.fromkeys(part["shard"]["split"] for part in parts)
        },
    }
    return encode(content)


def open_index(store: Store, source: str, layout: str) -> SourceIndex:
    """The index of a source.

    Raises:
        DataError: If the source was never prepared here, or its index is damaged or of another format.
    """
    key = index_key(source, layout)
    if store.size(key) is None:
        how = prepare_command([source], store.url, layout_options(layout))
        raise DataError(f"{store.url} has no shards of {source} laid out as {layout}; write them: {how}")
    body = store.get(key)
    try:
        return _decode(body)
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        again = f"write it again: {rewrite_command(source, store.url, layout)}"
        raise DataError(f"{store.url}/{key} is no index of format {FORMAT} ({error}); {again}") from error


def _decode(body: bytes) -> SourceIndex:
    content = json.loads(body)
    if content["format"] != FORMAT:
        raise ValueError(f"found format {content['format']}")
    samples = Samples(**content["samples"])
    if len({len(getattr(samples, column.name)) for column in fields(Samples)}) != 1:
        raise ValueError("its columns differ in length")
    return SourceIndex(
        task=Task(**{**content["task"], "classes": tuple(content["task"]["classes"])}),
        origin=content["origin"],
        layout=content["layout"],
        tile_px=content["tile_px"],
        options=content["options"],
        shards=tuple(Shard(**shard) for shard in content["shards"]),
        samples=samples,
        checksum=hashlib.sha256(body).hexdigest(),
    )
