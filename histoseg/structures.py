"""Structures: what a network finds in tissue. One row each holds all numbers and words that depend on the structure.

Decoders, targets, post-processing, Otsu's baseline, exports and overlays read them here. Another distribution adds a
structure by an entry point of the same name as the structure:

    [project.entry-points."histoseg.structures"]
    vessel = "our_lab:VESSEL"        # VESSEL = Structure(name="vessel", singular="vessel", plural="vessels")
"""

import re
import sys
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Literal

from histoseg.errors import ConfigError

GROUP = "histoseg.structures"
TISSUE = "tissue"
# Those of the published Cerberus; the paper has no list.
TISSUE_CLASSES = (
    "background",
    "abnormal_epithelium",
    "normal_epithelium",
    "inflammatory",
    "muscle",
    "stroma",
    "debris",
    "mucous",
    "adipose",
)
MPP = 0.5  # Graham et al. 2023 (Cerberus): all is trained and predicted at 0.5 microns per pixel.
LEAST_ELEMENT_PX = 3  # A smaller element erodes nothing.
# The standard library's class, or that of importlib_metadata, which takes its place once a package such as MLflow has
# imported it.
_EntryPoint = Any
RESERVED = ("mask", "objects", "overlay", "summary", "thumbnail")  # Files of these names lie beside <structure>.png.


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Objects are connected pixels that are probably inside of one, dilated by what erosion took from them."""

    threshold: float = 0.5  # Pixels whose probability is above it count
    min_px: int = 150  # Pieces of fewer pixels are dropped
    element_px: int = 3  # Size of the ellipse by which the others are dilated

    def scaled(self, factor: float) -> "Growth":
        """The same where lengths have so many times as many pixels."""
        return replace(self, min_px=_area(self.min_px, factor), element_px=_length(self.element_px, factor))


@dataclass(frozen=True, kw_only=True)
class Flood:
    """Objects are the basins of a watershed of the inner probability, which starts from markers."""

    mask_threshold: float = 0.5  # Pixels whose inner and contour probabilities add up to more are flooded,
    mask_element_px: int = 3  # eroded by an ellipse of this size,
    mask_min_px: int = 8  # as far as they form pieces of as many pixels
    marker_threshold: float = 0.5  # Markers are pixels with a higher inner probability,
    marker_min_px: int = 4  # as far as they form pieces of as many pixels

    def scaled(self, factor: float) -> "Flood":
        """The same where lengths have so many times as many pixels."""
        return replace(
            self,
            mask_element_px=_length(self.mask_element_px, factor),
            mask_min_px=_area(self.mask_min_px, factor),
            marker_min_px=_area(self.marker_min_px, factor),
        )


def _length(element_px: int, factor: float) -> int:
    return max(min(element_px, LEAST_ELEMENT_PX), round(element_px * factor))


def _area(min_px: int, factor: float) -> int:
    return max(1, round(min_px * factor**2))


@dataclass(frozen=True, kw_only=True)
class Separation:
    """How touching objects are kept apart: eroded in a target, and made whole again after prediction.

    The defaults are the numbers of lumina, of medium size. They hold at 0.5 microns per pixel, so with another `mpp`
    state all of them, or begin with `Separation().at(mpp)`.

    Attributes:
        mpp: Microns per pixel at which the other numbers hold.
        element_px: Size of the ellipse by which objects are eroded in a target.
        without_contour: How objects are made of two classes, background and inner.
        with_contour: How objects are made of three classes, with the contour as the third.
    """

    mpp: float = MPP
    element_px: int = 3
    without_contour: Growth = Growth()
    with_contour: Growth | Flood = Growth(element_px=2)

    def at(self, mpp: float) -> "Separation":
        """The same in pixels of another size; 0 stands for an unknown one and changes nothing."""
        if mpp in (0.0, self.mpp):
            return self
        factor = self.mpp / mpp
        return Separation(
            mpp=mpp,
            element_px=_length(self.element_px, factor),
            without_contour=self.without_contour.scaled(factor),
            with_contour=self.with_contour.scaled(factor),
        )


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What one decoder of a network finds.

    Attributes:
        name: The name of the decoder and of exported files, and what a task states as its `structure`.
        singular, plural: What one and several objects are called.
        kind: Whether objects are annotated, or one class for a whole patch.
        separation: How touching objects are kept apart.
        within: The structure that its objects lie within; what a network finds elsewhere is dropped.
        is_bright: Whether objects are brighter than what surrounds them, for Otsu's baseline.
        blur_um: How far the image is blurred for that baseline, in microns: about the size of details within an object.
        colour: How objects without a class are drawn, as "#RRGGBB"; empty takes a colour that nothing else has.
        outline_px: How wide outlines are drawn, without the edge that makes them visible on any tissue.
        object_type: What an object is in QuPath: a detection, made for millions of objects, or an annotation.
    """

    name: str
    singular: str
    plural: str
    kind: Literal["objects", "patch"] = "objects"
    separation: Separation = Separation()
    within: str = ""
    is_bright: bool = False
    blur_um: float = 1.0
    colour: str = ""
    outline_px: int = 2
    object_type: Literal["annotation", "detection"] = "annotation"

    def __post_init__(self) -> None:
        is_name = re.fullmatch(r"[a-z][a-z0-9_]*", self.name) and not self.name.endswith("_type")
        rule = f"lower-case letters, digits and _, but not end in _type or be one of {', '.join(RESERVED)}"
        self._require(bool(is_name) and self.name not in RESERVED, "name", rule)
        self._require(self.kind in ("objects", "patch"), "kind", "'objects' or 'patch'")
        has_sizes = self.separation.mpp > 0 and self.separation.element_px > 0
        self._require(has_sizes, "separation", "of sizes above 0")
        self._require(self.blur_um > 0, "blur_um", "above 0")
        self._require(re.fullmatch(r"|#[0-9a-fA-F]{6}", self.colour) is not None, "colour", "empty or as '#D55E00'")
        self._require(self.outline_px >= 1, "outline_px", "1 or more")
        is_known = self.object_type in ("annotation", "detection")
        self._require(is_known, "object_type", "'annotation' or 'detection'")

    def _require(self, claim: bool, field: str, rule: str) -> None:
        if not claim:
            raise ConfigError(f"structure {self.name!r}: {field} = {getattr(self, field)!r}: must be {rule}")

    @property
    def type_decoder(self) -> str:
        """The name of the decoder for the classes of its objects, which a network may have."""
        return f"{self.name}_type"


# Separation: the code published with Cerberus (Graham et al. 2023); the paper has no numbers. With contours, targets of
# glands are eroded by 11 pixels but grow by 10, so not all comes back, and an even element grows more to the right and
# down.
BUILT_IN = (
    Structure(
        name="gland",
        singular="gland",
        plural="glands",
        separation=Separation(
            element_px=11,
            without_contour=Growth(min_px=1500, element_px=11),
            with_contour=Growth(threshold=0.55, min_px=1000, element_px=10),
        ),
        blur_um=4.0,
        outline_px=3,
    ),
    Structure(
        name="lumen",
        singular="lumen",
        plural="lumina",
        within="gland",  # Published code
        is_bright=True,
    ),
    Structure(
        name="nuclei",
        singular="nucleus",
        plural="nuclei",
        separation=Separation(without_contour=Growth(min_px=8), with_contour=Flood()),
        blur_um=0.5,
        outline_px=1,
        object_type="detection",
    ),
    Structure(name=TISSUE, singular="tissue", plural="tissue", kind="patch"),
)


def structures() -> Mapping[str, Structure]:
    """Every structure by name: the built-in ones, then those of other distributions, sorted.

    Raises:
        ConfigError: If an entry point cannot be used; the text names it and its distribution.
    """
    return _registry(tuple(sys.path))  # Installed distributions change only with the path.


def structure(name: str) -> Structure:
    """The structure of that name."""
    if name not in structures():
        raise ConfigError(f"no {name!r} in structures; choose from {', '.join(structures())}, or declare it ({GROUP})")
    return structures()[name]


def structure_of_objects(name: str) -> Structure:
    """The structure of that name, if it is one of objects."""
    choices = {row.name: row for row in structures().values() if row.kind == "objects"}
    if name not in choices:
        raise ValueError(f"no objects in {name!r}; choose from {', '.join(choices)}")
    return choices[name]


def is_structure(name: str) -> bool:
    """Whether there is a structure of that name; entry points are read only if it is not built in."""
    return any(row.name == name for row in BUILT_IN) or any(row.name == name for row in structures().values())


def enclosing(name: str) -> tuple[str, ...]:
    """The structures that the objects of one lie within, the innermost first."""
    return _enclosing(name, structures())


def chosen_of(available: Container[str], chosen: Collection[str]) -> tuple[str, ...]:
    """The chosen structures that are available, in the order of all structures; all of these if none is chosen."""
    return tuple(name for name in structures() if name in available and (not chosen or name in chosen))


def with_enclosing(names: Iterable[str], available: Container[str]) -> tuple[str, ...]:
    """Some structures and those that they lie within, as far as these are available; the outermost first."""
    wanted = list(names)
    outer = [around for name in wanted for around in enclosing(name) if around in available]
    order = list(structures())
    return tuple(sorted({*wanted, *outer}, key=lambda name: (len(enclosing(name)), order.index(name))))


def _enclosing(name: str, rows: Mapping[str, Structure]) -> tuple[str, ...]:
    found: list[str] = []
    while (name := rows[name].within) and name not in found:
        found.append(name)
    return tuple(found)


@cache
def _registry(path: tuple[str, ...]) -> Mapping[str, Structure]:  # noqa: ARG001  # the key of the cache
    rows = {row.name: row for row in BUILT_IN}
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    for point in points:
        declared = _load(point)
        if declared.name in rows:
            raise ConfigError(
                f"{_where(point)} declares {declared.name!r} again; choose a name other than {', '.join(rows)}"
            )
        rows[declared.name] = declared
    for point in points:
        _check_within(rows[point.name], rows, _where(point))
    return MappingProxyType(rows)


def _load(point: _EntryPoint) -> Structure:
    try:
        declared = point.load()
    except Exception as error:  # The module may be of any distribution and raise anything.
        reason = " ".join(str(error).split())
        raise ConfigError(f"{_where(point)} cannot be loaded ({type(error).__name__}: {reason}); correct it") from error
    if not isinstance(declared, Structure):
        raise ConfigError(f"{_where(point)} is of type {type(declared).__name__}; it must be a histoseg Structure")
    if declared.name != point.name:
        raise ConfigError(f"{_where(point)} has the name {declared.name!r}; it must be {point.name!r}")
    if declared.kind != "objects":  # Networks have one head for the class of a patch.
        raise ConfigError(f"{_where(point)} has kind {declared.kind!r}; it must be 'objects', as {TISSUE} has classes")
    return declared


def _check_within(row: Structure, rows: Mapping[str, Structure], where: str) -> None:
    if row.within and (row.within not in rows or rows[row.within].kind != "objects"):
        choices = ", ".join(name for name in rows if rows[name].kind == "objects")
        raise ConfigError(f"{where} lies within {row.within!r}; choose from {choices}")
    if row.name in (chain := _enclosing(row.name, rows)):
        raise ConfigError(f"{where} lies within itself, by way of {', '.join(chain)}; correct one `within`")


def _where(point: _EntryPoint) -> str:
    owner = f"{point.dist.name} {point.dist.version}" if point.dist else "a distribution without a name"
    return f"{owner}: entry point {point.name} = {point.value} of {GROUP}"
