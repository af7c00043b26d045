"""A prediction in forms that other programs open: table, shapes for QuPath, grid of tissue, maps.

All of it is in the image's own pixels, at whatever resolution the network saw the image.
"""

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image as PillowImage

from histoseg.inference.objects import DetectedObject, PredictedImage
from histoseg.slides.colours import Kind, colours_of
from histoseg.slides.columns import COLUMNS, to_cells
from histoseg.slides.qupath import feature_id, feature_properties
from histoseg.structures import TISSUE
from histoseg.types import InstanceMap, SemanticMap

LARGEST_16_BIT = 65535


def to_table(objects: Sequence[DetectedObject]) -> str:
    """All objects as CSV, a row each; class and its probability are empty without a class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(to_cells(found) for found in objects)
    return text.getvalue()


def to_geojson(
    objects: Sequence[DetectedObject], colours: Mapping[Kind, str], name: str, caveats: Sequence[str] = ()
) -> dict[str, object]:
    """All objects as QuPath imports them: as detections or as annotations, as each structure states.

    Caveats are a member "caveats" of the collection, which programs that do not know it leave alone (RFC 7946, 6.1).
    """
    features = [_feature(found, colours, name) for found in objects]
    return {"type": "FeatureCollection", **({"caveats": list(caveats)} if caveats else {}), "features": features}


def _feature(found: DetectedObject, colours: Mapping[Kind, str], name: str) -> dict[str, object]:
    colour = colours[found.structure, found.class_name]
    return {
        "type": "Feature",
        "id": feature_id(name, found.structure, found.id),
        "geometry": _geometry(found),
        "properties": feature_properties(
            found.structure, found.class_name, colour, found.area_um2, found.class_probability
        ),
    }


def _geometry(found: DetectedObject) -> dict[str, object]:
    """An object's pieces and holes as RFC 7946 has them: outer rings against the clock, if y counted upward."""
    closed = [[np.round(np.concatenate([ring, ring[:1]]), 3).tolist() for ring in rings] for rings in found.polygons]
    if len(closed) == 1:
        return {"type": "Polygon", "coordinates": closed[0]}
    return {"type": "MultiPolygon", "coordinates": closed}


def choose_colours(image: PredictedImage) -> dict[Kind, str]:
    """A colour for each class of object that there can be in an image, see `histoseg.slides.colours`."""
    return colours_of({name: image.class_names(name)[1:] for name in image.prediction.instance_maps})


def to_grid(image: PredictedImage) -> dict[str, object] | None:
    """Classes of tissue by square, row by row, and each class's share of the image's area; None without tissue.

    Squares begin in the upper left corner; the last of a row or column may reach beyond the image, where only the part
    that lies within counts.
    """
    tissue = image.visible_tissue()
    if tissue is None:
        return None
    side_px = image.prediction.tissue_px
    kinds = tissue.argmax(axis=0)
    heights, widths = (
        np.minimum(np.arange(1, count + 1) * side_px, whole) - np.arange(count) * side_px
        for count, whole in zip(kinds.shape, image.seen_px, strict=True)
    )
    areas = np.bincount(kinds.ravel(), np.outer(heights, widths).ravel(), len(tissue))
    x, y = (side_px * image.scale).tolist()
    return {
        "side_px": [round(x, 3), round(y, 3)],
        "side_um": round(x * image.mpp, 3),
        "mpp": image.mpp,
        "classes": list(image.classes[TISSUE]),
        "class_map": kinds.tolist(),
        "probabilities": np.round(tissue.transpose(1, 2, 0).astype(np.float64), 4).tolist(),
        "shares": shares(image.classes[TISSUE], areas),
    }


def shares(names: Sequence[str], areas: np.ndarray) -> dict[str, float]:
    """The part of the whole that each class has, by name."""
    return dict(zip(names, np.round(areas / areas.sum(), 4).tolist(), strict=True))


def encode_map(label_map: InstanceMap | SemanticMap) -> tuple[str, bytes]:
    """The ending and the bytes of a file with the map.

    Classes are PNG of 8 bits, objects PNG of 16, or TIFF of 32 where ids are larger than that.
    """
    file = io.BytesIO()
    if label_map.max(initial=0) > LARGEST_16_BIT:
        PillowImage.fromarray(label_map).save(file, "TIFF", compression="tiff_deflate")
        return "tif", file.getvalue()
    PillowImage.fromarray(label_map if label_map.dtype == np.uint8 else label_map.astype(np.uint16)).save(file, "PNG")
    return "png", file.getvalue()
