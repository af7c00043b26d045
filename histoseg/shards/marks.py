"""The mark of a shard: a name for all that its bytes depend on, by which an unchanged shard is recognised."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from histoseg.runs.plain import digest, non_default
from histoseg.shards.stored import FORMAT
from histoseg.types import Split, Task

Stamp = tuple[str, str, int, int]  # Role, path below the raw folder, bytes, time of the last change in nanoseconds
# How a source is shown and used; the bytes of its shards do not depend on these fields.
NOT_STORED = ("title", "structure", "year", "reserve")
FIELDS_OF_FORMAT_2 = ("name", "title", "classes", "mpp", "licence", "kind", "structure", "label_map_version")


@dataclass(frozen=True, kw_only=True)
class ShardContent:
    """All that the bytes of a shard depend on. A new field has a default, so that the marks of old shards stay.

    Attributes:
        number: Position among the shards of its split.
        tile_px: Smallest side of a tile of a larger image.
        inputs: Key, patient and raw files of each entry.
        mpp: Microns per pixel to which images are resampled; 0 keeps them as published.
    """

    task: Task
    split: Split
    number: int
    tile_px: int
    inputs: tuple[tuple[str, str, tuple[Stamp, ...]], ...]
    mpp: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)


def shard_mark(content: ShardContent) -> str:
    """The mark of a shard with that content."""
    task = {name: value for name, value in non_default(content.task).items() if name not in NOT_STORED}
    return digest([FORMAT, {**non_default(content), "task": task}])


def shard_mark_of_format_2(content: ShardContent) -> str:
    """The mark that the version before gave the same shard, so that shards of its stores are kept."""
    task = {name: getattr(content.task, name) for name in FIELDS_OF_FORMAT_2}
    how = [content.tile_px, content.mpp, dict(content.options)]
    return digest([2, task, content.split, content.number, *how, content.inputs])
