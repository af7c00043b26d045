"""The objects of an instance map as a table: where each lies on the slide, how large it is, and its outline."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64, Shaped

from histoseg.maps.outlines import Rings, trace_rings
from histoseg.slides.wkb import encode
from histoseg.types import InstanceMap

BBOX = pa.struct([pa.field(name, pa.float32()) for name in ("xmin", "ymin", "xmax", "ymax")])
WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int32()),
        pa.field("structure", WORD),
        pa.field("class", WORD),
        pa.field("class_probability", pa.float32()),
        pa.field("area_um2", pa.float32()),
        pa.field("x", pa.float32()),
        pa.field("y", pa.float32()),
        pa.field("bbox", BBOX),
        pa.field("geometry", pa.binary()),
    ]
)
# Corners lie on multiples of this part of a base pixel. It is exact where the scale is a whole number or a half. Where
# it is not, no corner moves by more than an eighth of a pixel, and a nucleus takes 11 bytes less than at a sixteenth.
# Being a power of two, 32 bits hold it exactly on any slide, so boxes are exact as well.
STEP_PX = 0.25


def tabulate(  # noqa: PLR0913  # all that rows say
    instance_map: InstanceMap,
    structure: str,
    *,
    class_names: Sequence[str],
    classes: Shaped[np.ndarray, " N"],
    class_probabilities: Shaped[np.ndarray, " N"],
    origin_xy: tuple[int, int],
    scale_xy: tuple[int | float, int | float],
    mpp: int | float,
) -> pa.Table:
    """The objects of a crop of the working grid, by ascending id, which `id` states; `write_objects` numbers them anew.

    Area and centroid are those of the object's pixels. Corners are rounded to `STEP_PX`, in the same way whatever the
    crop; as no two lines of the grid come to lie on each other, polygons stay valid and meet as before.

    Args:
        instance_map: The crop.
        structure: What its objects are.
        class_names: Background first; empty if objects have no classes.
        classes: Of each object, by ascending id; 0 stands for none. Empty without class names.
        class_probabilities: The share of each object's pixels that have its class. Empty without class names.
        origin_xy: The crop's upper left corner, in pixels of the working grid.
        scale_xy: Base pixels per pixel of the working grid.
        mpp: Microns per base pixel.
    """
    rings = trace_rings(instance_map)
    firsts = np.flatnonzero(np.diff(rings.objects, prepend=0))
    if class_names and not len(firsts) == len(classes) == len(class_probabilities):
        raise ValueError(f"{len(firsts)} {structure}, but {len(classes)} classes, {len(class_probabilities)} shares")
    scale, begins = np.array(scale_xy, np.float64), rings.starts[:-1][firsts]
    areas, centroids = _measure(rings, begins)
    x, y = ((centroids + origin_xy) * scale).astype(np.float32).T
    corners = _round(rings.corners + np.array(origin_xy), scale)
    box = [bound.reduceat(corners, begins) if begins.size else np.zeros((0, 2)) for bound in (np.minimum, np.maximum)]
    columns = [
        pa.array(rings.objects[firsts]),
        _words(np.zeros(len(firsts), np.int32), [structure]),
        *_class_columns(len(firsts), class_names, classes, class_probabilities),
        pa.array((areas * (scale.prod() * mpp**2)).astype(np.float32)),
        pa.array(x),
        pa.array(y),
        pa.StructArray.from_arrays(
            [pa.array(values.astype(np.float32)) for values in np.hstack(box).T], fields=[*BBOX]
        ),
        _binary(rings, corners),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _measure(
    rings: Rings, begins: Int64[np.ndarray, " N"]
) -> tuple[Int64[np.ndarray, " N"], Float64[np.ndarray, "N 2"]]:
    """Pixels of each object and the mean of their middles, by Green's theorem; sums are whole numbers, so exact."""
    if not begins.size:
        return np.zeros(0, np.int64), np.zeros((0, 2))
    following = np.arange(1, len(rings.corners) + 1)
    following[rings.starts[1:] - 1] = rings.starts[:-1]
    here, after = rings.corners, rings.corners[following]
    cross = here[:, 0] * after[:, 1] - here[:, 1] * after[:, 0]
    doubled = np.add.reduceat(cross, begins)
    moments = np.add.reduceat((here + after) * cross[:, None], begins)
    return doubled // 2, moments / (3 * doubled[:, None])


def _round(corners: Int64[np.ndarray, "V 2"], scale: Float64[np.ndarray, " 2"]) -> Float64[np.ndarray, "V 2"]:
    """Corners in base pixels; the step is smaller only where pixels of the grid are smaller than a step."""
    step = np.minimum(STEP_PX, 2.0 ** np.floor(np.log2(scale)))
    rounded: Float64[np.ndarray, "V 2"] = np.round(corners * scale / step) * step
    return rounded


def _class_columns(
    count: int,
    class_names: Sequence[str],
    classes: Shaped[np.ndarray, " N"],
    class_probabilities: Shaped[np.ndarray, " N"],
) -> tuple[pa.Array, pa.Array]:
    if not class_names:
        return _words(np.zeros(count, np.int32), [], np.ones(count, bool)), pa.nulls(count, pa.float32())
    is_none = classes == 0
    names = _words(classes.astype(np.int32) - 1, class_names[1:], is_none)
    return names, pa.array(class_probabilities.astype(np.float32), mask=is_none)


def _words(
    numbers: Shaped[np.ndarray, " N"], names: Sequence[str], is_none: Shaped[np.ndarray, " N"] | None = None
) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers, mask=is_none), pa.array(list(names), pa.string()))


def _binary(rings: Rings, corners: Float64[np.ndarray, "V 2"]) -> pa.Array:
    found = encode(rings, corners)
    offsets = pa.py_buffer(found.offsets.astype(np.int32))
    return pa.Array.from_buffers(pa.binary(), len(found.offsets) - 1, [None, offsets, pa.py_buffer(found.data)])
