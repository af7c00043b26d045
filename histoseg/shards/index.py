"""index.json: what the shards of a source hold, so that each sample is one range of bytes away.

Samples are stored by column: a million of them are 128 MB of JSON, read in seconds (benchmarks/growth.py).
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from shlex import quote

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json

from histoseg.errors import ConfigError, DataError
from histoseg.shards.stored import FORMAT, NEWER, IndexFile, Origin, Samples, Shard, ShardColumns, ShardPart, Unreadable
from histoseg.store.keys import index_key, shard_folder
from histoseg.store.objects import Store
from histoseg.types import EXTERNAL, FOLDS, SPLITS, Split, Task

MAX_NAMED = 10  # More keys than this make a message hard to read.
ALL_SPLITS: tuple[Split, ...] = (*SPLITS, *FOLDS, EXTERNAL)


@dataclass(frozen=True, kw_only=True)
class SourceIndex:
    """What the shards of one source hold.

    Attributes:
        origin: "demo" if this program drew the raw files, else "raw".
        layout: The name of the way in which these shards are stored (`Data.layout`).
        tile_px: Smallest side of a tile of a larger image.
        options: The reader's options, for example how raters were consolidated.
        checksum: SHA-256 that stands for all that a run reads: every shard's bytes and split, and the structure.
        unreadable: Images that the shards lack because they could not be read.
        notes: What reading the files left out or changed, and how often.
    """

    task: Task
    origin: Origin
    layout: str
    tile_px: int
    options: dict[str, str]
    shards: tuple[Shard, ...]
    samples: Samples
    checksum: str
    unreadable: tuple[Unreadable, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The folder of the shards in their store."""
        return shard_folder(self.task.name, self.layout)

    @cached_property
    def split_rows(self) -> dict[Split, np.ndarray]:
        """The rows of each split, int64, in stored order."""
        split_of = np.array([ALL_SPLITS.index(shard.split) for shard in self.shards], dtype=np.int8)
        by_row = split_of[np.asarray(self.samples.shard, dtype=np.int64)]
        return {split: np.flatnonzero(by_row == number) for number, split in enumerate(ALL_SPLITS)}

    def rows(self, *splits: Split) -> np.ndarray:
        """The rows of some splits, or of all if no split is named; int64, in stored order."""
        chosen = [self.split_rows[split] for split in splits or ALL_SPLITS]
        return chosen[0].copy() if len(chosen) == 1 else np.sort(np.concatenate(chosen))

    def class_pixels(self, *splits: Split) -> np.ndarray:
        """Pixels of each class over some splits, int64."""
        return np.asarray(self.class_pixels_of(self.rows(*splits)).sum(axis=0), dtype=np.int64)

    def class_pixels_of(self, rows: np.ndarray) -> np.ndarray:
        """Pixels of each class in each of some rows, int64 (rows, classes)."""
        counts = np.asarray(self.samples.class_pixels, dtype=np.int64).reshape(-1, self.task.num_classes)
        return np.asarray(counts[rows])

    @property
    def images_with_objects(self) -> dict[Split, int]:
        """How many images of each split have at least one object."""
        images, objects = np.asarray(self.samples.image), np.asarray(self.samples.num_objects)
        return {split: len(np.unique(images[rows][objects[rows] > 0])) for split, rows in self.split_rows.items()}

    @property
    def has_untyped_objects(self) -> bool:
        """Whether there are objects, but no class is known of any."""
        return any(self.samples.num_objects) and not self.class_pixels()[1:].any()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of a table must know about this source."""
        left_out = (f"{self.task.name}: {self.say_unreadable()}",) if self.unreadable else ()
        return (*left_out, *self._warnings_of_classes())

    def say_unreadable(self) -> str:
        """How many images could not be read, and which."""
        total = len(self.unreadable) + len(set(self.samples.image))
        keys = [one.key for one in self.unreadable[:MAX_NAMED]]
        more = f" and {len(self.unreadable) - MAX_NAMED} more" if len(self.unreadable) > MAX_NAMED else ""
        return f"{len(self.unreadable)} of {total} images could not be read and are left out: {', '.join(keys)}{more}"

    def _warnings_of_classes(self) -> tuple[str, ...]:
        seen = [self.task.classes[i] for i in np.flatnonzero(self.class_pixels())]
        if len(seen) > 1:
            return ()
        if self.has_untyped_objects:
            return (f"{self.task.name}: its {sum(self.samples.num_objects)} objects have no class, so none is learnt",)
        found = ", ".join(seen) or "IGNORE"
        doubt = f"{self.task.name}: every labelled pixel is {found}"
        return (f"{doubt}; check the masks and which class each value stands for",)


def prepare_command(sources: Sequence[str], url: str, options: str) -> str:
    """The command that writes sources to a store; what only a person knows is in capitals."""
    return f"`histoseg prepare {' '.join(sources)} --raw FOLDER --store {url} {options}`"


def size_option(layout: str) -> str:
    """The option of `histoseg prepare` that gives a layout by its size; empty if an experiment must read it."""
    plain = re.fullmatch(r"(\d+)px", layout)
    return f"--patch-px {plain[1]}" if plain else ""


def layout_options(layout: str) -> str:
    """The options of `histoseg prepare` that give a layout."""
    return size_option(layout) or "--experiment NAME --scale SCALE"


def rewrite_command(source: str, url: str, layout: str, options: Mapping[str, str] | None = None) -> str:
    """The command that writes a source's shards again, even those that are there, by the same options of its reader."""
    given = "".join(f" --option {quote(f'{name}={value}')}" for name, value in (options or {}).items())
    return prepare_command([source], url, f"{layout_options(layout)}{given} --rewrite")


def encode_index(
    task: Task, parts: Sequence[ShardPart], *, origin: Origin, layout: str, tile_px: int, options: Mapping[str, str]
) -> bytes:
    """The index of shards written one by one, as stored: the same content always gives the same bytes."""
    columns = {
        name: list(chain.from_iterable(getattr(part.samples, name) for part in parts))
        for name in ShardColumns.model_fields
    }
    numbers = [number for number, part in enumerate(parts) for _ in part.samples.key]
    patients: dict[Split, set[str]] = {}
    for part in parts:
        patients.setdefault(part.shard.split, set()).update(part.samples.patient)
    notes: Counter[str] = Counter()
    for part in parts:
        notes.update(part.notes)
    content = IndexFile.model_construct(  # Parts were checked when they were made.
        format=FORMAT,
        task=task,
        origin=origin,
        layout=layout,
        tile_px=tile_px,
        options=dict(sorted(options.items())),
        shards=tuple(part.shard for part in parts),
        samples=Samples.model_construct(None, **columns, shard=numbers),
        patients={split: sorted(names) for split, names in patients.items()},
        unreadable=tuple(chain.from_iterable(part.unreadable for part in parts)),
        notes=dict(sorted(notes.items())),
    )
    return content.model_dump_json(exclude_defaults=True).encode() + b"\n"


def open_index(store: Store, source: str, layout: str) -> SourceIndex:
    """The index of a source.

    Raises:
        DataError: If the source was never prepared here, or its index is damaged or of a format that cannot be read.
    """
    key = index_key(source, layout)
    if store.size(key) is None:
        how = prepare_command([source], store.url, layout_options(layout))
        raise DataError(f"{store.url} has no shards of {source} laid out as {layout}; write them: {how}")
    try:
        content = IndexFile.model_validate(from_json(store.get(key), cache_strings="keys"))
    except (ValueError, ConfigError) as error:
        again = rewrite_command(source, store.url, layout)
        raise DataError(f"{store.url}/{key} {_explain(error, again)}") from error
    return SourceIndex(
        task=content.task,
        origin=content.origin,
        layout=content.layout,
        tile_px=content.tile_px,
        options=content.options,
        shards=content.shards,
        samples=content.samples,
        checksum=_checksum(content),
        unreadable=content.unreadable,
        notes=content.notes,
    )


def _checksum(content: IndexFile) -> str:
    """What the shards' own checksums do not cover is added: their splits, and the structure that they teach."""
    read = [content.task.structure, [[shard.split, shard.sha256] for shard in content.shards]]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()


def _explain(error: ValueError | ConfigError, again: str) -> str:
    """Why an index cannot be read, and what to do."""
    if not isinstance(error, ValidationError):
        return f"is not an index of format {FORMAT} ({error}); write it again: {again}"
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    newer = [fault for fault in faults if fault["type"] in NEWER]
    fault = (newer or faults)[0]
    reason = ": ".join([".".join(map(str, fault["loc"])) or "content", fault["msg"]])
    if newer:
        return f"was written by a newer version of histoseg ({reason}); update histoseg to read it"
    return f"is not an index of format {FORMAT} ({reason}); write it again: {again}"
