"""What features are computed from: the objects of a slide and its squares of tissue, in microns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int16, Int32, Shaped, UInt8

from histoseg.features.names import BACKGROUND, column_words, find_classes

UM2_PER_MM2 = 1e6
NO_TISSUE = "the slide has no classes of tissue"
Points = Float64[np.ndarray, "_ 2"]  # x, y in microns from the upper left corner of the slide
Shapes = Shaped[np.ndarray, " _"]  # Polygons and multipolygons of shapely, in microns


@dataclass(frozen=True, kw_only=True)
class ObjectTable:
    """The objects of one structure, a row each.

    Attributes:
        kinds: The position of each object's class in `classes`; -1 without a class.
        classes: The classes that the model knows, without background; empty if it knows none.
        shapes: Their outlines; None where no feature needs them.
    """

    ids: Int32[np.ndarray, " N"]
    kinds: Int16[np.ndarray, " N"]
    classes: tuple[str, ...]
    areas_um2: Float64[np.ndarray, " N"]
    points_um: Float64[np.ndarray, "N 2"]
    shapes: Shapes | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def words(self) -> list[str]:
        """What each class is called in columns."""
        return column_words(self.classes)

    def are(self, names: tuple[str, ...]) -> Bool[np.ndarray, " N"]:
        """Which objects are of a class with one of these names."""
        return np.asarray(np.isin(self.kinds, find_classes(self.classes, names)))

    def knows(self, names: tuple[str, ...]) -> bool:
        """Whether the model knows a class with one of these names."""
        return bool(find_classes(self.classes, names))

    def outlines(self) -> Shapes:
        """The outlines, where they were read."""
        if self.shapes is None:
            raise ValueError("objects without outlines; read the column geometry")
        return self.shapes


@dataclass(frozen=True, kw_only=True)
class TissueSquares:
    """The class of each square of tissue.

    Attributes:
        classes: The names of classes; the position is the number in `squares`. Other numbers count as background.
        side_um: Width and height of a square.
        size_um: Width and height of the slide; the last squares may reach beyond it.
    """

    squares: UInt8[np.ndarray, "R S"]
    classes: tuple[str, ...]
    side_um: tuple[float, float]
    size_um: tuple[float, float]

    @cached_property
    def words(self) -> list[str]:
        """What each class is called in columns."""
        return column_words(self.classes)

    @cached_property
    def areas_mm2(self) -> Float64[np.ndarray, "R S"]:
        """The part of each square that lies on the slide."""
        widths, heights = (
            np.clip(whole - np.arange(count) * side, 0, side)
            for whole, side, count in zip(self.size_um, self.side_um, self.squares.shape[::-1], strict=True)
        )
        return np.asarray(np.outer(heights, widths) / UM2_PER_MM2)

    @cached_property
    def is_tissue(self) -> Bool[np.ndarray, "R S"]:
        """Which squares are of a class other than background."""
        classes = np.setdiff1d(np.arange(len(self.classes)), find_classes(self.classes, BACKGROUND))
        return np.asarray(np.isin(self.squares, classes))

    def rows_columns(self, points_um: Points) -> tuple[Int32[np.ndarray, " N"], Int32[np.ndarray, " N"]]:
        """The square that each point lies in; a point beyond the map has the nearest one."""
        x, y = (points_um / np.array(self.side_um)).astype(np.int32).T
        rows, columns = self.squares.shape
        return np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)


@dataclass(frozen=True, kw_only=True)
class SegmentedSlide:
    """One slide's results.

    Attributes:
        objects: By structure; a structure that the model finds but the slide lacks has a table without rows.
        tissue: None where the model has no classes of tissue.
        mask_mm2: Area of the tissue mask, or of the slide where there was none.
    """

    name: str
    mpp: float
    objects: Mapping[str, ObjectTable]
    tissue: TissueSquares | None
    mask_mm2: float


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A part of a slide over which features are taken: all of its tissue, or that of one class.

    Attributes:
        suffix: What columns end in.
        phrase: The part in words, for reasons.
        label: The class of tissue; None for all.
    """

    suffix: str
    phrase: str
    area_mm2: float
    label: int | None
    tissue: TissueSquares | None

    def holds(self, points_um: Points) -> Bool[np.ndarray, " N"]:
        """Which points lie in it; all do where classes of tissue are not known."""
        if self.tissue is None:
            return np.ones(len(points_um), bool)
        place = self.tissue.rows_columns(points_um)
        if self.label is None:
            return np.asarray(self.tissue.is_tissue[place])
        return np.asarray(self.tissue.squares[place] == self.label)


def scopes(slide: SegmentedSlide) -> Iterator[Scope]:
    """All tissue of the slide, then each class of tissue but background."""
    tissue = slide.tissue
    if tissue is None:
        yield Scope(suffix="", phrase="the slide", area_mm2=slide.mask_mm2, label=None, tissue=None)
        return
    whole = float(tissue.areas_mm2[tissue.is_tissue].sum())
    yield Scope(suffix="", phrase="the slide's tissue", area_mm2=whole, label=None, tissue=tissue)
    background = find_classes(tissue.classes, BACKGROUND)
    for label, (name, word) in enumerate(zip(tissue.classes, tissue.words, strict=True)):
        if label not in background:
            area = float(tissue.areas_mm2[tissue.squares == label].sum())
            yield Scope(suffix=f"_in_{word}", phrase=name, area_mm2=area, label=label, tissue=tissue)
