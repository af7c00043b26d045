"""What lies in a store as JSON: the index of a source, and the part of it that each shard adds."""

from collections.abc import Mapping, Sized
from dataclasses import fields
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator
from pydantic_core import PydanticCustomError

from histoseg.runs.plain import non_default
from histoseg.types import Split, Task

FORMAT = 3  # Raised when the same raw files would give other shards, or an index that this version cannot read.
READABLE = (2, FORMAT)  # Format 2 stores every field of the task; format 3 only those that differ from their defaults.
# Pydantic's type for fields that this version does not know, and ours for formats: both mean a newer version.
NEWER = UNKNOWN_FIELD, NEWER_FORMAT = "extra_forbidden", "newer_format"

Origin = Literal["demo", "raw"]
StoredBox = list[float]


class Stored(BaseModel):
    """A value stored as JSON; fields that this version does not know are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(Stored):
    """One tar: its object name below the source's folder, and what makes it whole."""

    name: str
    split: Split
    sha256: str
    num_bytes: int
    num_samples: int


class ShardColumns(Stored):
    """Columns of equal length; row i is one sample of a shard: an image, or a tile of a large one.

    Attributes:
        key: Stable unique name, and the name of the sample's members in the tar.
        image: The key of the whole image; equal to `key` unless the image was cut into tiles.
        top, left: Position of the tile in the whole image, in pixels.
        height, width: Size of the sample in pixels.
        image_offset, map_offset, instance_offset: Where the pixels of the image, the semantic map (1 byte each) and the
            instance map (2 bytes each, little-endian) begin in the tar, in bytes; -1 where there is no such map.
        class_pixels: Pixels of each class, without those labelled IGNORE.
        num_objects: Objects in the instance map, or boxes whose centre lies in the sample.
        boxes: The boxes that share some area with the sample, each as left, top, right, bottom in pixels of the whole
            image, and its class; without any entry where no boxes are annotated.
    """

    key: list[str]
    image: list[str]
    patient: list[str]
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
    boxes: list[list[StoredBox]] = []

    @model_validator(mode="after")
    def _equal_lengths(self) -> "ShardColumns":
        if not _agree({name: getattr(self, name) for name in type(self).model_fields}):
            raise ValueError("columns differ in length")
        return self


def _agree(columns: Mapping[str, Sized]) -> bool:
    """Whether columns have equal lengths; that of boxes may be empty."""
    return len({len(column) for name, column in columns.items() if column or name != "boxes"}) <= 1


class Samples(ShardColumns):
    """The samples of all shards; `shard` is the position of each one's shard in the index."""

    shard: list[int]


class Unreadable(Stored):
    """An image that is not in the shards because it could not be read.

    Attributes:
        key: Of its entry.
        file: Its path when it was read.
        reason: One line with the path.
        trace: The traceback where a program's exception was the reason; for the log, it is not stored.
    """

    key: str
    file: str
    reason: str
    trace: str = Field(default="", exclude=True)


class ShardPart(Stored):
    """The part of an index that one shard adds.

    Attributes:
        unreadable: Entries of the shard that it lacks.
        notes: What reading its files left out or changed, and how often (`histoseg.files.notes`).
        reader: Digest of the code that read the raw files; empty in parts that were written before there was one.
        gists: What each sample looks like, see `histoseg.shards.gists`; empty likewise, for folds and for tiles with
            one class.
    """

    shard: Shard
    samples: ShardColumns
    unreadable: tuple[Unreadable, ...] = ()
    notes: dict[str, int] = {}
    reader: str = ""
    gists: list[str] = []

    def to_json(self) -> bytes:
        """As stored: what is empty is left out, as versions wrote it that did not have it."""
        return self.model_dump_json(exclude_defaults=True).encode()


class IndexFile(Stored):
    """The content of index.json; `patients` of each split are for people who read it.

    `unreadable` and `notes` are those of all shards together.
    """

    format: int
    task: Task
    origin: Origin
    layout: str
    tile_px: int
    options: dict[str, str]
    shards: tuple[Shard, ...]
    samples: Samples
    patients: dict[Split, list[str]]
    unreadable: tuple[Unreadable, ...] = ()
    notes: dict[str, int] = {}

    @field_validator("format")
    @classmethod
    def _readable(cls, value: int) -> int:
        if value > FORMAT:
            raise PydanticCustomError(NEWER_FORMAT, "found {found}", {"found": value})
        if value not in READABLE:
            raise ValueError(f"found {value}")
        return value

    @field_serializer("task")
    def _short(self, task: Task) -> dict[str, object]:
        return non_default(task)

    @field_validator("samples", mode="before")
    @classmethod
    def _trust_values(cls, value: object) -> object:
        """Complete columns are taken as they are: checking millions of values takes as long as reading them."""
        if not isinstance(value, dict) or {*value, "boxes"} != set(Samples.model_fields):
            return value
        are_lists = all(isinstance(column, list) for column in value.values())
        return Samples.model_construct(None, **value) if are_lists and _agree(value) else value

    @field_validator("task", mode="before")
    @classmethod
    def _known_fields(cls, value: Mapping[str, object]) -> Mapping[str, object]:
        if unknown := set(value) - {field.name for field in fields(Task)}:
            raise PydanticCustomError(UNKNOWN_FIELD, "unknown field {name}", {"name": min(unknown)})
        return value
