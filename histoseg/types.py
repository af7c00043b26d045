"""The values that travel between layers. They hold NumPy arrays; only models and methods know torch."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from histoseg.errors import ConfigError
from histoseg.structures import GROUP, is_structure, structures

# Either the three splits of a source on its own, or the folds of all sources together and what lies outside of them.
Split = Literal["train", "val", "test", "fold1", "fold2", "fold3", "external"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
FOLDS: tuple[Split, ...] = ("fold1", "fold2", "fold3")
EXTERNAL: Split = "external"

Kind = Literal["semantic", "instance", "patch", "boxes"]

IGNORE = 255  # The label of pixels that neither loss nor metric may count.
# Microns per pixel of slides: scanners are within 0.1 and 4. Beyond, a unit was mistaken, and images would be resampled
# to a thousandth or a thousandfold of their pixels.
CREDIBLE_MPP = (0.05, 5.0)
# Smaller differences of resolution are ignored: 0.495 µm/px (Kather5K) counts as 0.5, and every interpolation blurs.
MPP_TOLERANCE = 0.025
MAP_IT = "correct the mask"
DEMO_RESERVE = 9  # `Task.reserve` of drawn images
KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]+")  # WebDataset splits names at the first dot, so keys have none.

Image = UInt8[np.ndarray, "H W 3"]
SemanticMap = UInt8[np.ndarray, "H W"]
InstanceMap = Int32[np.ndarray, "H W"]


def _list(choices: Iterable[str]) -> str:
    return ", ".join(map(repr, choices))


def is_credible_mpp(mpp: float) -> bool:
    """Whether a slide may have that resolution, in microns per pixel; not NaN."""
    low, high = CREDIBLE_MPP
    return low <= mpp <= high


def say_credible_mpp() -> str:
    """The range of resolutions, for messages."""
    low, high = CREDIBLE_MPP
    return f"between {low:g} and {high:g} microns per pixel"


def say_labels(num_classes: int) -> str:
    """Which labels a semantic map may have and what to do about others, for messages."""
    return f"expected 0 to {num_classes - 1}, or {IGNORE} for not labelled; {MAP_IT}"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A source plus what to predict from it.

    Attributes:
        name: The source's public name, which is also its file name.
        title: The name the field knows it by, for tables.
        classes: Class names; the position is the integer in the semantic map.
        mpp: Microns per pixel at which the source publishes its images, within CREDIBLE_MPP.
        licence: The terms its authors state.
        kind: What is annotated: classes of pixels, objects with classes, one class for a whole image, or boxes around
            objects.
        structure: The structure that its labels teach, see `histoseg.structures`; empty for classes of pixels and for
            boxes.
        label_map_version: Raised whenever the same raw file would give another map.
        year: When the data set was published, which is its place in lists; 0 if it was not.
        reserve: Sources of the same structure with a higher number are only used where none with a lower number is
            prepared. Of None, as a lab's own data have, they are used beside whichever of those are. Drawn images, of
            DEMO_RESERVE, are never used beside real ones.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    mpp: float
    licence: str
    kind: Kind = "semantic"
    structure: str = ""
    label_map_version: int = 1
    year: int = 0
    reserve: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"task {self.name}: kind is {self.kind!r}; choose from {_list(get_args(Kind))}")
        if self.structure and not is_structure(self.structure):
            choices = f"choose from {_list(['', *structures()])}, or declare it in the entry-point group {GROUP}"
            raise ConfigError(f"task {self.name}: structure is {self.structure!r}; {choices}")
        if isinstance(self.mpp, bool) or not isinstance(self.mpp, float | int) or not is_credible_mpp(self.mpp):
            raise ConfigError(f"task {self.name}: mpp is {self.mpp!r}; it must be {say_credible_mpp()}")
        are_names = isinstance(self.classes, tuple) and all(isinstance(name, str) for name in self.classes)
        if not are_names or not 2 <= len(set(self.classes)) == len(self.classes) <= IGNORE:
            rule = f"a tuple of 2 to {IGNORE} different names, as ('background', 'gland')"
            raise ConfigError(f"task {self.name}: classes is {self.classes!r}; it must be {rule}")

    @property
    def num_classes(self) -> int:
        """How many classes a head of this task predicts."""
        return len(self.classes)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One annotated image as found on disk, not yet read.

    Attributes:
        key: Stable unique name, made of letters, digits, `_` and `-`.
        patient: The patient, or the key itself where file names do not say. Unique within the source.
        person: The patient by a name that other sources also use, such as a TCGA barcode; empty if unknown.
        files: The raw files this entry is read from, by role ("image", "annotation", ...).
        options: What else the reader needs, as plain values.
        fold: The part of cross-validation that the source's authors put it in, or None if they do not say.
        same_as: The same tissue in other sources, as "source/key", where names say so.
    """

    key: str
    patient: str
    files: Mapping[str, Path]
    options: Mapping[str, Any] = field(default_factory=dict)
    person: str = ""
    fold: Split | None = None
    same_as: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Boxes around objects, in pixels of an image; those of a part of an image may reach beyond it.

    Attributes:
        corners: Left, top, right and bottom. The upper left corner of the image is 0, its width the right border.
        classes: The class of each box, from 1 on.
    """

    corners: Float32[np.ndarray, "N 4"]
    classes: UInt8[np.ndarray, " N"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One annotated image with its maps.

    Attributes:
        semantic_map: The class of each pixel; where objects are annotated, the class of the object it belongs to, or of
            the box that it lies in; where the whole image has one class, that class everywhere.
        mpp: Microns per pixel.
        instance_map: Which object each pixel belongs to, 0 = none; None where no outlines of objects are annotated.
        boxes: None where no boxes are annotated.
    """

    key: str
    patient: str
    image: Image
    semantic_map: SemanticMap
    mpp: float
    instance_map: InstanceMap | None = None
    boxes: Boxes | None = None


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Training patches of one or several tasks."""

    images: UInt8[np.ndarray, "B H W 3"]  # RGB as stored, not normalised
    semantic_maps: UInt8[np.ndarray, "B H W"]  # Class ids, with IGNORE where nothing is known
    tasks: tuple[str, ...]  # The task that owns each patch
    keys: tuple[str, ...]  # Where each patch was cut from

    def parts(self, size: int) -> "Iterator[Patches]":
        """Consecutive parts of at most `size` patches, for what would not fit into memory at once; 0 means all."""
        whole = len(self.tasks)
        step = size or max(1, whole)
        for start in range(0, whole, step):
            chosen = slice(start, start + step)
            yield Patches(
                images=self.images[chosen],
                semantic_maps=self.semantic_maps[chosen],
                tasks=self.tasks[chosen],
                keys=self.keys[chosen],
            )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """This rank's share of one optimiser step, which has `global_size` patches over all ranks."""

    patches: Patches
    global_size: int

    @property
    def keys(self) -> tuple[str, ...]:
        return self.patches.keys


@dataclass(frozen=True, kw_only=True)
class ViewBatch:
    """This rank's share of a step of contrastive learning, which has `global_size` pairs over all ranks.

    Attributes:
        first, second: Two views of one place each, RGB as stored.
        numbers: Which of the step's pairs they are.
        keys: Where each pair was cut from.
    """

    first: UInt8[np.ndarray, "B P P 3"]
    second: UInt8[np.ndarray, "B P P 3"]
    numbers: Int64[np.ndarray, " B"]
    keys: tuple[str, ...]
    global_size: int


@dataclass(frozen=True, kw_only=True)
class BoxBatch:
    """This rank's share of a step that learns boxes, which has `global_size` patches over all ranks.

    Attributes:
        images: RGB as stored.
        boxes: What each patch shows of objects, cut at its border.
        hidden: Objects that are mostly cut off, likewise.
        keys: Where each patch was cut from.
    """

    images: UInt8[np.ndarray, "B H W 3"]
    boxes: tuple[Boxes, ...]
    hidden: tuple[Boxes, ...]
    keys: tuple[str, ...]
    global_size: int


def _no_maps() -> Float32[np.ndarray, "0 0 0"]:
    return np.zeros((0, 0, 0), np.float32)


def _no_maps_of_patches() -> Float32[np.ndarray, "0 0 0 0"]:
    return np.zeros((0, 0, 0, 0), np.float32)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What to predict for one structure in one patch, or in the middle of it.

    Attributes:
        classes: 0 background, 1 inside an object; the network says what others are.
        weights: What each pixel's loss is multiplied by, at least 1.
        maps: Numbers that are predicted besides classes, E of them for each pixel; none for most networks.
    """

    classes: UInt8[np.ndarray, "H W"]
    weights: Float32[np.ndarray, "H W"]
    maps: Float32[np.ndarray, "E _ _"] = field(default_factory=_no_maps)


@dataclass(frozen=True, kw_only=True)
class MixedBatch:
    """This rank's share of a step of several structures: patches of one size, those of one structure together.

    What a patch teaches is as large as the patch, or as that part in its middle which the network predicts.

    Attributes:
        images: RGB as stored.
        classes: What the decoder of each patch's structure learns, see `Target`; for tissue, the class of the whole
            patch as a map of one pixel.
        weights: What each pixel counts; 0 where nothing is known.
        types: The class of each pixel's object; IGNORE where it is not known.
        structures: The structure that each patch is annotated with.
        keys: Where each patch was cut from.
        seeds: A random stream of each patch's own.
        counts: Patches of each structure in the step, over all ranks.
        maps: Numbers that are learnt besides classes, of each patch, see `Target`; empty for most networks.
    """

    images: UInt8[np.ndarray, "B H W 3"]
    classes: UInt8[np.ndarray, "B P Q"]
    weights: Float32[np.ndarray, "B P Q"]
    types: UInt8[np.ndarray, "B P Q"]
    structures: tuple[str, ...]
    keys: tuple[str, ...]
    seeds: tuple[int, ...]
    counts: Mapping[str, int]
    maps: Float32[np.ndarray, "_ E _ _"] = field(default_factory=_no_maps_of_patches)

    def owned(self, structure: str) -> slice:
        """The place of a structure's patches."""
        first = self.structures.index(structure) if structure in self.structures else 0
        return slice(first, first + self.structures.count(structure))


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One task's support and query, drawn together, never the same image in both."""

    task: str
    support: Patches
    query: Patches


@dataclass(frozen=True, kw_only=True)
class MetaBatch:
    """This rank's episodes of one outer step, which has `global_size` episodes over all ranks."""

    episodes: tuple[Episode, ...]
    global_size: int

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key for one in self.episodes for key in (*one.support.keys, *one.query.keys))


@runtime_checkable
class StepBatch(Protocol):
    """This rank's share of a step of any method."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The stored samples that the patches were cut from."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a process stands among those that train together."""

    rank: int = 0
    world_size: int = 1
