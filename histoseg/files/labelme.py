"""Annotations of LabelMe: one JSON file beside each image."""

from collections import defaultdict
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field

from histoseg.errors import DataError
from histoseg.files.annotations import read_json
from histoseg.files.fill import Ring
from histoseg.files.left_out import leave_out
from histoseg.files.regions import Polygon, Region, make_ring, with_area

CORNERS = 64  # Of a circle as a polygon, which has 0.2 % less area.


class _Shape(BaseModel):
    label: str
    points: list[object]
    shape_type: str = "polygon"
    group_id: int | str | None = None


class _File(BaseModel):
    shapes: list[_Shape]
    height: int | None = Field(default=None, alias="imageHeight")
    width: int | None = Field(default=None, alias="imageWidth")


def read_labelme(path: Path) -> list[Region]:
    """The polygons, rectangles and circles of a file, in its order.

    Shapes of one label and group are pieces of one region. Other shapes, such as points and lines, are left out and
    counted. The class of a region is its label.
    """
    content = read_json(path, _File)
    shapes, height, width = content.shapes, content.height, content.width
    size = (height, width) if height and width else None
    pieces: dict[tuple[str, object], list[Polygon]] = defaultdict(list)
    left_out = 0
    for number, shape in enumerate(shapes, start=1):
        outline = _outline(shape, f"{path}: shape {number}")
        if outline is None:
            left_out += 1
        else:
            group = number if shape.group_id is None else f"group {shape.group_id}"
            pieces[shape.label, group].append(Polygon(outline=outline))
    remedy = "outline each object as a polygon"
    leave_out(path, "shapes that are no polygons", left_out, len(shapes), remedy)
    regions = [Region(polygons=tuple(own), class_name=label, drawn_on=size) for (label, _), own in pieces.items()]
    return with_area(regions, path)


def _outline(shape: _Shape, where: str) -> Ring | None:
    """The outline of a shape, or None if it encloses nothing."""
    points = make_ring(shape.points, where)
    if shape.shape_type == "polygon" or (shape.shape_type == "rectangle" and len(points) == 4):
        return points  # X-AnyLabeling gives a rectangle all four corners.
    if shape.shape_type not in ("rectangle", "circle"):
        return None
    if len(points) != 2:
        raise DataError(f"{where}: a {shape.shape_type} of {len(points)} points; expected 2; draw it again")
    (x, y), (u, v) = points.tolist()
    if shape.shape_type == "rectangle":
        return np.array([(x, y), (u, y), (u, v), (x, v)])
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)  # The points are the centre and one of the circle.
    return np.asarray(points[0] + np.hypot(u - x, v - y) * np.stack([np.cos(angles), np.sin(angles)], axis=1))
