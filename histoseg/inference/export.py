"""A segmentation in forms that other programs open: table, shapes for QuPath, grid of tissue, instance maps.

Everything is in the image's own pixels, however the network saw it. Coordinates are distances from the upper left
corner of the image, as in QuPath: the middle of the first pixel is (0.5, 0.5).
"""

import csv
import io
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from PIL import Image as PillowImage
from skimage.measure import find_contours

from histoseg.inference.segment import Segmentation
from histoseg.maps.colours import BLACK, CLASS_COLOURS, to_rgb
from histoseg.maps.objects import find_objects
from histoseg.types import InstanceMap, Structure

Ring = Float64[np.ndarray, "V 2"]  # Corners of an outline as x, y; the last is joined to the first.
Kind = tuple[Structure, str]  # A structure and a class of it; no class where none is told.

DRAWN: tuple[Structure, ...] = ("nuclei", "gland", "lumen")
SINGULAR: Mapping[Structure, str] = {"nuclei": "nucleus", "gland": "gland", "lumen": "lumen"}
# Okabe & Ito's eight, those first that are told best from the pink and purple of H&E.
OBJECT_COLOURS = (*(CLASS_COLOURS[i] for i in (2, 3, 1, 0, 5)), BLACK, *(CLASS_COLOURS[i] for i in (4, 6)))
UNTOLD_COLOUR = "#8a8f96"
TISSUE_COLOURS = (*CLASS_COLOURS, BLACK)  # Of the classes after background, which is not painted
UUIDS = uuid.uuid5(uuid.NAMESPACE_OID, "histoseg")
LARGEST_16_BIT = 65535
COLUMNS = (
    "structure", "id", "class", "class_probability", "area_um2",
    "centroid_x_px", "centroid_y_px", "left_px", "top_px", "right_px", "bottom_px",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A segmentation and the image it is of.

    Attributes:
        name: The image's file name without its ending.
        classes: Class names, see `histoseg.models.weights.Model`.
        image_px: Height and width of the image as the file has it.
        seen_px: Height and width at which it was segmented.
        mpp: Microns per pixel of the image as the file has it.
    """

    name: str
    segmentation: Segmentation
    classes: Mapping[str, tuple[str, ...]]
    image_px: tuple[int, int]
    seen_px: tuple[int, int]
    mpp: float

    @property
    def scale(self) -> Float64[np.ndarray, " 2"]:
        """Pixels of the image per pixel that was segmented, along x and y."""
        return np.array([self.image_px[1] / self.seen_px[1], self.image_px[0] / self.seen_px[0]])


@dataclass(frozen=True, kw_only=True)
class Found:
    """One object in the image's own pixels.

    Attributes:
        id: Its number in the instance map.
        class_name: Empty if none is told.
        class_probability: The share of its pixels that have this class; None without a class.
        box: Left, top, right, bottom.
        ring: The outline of its largest piece, which crosses itself nowhere. Holes are not told.
    """

    structure: Structure
    id: int
    class_name: str
    class_probability: float | None
    area_um2: float
    centroid: tuple[float, float]
    box: tuple[float, float, float, float]
    ring: Ring


def list_objects(seen: Seen) -> list[Found]:
    """Every object, structure by structure, by ascending id; area and place are measured as segmented, then scaled."""
    return [found for structure in seen.segmentation.instance_maps for found in _of_structure(seen, structure)]


def _of_structure(seen: Seen, structure: Structure) -> list[Found]:
    instance_map = seen.segmentation.instance_maps[structure]
    objects, scale = find_objects(instance_map), seen.scale
    names = class_names(seen.classes, structure)
    um2 = seen.mpp**2 * float(scale.prod())
    found = []
    for i, (top, left, bottom, right) in enumerate(objects.boxes.tolist()):
        kind = int(seen.segmentation.classes[structure][i])
        mask = instance_map[top:bottom, left:right] == objects.ids[i]
        x, y = ((objects.centroids[i] + 0.5) * scale).tolist()
        found.append(
            Found(
                structure=structure,
                id=int(objects.ids[i]),
                class_name=names[kind] if names and kind else "",
                class_probability=float(seen.segmentation.class_probabilities[structure][i])
                if names and kind
                else None,
                area_um2=float(objects.areas[i]) * um2,
                centroid=(x, y),
                box=(left * scale[0], top * scale[1], right * scale[0], bottom * scale[1]),
                ring=(outline(mask) + np.array([left, top])) * scale,
            )
        )
    return found


def class_names(classes: Mapping[str, tuple[str, ...]], structure: Structure) -> tuple[str, ...]:
    """The classes of a structure's objects, the first of which is background; empty if none are told apart."""
    return classes.get(f"{structure}_type", ())


def outline(mask: Bool[np.ndarray, "H W"]) -> Ring:
    """The outline of a mask's largest piece, between its pixels and those around, corners only.

    It cuts the corners of pixels, so that it crosses itself nowhere, not even where pixels touch by a corner.
    """
    rings = [ring[:-1, ::-1] for ring in find_contours(np.pad(mask, 1).astype(np.float64), 0.5)]  # type: ignore[no-untyped-call]  # it has no types
    largest = max(rings, key=lambda ring: abs(_signed_area(ring)))
    before, after = largest - np.roll(largest, 1, axis=0), np.roll(largest, -1, axis=0) - largest
    is_corner = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    ring = largest[is_corner] - 0.5  # One pixel less for the padding; half of one more from its middle to its corner.
    return np.asarray(ring if _signed_area(ring) > 0 else ring[::-1])


def _signed_area(ring: Ring) -> float:
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def to_table(objects: Sequence[Found]) -> str:
    """All objects as CSV, a row each; class and its probability are empty where no class is told."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for found in objects:
        share = "" if found.class_probability is None else f"{found.class_probability:.4f}"
        place = (f"{value:.2f}" for value in (*found.centroid, *found.box))
        writer.writerow([found.structure, found.id, found.class_name, share, f"{found.area_um2:.3f}", *place])
    return text.getvalue()


def to_geojson(objects: Sequence[Found], colours: Mapping[Kind, str], name: str) -> dict[str, Any]:
    """All objects as QuPath imports them: nuclei as detections, the others as annotations."""
    return {"type": "FeatureCollection", "features": [_feature(found, colours, name) for found in objects]}


def _feature(found: Found, colours: Mapping[Kind, str], name: str) -> dict[str, Any]:
    points = np.round(np.concatenate([found.ring, found.ring[:1]]), 3).tolist()
    measurements = {"Area µm^2": round(found.area_um2, 3)}
    if found.class_probability is not None:
        measurements["Class probability"] = round(found.class_probability, 4)
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(UUIDS, f"{name}/{found.structure}/{found.id}")),
        "geometry": {"type": "Polygon", "coordinates": [points]},
        "properties": {
            "objectType": "detection" if found.structure == "nuclei" else "annotation",
            "classification": {
                "name": found.class_name or SINGULAR[found.structure],
                "color": list(to_rgb(colours[found.structure, found.class_name])),
            },
            "measurements": measurements,
        },
    }


def choose_colours(seen: Seen) -> dict[Kind, str]:
    """A colour for each class of object that there can be, nuclei first; after the eighth they repeat."""
    there = [structure for structure in DRAWN if structure in seen.segmentation.instance_maps]
    kinds = [(structure, name) for structure in there for name in class_names(seen.classes, structure)[1:] or ("",)]
    chosen = {kind: OBJECT_COLOURS[i % len(OBJECT_COLOURS)] for i, kind in enumerate(kinds)}
    return {**{(structure, ""): UNTOLD_COLOUR for structure in there}, **chosen}


def tissue_colour(kind: int) -> str | None:
    """The colour of a class of tissue; None for the first, background."""
    return TISSUE_COLOURS[(kind - 1) % len(TISSUE_COLOURS)] if kind else None


def to_grid(seen: Seen) -> dict[str, Any] | None:
    """Classes of tissue by square, row by row, and each class's share of the image's area; None if none are told.

    Squares begin in the upper left corner; the last of a row or column may reach beyond the image, where it counts as
    much as of it lies within.
    """
    tissue = visible_tissue(seen)
    if tissue is None:
        return None
    side_px = seen.segmentation.tissue_px
    kinds = tissue.argmax(axis=0)
    heights, widths = (
        np.minimum(np.arange(1, count + 1) * side_px, whole) - np.arange(count) * side_px
        for count, whole in zip(kinds.shape, seen.seen_px, strict=True)
    )
    areas = np.bincount(kinds.ravel(), np.outer(heights, widths).ravel(), len(tissue))
    x, y = (side_px * seen.scale).tolist()
    return {
        "side_px": [round(x, 3), round(y, 3)],
        "side_um": round(x * seen.mpp, 3),
        "mpp": seen.mpp,
        "classes": list(seen.classes["tissue"]),
        "class_map": kinds.tolist(),
        "probabilities": np.round(tissue.transpose(1, 2, 0).astype(np.float64), 4).tolist(),
        "shares": dict(zip(seen.classes["tissue"], np.round(areas / areas.sum(), 4).tolist(), strict=True)),
    }


def visible_tissue(seen: Seen) -> np.ndarray | None:
    """The probabilities of those squares that lie in the image, at least in part."""
    if seen.segmentation.tissue is None:
        return None
    rows, columns = (-(-side // seen.segmentation.tissue_px) for side in seen.seen_px)
    return seen.segmentation.tissue[:, :rows, :columns]


def own_map(seen: Seen, structure: Structure) -> InstanceMap:
    """The instance map in the image's own pixels: each has the object at its middle, so small ones may vanish."""
    rows, columns = (
        np.minimum(((np.arange(whole) + 0.5) * part / whole).astype(np.int64), part - 1)
        for whole, part in zip(seen.image_px, seen.seen_px, strict=True)
    )
    return np.asarray(seen.segmentation.instance_maps[structure][np.ix_(rows, columns)])


def encode_map(instance_map: InstanceMap) -> tuple[str, bytes]:
    """The ending and the bytes of a file with the map: PNG of 16 bits, or TIFF of 32 where ids are larger than that."""
    file = io.BytesIO()
    if instance_map.max(initial=0) > LARGEST_16_BIT:
        PillowImage.fromarray(instance_map).save(file, "TIFF", compression="tiff_deflate")
        return "tif", file.getvalue()
    PillowImage.fromarray(instance_map.astype(np.uint16)).save(file, "PNG")
    return "png", file.getvalue()
