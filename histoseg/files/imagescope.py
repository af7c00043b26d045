"""Annotations of Aperio's ImageScope: layers with regions, some of which are holes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from histoseg.errors import DataError
from histoseg.files.annotations import read_xml
from histoseg.files.left_out import leave_out
from histoseg.files.notes import note
from histoseg.files.regions import Polygon, Region, contains, make_ring, with_area

REMEDY = "fetch the file again, or export it from ImageScope"


def read_imagescope(path: Path) -> list[Region]:
    """The regions of all layers, in the order of the file; those with `NegativeROA="1"` are holes.

    A hole belongs to the last region of its layer that holds most of its vertices. Regions of fewer than three vertices
    (points, lines) and holes without a region around them are left out and counted. The class of a region is its text,
    else the name of its layer.
    """
    return regions_of(read_xml(path), path)


def regions_of(root: Element, path: Path) -> list[Region]:
    """The regions of a file that is parsed already, as `read_imagescope` gives them."""
    if root.tag != "Annotations":
        raise DataError(f"{path}: root element {root.tag}; expected Annotations as Aperio writes; {REMEDY}")
    return [
        region
        for number, layer in enumerate(root.iter("Annotation"), start=1)
        for region in _regions_of_layer(layer, number, path)
    ]


def _regions_of_layer(layer: Element, number: int, path: Path) -> list[Region]:
    name = (layer.get("Name") or "").strip() or f"layer {number}"
    numbered = [(element, _region(element, name, path, i)) for i, element in enumerate(layer.iter("Region"), start=1)]
    positive = with_area([region for element, region in numbered if not _is_hole(element)], path)
    return _cut_holes(positive, with_area([region for element, region in numbered if _is_hole(element)], path), path)


def _is_hole(element: Element) -> bool:
    return element.get("NegativeROA", "0").strip().lower() in ("1", "true")


def _region(element: Element, layer: str, path: Path, number: int) -> Region:
    where = f"{path}: region {number} of {layer}"
    try:
        points = [(float(vertex.attrib["X"]), float(vertex.attrib["Y"])) for vertex in element.iter("Vertex")]
    except (KeyError, ValueError) as error:
        raise DataError(f"{where}: a vertex without the numbers X and Y ({error}); {REMEDY}") from error
    name = (element.get("Text") or "").strip() or layer
    return Region(polygons=(Polygon(outline=make_ring(points, where)),), class_name=name, layer=layer)


def _cut_holes(positive: Sequence[Region], negative: Sequence[Region], path: Path) -> list[Region]:
    """The positive regions, each with its holes."""
    whole, lone = list(positive), 0
    for hole in negative:
        around = [
            i for i, region in enumerate(positive) if contains(region.polygons[0].outline, hole.polygons[0].outline)
        ]
        if around:
            owner = whole[around[-1]]
            (piece,) = owner.polygons
            cut = replace(piece, holes=(*piece.holes, hole.polygons[0].outline))
            whole[around[-1]] = replace(owner, polygons=(cut,))
        else:
            lone += 1
    remedy = "draw each negative region within a positive one"
    total = len(positive) + len(negative)
    leave_out(path, "negative regions without a region around them", lone, total, remedy)
    note("negative regions cut out of the region around them", len(negative) - lone)
    return whole
