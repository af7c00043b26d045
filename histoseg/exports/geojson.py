"""GeoJSON as QuPath imports it: detections and annotations with classes, colours and measurements."""

import json
from pathlib import Path

import numpy as np

from histoseg.exports._slide import ObjectRow, SlideObjects
from histoseg.exports._text import open_text
from histoseg.slides.qupath import feature_id, feature_properties
from histoseg.slides.wkb import decode

NAME = "objects.geojson"


def write(path: Path, slide: SlideObjects) -> int:
    """One feature a line. Caveats are a member of the collection, which other programs leave alone (RFC 7946, 6.1)."""
    count = 0
    with open_text(path) as file:
        caveats = f'"caveats": {_json(slide.summary.caveats)}, ' if slide.summary.caveats else ""
        file.write(f'{{"type": "FeatureCollection", {caveats}"features": [')
        for row in slide.rows():
            file.write(",\n" if count else "\n")
            file.write(_json(_feature(row, slide)))
            count += 1
        file.write("\n]}\n")
    return count


def _feature(row: ObjectRow, slide: SlideObjects) -> dict[str, object]:
    colour = slide.colour_of(row.structure, row.class_name)
    return {
        "type": "Feature",
        "id": feature_id(slide.summary.name, row.structure, row.id),
        "geometry": _geometry(row.geometry),
        "properties": feature_properties(row.structure, row.class_name, colour, row.area_um2, row.class_probability),
    }


def _geometry(geometry: bytes) -> dict[str, object]:
    polygons = [[_plain(ring) for ring in rings] for rings in decode(geometry)]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _plain(ring: np.ndarray) -> list[list[int | float]]:
    """Corners as whole numbers if they are, which take half the room."""
    whole = ring.astype(np.int64)
    corners: list[list[int | float]] = (whole if (whole == ring).all() else ring).tolist()
    return corners


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
