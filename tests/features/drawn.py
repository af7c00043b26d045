"""Drawn objects and slides whose features are known."""

from dataclasses import replace

import numpy as np
import shapely
from shapely import affinity

from histoseg.features.slide import ObjectTable, SegmentedSlide, TissueSquares
from histoseg.maps.outlines import trace_polygons

TYPES = ("neutrophil", "epithelial", "lymphocyte")
TISSUE = ("background", "abnormal_epithelium", "stroma", "muscle")


def shape_of(label_map, mpp=0.5):
    """The shape of object 1 of a map along its pixels' edges, in microns."""
    pieces = trace_polygons(np.asarray(label_map, np.int32))[1]
    return shapely.multipolygons([shapely.Polygon(rings[0] * mpp, [r * mpp for r in rings[1:]]) for rings in pieces])


def table(points=(), kinds=None, *, classes=(), areas=None, shapes=None):
    """Objects at these points; those with shapes have their centroids and areas."""
    if shapes is not None:
        shapes = np.array([*shapes, None], object)[:-1]
        points, areas = shapely.get_coordinates(shapely.centroid(shapes)), shapely.area(shapes)
    points = np.asarray(points, np.float64).reshape(-1, 2)
    count = len(points)
    return ObjectTable(
        ids=np.arange(1, count + 1, dtype=np.int32),
        kinds=np.full(count, -1, np.int16) if kinds is None else np.asarray(kinds, np.int16),
        classes=classes,
        areas_um2=np.full(count, 20.0) if areas is None else np.asarray(areas, np.float64),
        points_um=points,
        shapes=shapes,
    )


def tissue_map(squares, side=100.0, size=None):
    squares = np.asarray(squares, np.uint8)
    height, width = (count * side for count in squares.shape)
    return TissueSquares(squares=squares, classes=TISSUE, side_um=(side, side), size_um=size or (width, height))


def slide(tissue=None, mask_mm2=1.0, **objects):
    return SegmentedSlide(name="drawn", mpp=0.5, objects=objects, tissue=tissue, mask_mm2=mask_mm2)


def busy_slide(rng=None):
    """Glands with lumina among nuclei of every type, in squares of every class."""
    rng = rng or np.random.default_rng(5)
    glands, lumina = [], []
    for i, (x, y) in enumerate(((163, 141), (421, 162), (254, 423), (643, 434), (655, 137))):
        gland = affinity.rotate(affinity.scale(shapely.Point(x, y).buffer(70 + 7 * i), 1.0, 0.6 + 0.08 * i), 31 * i)
        glands.append(gland)
        lumina += [affinity.scale(gland, 0.3, 0.3)] if i else []
    nuclei = rng.uniform((10, 10), (790, 590), (900, 2))
    squares = np.pad(rng.integers(0, 4, (4, 6)), 1)
    return slide(
        tissue_map(squares),
        gland=table(shapes=glands),
        lumen=table(shapes=lumina),
        nuclei=table(nuclei, rng.integers(-1, 3, 900), classes=TYPES, areas=rng.uniform(15, 60, 900)),
    )


def moved(drawn, matrix, squares):
    """The slide with all coordinates mapped by x' = a x + b y + c, y' = d x + e y + f, and these squares of tissue."""
    (a, b, c), (d, e, f) = matrix
    linear, shift = np.array([[a, b], [d, e]]), np.array([c, f])
    grows = abs(np.linalg.det(linear))

    def move(one):
        shapes = None if one.shapes is None else shapely.transform(one.shapes, lambda at: at @ linear.T + shift)
        return replace(one, points_um=one.points_um @ linear.T + shift, areas_um2=one.areas_um2 * grows, shapes=shapes)

    tissue = drawn.tissue
    side = tissue.side_um[0] * np.sqrt(grows)
    return replace(
        drawn,
        objects={name: move(one) for name, one in drawn.objects.items()},
        tissue=tissue_map(squares, side),
    )
