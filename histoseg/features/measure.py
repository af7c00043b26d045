"""All features of one slide: of each gland, of the slide, and of each class of tissue."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from jaxtyping import Float64

from histoseg.features import (
    contents,
    counts,
    glands,
    layering,
    shapes,
    sizes,
    spacing,
    surroundings,
    tissue,
)
from histoseg.features.contents import Column
from histoseg.features.definition import Feature, Value, absent
from histoseg.features.glands import GLAND
from histoseg.features.inside import find_inside
from histoseg.features.names import EPITHELIAL, LYMPHOCYTE
from histoseg.features.slide import NO_TISSUE, ObjectTable, SegmentedSlide, scopes

LUMEN, NUCLEI = "lumen", "nuclei"
GROUPS = (shapes, contents, layering, surroundings, counts, sizes, spacing, glands, tissue)
# Each feature once, in the order of the documentation.
FEATURES: tuple[Feature, ...] = tuple(chain.from_iterable(group.FEATURES for group in GROUPS))
FORMAT = 1  # Raised when a feature of the same objects would have another value or column.


@dataclass(frozen=True, kw_only=True)
class GlandTable:
    """Features of the glands of a slide, a row each; not a number where undefined.

    Attributes:
        columns: By name of column.
        features: The definition of each column.
        lacking: What has no column, with the reason.
    """

    columns: dict[str, Float64[np.ndarray, " G"]] = field(default_factory=dict)
    features: dict[str, Feature] = field(default_factory=dict)
    lacking: tuple[Value, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All features of one slide; `glands` is None where the model finds none."""

    values: tuple[Value, ...]
    glands: GlandTable | None


def measure_slide(slide: SegmentedSlide) -> Measured:
    """All features that the slide's structures and classes allow; for others, the reason why they are absent."""
    table = measure_glands(slide) if GLAND in slide.objects else None
    return Measured(values=tuple(_slide_values(slide, table)), glands=table)


def _slide_values(slide: SegmentedSlide, table: GlandTable | None) -> Iterator[Value]:
    distances = spacing.nearest_distances(slide.objects[NUCLEI]) if NUCLEI in slide.objects else None
    parts = list(scopes(slide))
    for scope in parts:
        yield from tissue.measure_area(scope, parts[0].area_mm2)
        for structure, found in slide.objects.items():
            yield from counts.count_objects(structure, found, scope)
            yield from sizes.measure_sizes(structure, found, scope)
        if distances is not None:
            yield from spacing.measure_spacing(NUCLEI, slide.objects[NUCLEI], distances, scope)
        if table is not None:
            yield from glands.summarise_glands(table.columns, slide.objects[GLAND].points_um, scope)
    yield from tissue.measure_tumour(slide.tissue, slide.objects.get(NUCLEI))
    yield from _absent(slide, table)


def _absent(slide: SegmentedSlide, table: GlandTable | None) -> Iterator[Value]:
    """What has no column at all."""
    if slide.tissue is None:
        of_classes = tuple(each for each in FEATURES if each.level == "slide and tissue class")
        yield from absent(of_classes, NO_TISSUE, "_in_{tissue}")
    if NUCLEI not in slide.objects:
        yield from absent(spacing.FEATURES, "the model finds no nuclei")
    elif not slide.objects[NUCLEI].classes:
        yield from absent((counts.SHARE, *spacing.FEATURES), "the model knows no classes of nuclei")
    if table is None:
        yield from absent(glands.FEATURES, "the model finds no glands")


def measure_glands(slide: SegmentedSlide) -> GlandTable:
    """The features of each gland, in the order of the slide's table of glands."""
    found = list(_gland_columns(slide))
    return GlandTable(
        columns={name: values for _, name, values in found},
        features={name: feature for feature, name, _ in found},
        lacking=tuple(_lacking(slide)),
    )


def _gland_columns(slide: SegmentedSlide) -> Iterator[Column]:
    outlines = slide.objects[GLAND].outlines()
    nuclei, lumina = slide.objects.get(NUCLEI), slide.objects.get(LUMEN)
    of_shape = shapes.shape_columns(outlines)
    yield from ((feature, feature.name, values) for feature, values in of_shape.items())
    inside = find_inside(
        outlines,
        np.zeros(0, object) if lumina is None else lumina.outlines(),
        np.zeros((0, 2)) if nuclei is None else nuclei.points_um,
    )
    if lumina is not None:
        yield from contents.lumen_columns(of_shape[shapes.AREA], inside)
    if nuclei is not None:
        yield from contents.nucleus_columns(of_shape[shapes.AREA], nuclei, inside, has_lumina=lumina is not None)
        if nuclei.knows(EPITHELIAL):
            yield from layering.layering_columns(outlines, of_shape[shapes.PERIMETER], nuclei, inside)
    yield from surroundings.nearest_column(outlines)
    if slide.tissue is not None:
        yield from surroundings.surface_column(outlines, slide.tissue)


def _lacking(slide: SegmentedSlide) -> Iterator[Value]:
    """Features of glands that have no column, with the reason."""
    if slide.tissue is None:
        yield surroundings.SURFACE.absent(NO_TISSUE)
    if LUMEN not in slide.objects:
        yield from absent((*contents.OF_LUMINA, contents.IN_LUMEN), "the model finds no lumina")
    nuclei = slide.objects.get(NUCLEI)
    if nuclei is None:
        yield from absent((*contents.OF_NUCLEI, *contents.OF_TYPES, *layering.FEATURES), "the model finds no nuclei")
        return
    yield from _lacking_types(nuclei)


def _lacking_types(nuclei: ObjectTable) -> Iterator[Value]:
    if not nuclei.knows(EPITHELIAL):
        yield from absent(layering.FEATURES, f"no class of nuclei is called {EPITHELIAL[0]}")
    if not nuclei.knows(LYMPHOCYTE):
        yield from absent(contents.OF_TYPES, f"no class of nuclei is called {LYMPHOCYTE[0]}")
    elif not nuclei.knows(EPITHELIAL):
        yield contents.LYMPHOCYTES_PER_100.absent(f"no class of nuclei is called {EPITHELIAL[0]}")
