"""Made-up results of slides, in the layout that `histoseg segment` writes: nuclei and glands of known place and size.

Outlines are ellipses of 12 to 20 points on a jittered grid; shapely writes them, so that reading is checked against it.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import shapely
import tifffile
from PIL import Image

from histoseg.slides.objects import SCHEMA, ObjectsAbout, write_objects
from histoseg.slides.summary import Counts, MaskAbout, ModelAbout, StructureAbout, Summary, TissueAbout
from histoseg.slides.tissue_map import write_tissue

CLASSES = {"nuclei": ("neutrophil", "epithelial", "lymphocyte", "connective"), "gland": (), "lumen": ()}
WORDS = {"nuclei": ("nucleus", "nuclei"), "gland": ("gland", "glands"), "lumen": ("lumen", "lumina")}
COLOURS = {
    "nuclei": {
        "neutrophil": "#009E73",
        "epithelial": "#F0E442",
        "lymphocyte": "#56B4E9",
        "connective": "#E69F00",
        "": "#8a8f96",
    },
    "gland": {"": "#D55E00"},
    "lumen": {"": "#0072B2"},
}
INK = {"nuclei": (88, 60, 130), "gland": (206, 160, 196), "lumen": (244, 240, 243)}
TISSUE = ("background", "tumour", "stroma", "inflammatory")
TISSUE_COLOURS = ("", "#E69F00", "#56B4E9", "#009E73")
SQUARE_PX = 288.0  # 72 um at 0.25 um a pixel
MPP = 0.25
PAPER = (241, 224, 235)


@dataclass(frozen=True, kw_only=True)
class MadeUp:
    """Objects of one slide, by structure: shapely polygons, classes and probabilities."""

    width: int
    height: int
    polygons: dict
    classes: dict


def make_objects(*, width, height, num_nuclei, num_glands, seed=0):
    """Nuclei of about 5 um everywhere, denser in the middle; glands with a lumen each."""
    rng = np.random.default_rng(seed)
    polygons, classes = {}, {}
    centres, spacing = _grid(rng, width, height, num_nuclei)
    radii = np.minimum(rng.uniform(7, 12, num_nuclei), 0.42 * spacing)
    polygons["nuclei"] = _ellipses(rng, centres, radii)
    place = np.sin(centres[:, 0] / 900) + np.cos(centres[:, 1] / 700) + rng.normal(0, 0.5, num_nuclei)
    classes["nuclei"] = np.digitize(place, [-1.2, 0.2, 1.4])
    centres, spacing = _grid(rng, width, height, num_glands)
    radii = np.minimum(rng.uniform(90, 220, num_glands), 0.4 * spacing)
    whole = _ellipses(rng, centres, radii, points=(30, 60))
    lumina = shapely.transform(whole, lambda points: points)
    polygons["lumen"] = shapely.from_wkb([shapely.to_wkb(_shrunk(one, 0.45)) for one in lumina])
    polygons["gland"] = whole
    return MadeUp(width=width, height=height, polygons=polygons, classes=classes)


def _shrunk(polygon, factor):
    centre = polygon.centroid
    return shapely.transform(polygon, lambda points: (points - (centre.x, centre.y)) * factor + (centre.x, centre.y))


def _grid(rng, width, height, count):
    """So many places on a jittered grid, and its spacing."""
    if not count:
        return np.zeros((0, 2)), 1.0
    columns = max(1, round(np.sqrt(count * width / height)))
    rows = -(-count // columns)
    spacing = min(width / columns, height / rows)
    places = rng.permutation(columns * rows)[:count]
    centres = np.stack([(places % columns + 0.5) * width / columns, (places // columns + 0.5) * height / rows], axis=1)
    return centres + rng.uniform(-0.08, 0.08, (count, 2)) * spacing, spacing


def _ellipses(rng, centres, radii, points=(12, 20)):
    counts = rng.integers(points[0], points[1] + 1, len(centres))
    owners = np.repeat(np.arange(len(centres)), counts)
    starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
    angles = 2 * np.pi * (np.arange(len(owners)) - starts[owners]) / counts[owners]
    squeeze, turn = rng.uniform(0.65, 1, len(centres))[owners], rng.uniform(0, np.pi, len(centres))[owners]
    wobble = rng.uniform(0.92, 1.0, len(owners)) * radii[owners]
    u, v = wobble * np.cos(angles), wobble * squeeze * np.sin(angles)
    offsets = np.stack([u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)], axis=1)
    return shapely.polygons(shapely.linearrings(centres[owners] + offsets, indices=owners))


def make_table(made, seed=0):
    """The objects as a table; `write_objects` puts them in order."""
    rng = np.random.default_rng(seed)
    names, shapes, found = [], [], []
    for structure, polygons in made.polygons.items():
        names += [structure] * len(polygons)
        shapes.append(polygons)
        numbers = made.classes.get(structure)
        found += [None] * len(polygons) if numbers is None else [CLASSES[structure][i] for i in numbers]
    shapes = np.concatenate(shapes)
    centroids = shapely.get_coordinates(shapely.centroid(shapes))
    names, found, bounds = np.array(names, object), np.array(found, object), shapely.bounds(shapes)
    shares = pa.array(rng.uniform(0.5, 1, len(shapes)), pa.float32(), mask=np.array([one is None for one in found]))
    sides = [pa.array(bounds[:, i], pa.float32()) for i in range(4)]
    columns = {
        "id": pa.array(np.arange(1, len(shapes) + 1), pa.int32()),
        "structure": pa.array(names, pa.string()).dictionary_encode(),
        "class": pa.array(found, pa.string()).dictionary_encode(),
        "class_probability": shares,
        "area_um2": pa.array(shapely.area(shapes) * MPP**2, pa.float32()),
        "x": pa.array(centroids[:, 0], pa.float32()),
        "y": pa.array(centroids[:, 1], pa.float32()),
        "bbox": pa.StructArray.from_arrays(sides, ["xmin", "ymin", "xmax", "ymax"]),
        "geometry": pa.array(shapely.to_wkb(shapes, byte_order=1), pa.binary()),
    }
    return pa.table(columns).cast(SCHEMA)


def write_results(folder, made, *, slide=None, caveats=()):
    """One slide's folder below the folder of results; `slide` is the path of its picture."""
    folder.mkdir(parents=True, exist_ok=True)
    about = ObjectsAbout(name=folder.name, size_px=(made.width, made.height), mpp=MPP, model_sha256="0" * 64)
    write_objects(folder / "objects.parquet", [make_table(made)], about)
    grid = make_tissue(made)
    write_tissue(folder / "tissue.tif", grid, TISSUE, ["#FFFFFF", *TISSUE_COLOURS[1:]], SQUARE_PX, MPP)
    thumbnail = draw_thumbnail(made)
    Image.fromarray(thumbnail).save(folder / "thumbnail.jpg")
    summary = summarise(folder.name, made, grid, slide, caveats)
    (folder / "summary.json").write_text(summary.model_dump_json())


def summarise(name, made, grid, slide, caveats):
    """The summary, counted from what was made."""
    counts = {}
    for structure, polygons in made.polygons.items():
        numbers = made.classes.get(structure)
        by_class = {} if numbers is None else {c: int((numbers == i).sum()) for i, c in enumerate(CLASSES[structure])}
        counts[structure] = Counts(all=len(polygons), classes=by_class)
    shares = np.round(np.bincount(grid.ravel(), minlength=len(TISSUE)) / grid.size, 4).tolist()
    return Summary(
        name=name,
        address=str(slide or ""),
        size_px=(made.width, made.height),
        mpp=MPP,
        model=ModelAbout(sha256="0" * 64, origin="made-up model", mpp=0.5),
        caveats=list(caveats),
        structures={
            name: StructureAbout(singular=one, plural=many, classes=list(CLASSES[name]), colours=COLOURS[name])
            for name, (one, many) in WORDS.items()
        },
        counts=counts,
        tissue=TissueAbout(
            classes=list(TISSUE),
            colours=list(TISSUE_COLOURS),
            square_px=SQUARE_PX,
            shares=dict(zip(TISSUE, shares, strict=True)),
        ),
        mask=MaskAbout(kind="automatic", area_mm2=round(made.width * made.height * MPP**2 / 1e6, 3)),
        files=["objects.parquet", "thumbnail.jpg", "tissue.tif"],
        made_of=f"made up {name}",
        histoseg="0.1.0",
        seconds=1.0,
    )


def make_tissue(made):
    """Classes in waves, background along the edge."""
    rows, columns = (max(1, -(-int(side) // int(SQUARE_PX))) for side in (made.height, made.width))
    y, x = np.mgrid[:rows, :columns]
    wave = np.sin(x / 5) + np.cos(y / 4)
    grid = np.digitize(wave, [-0.6, 0.7]).astype(np.uint8) + 1
    if min(rows, columns) > 4:
        grid[[0, -1]] = 0
        grid[:, [0, -1]] = 0
    return grid


def draw_slide(made):
    """The picture that the objects would have been found in."""
    pixels = np.full((made.height, made.width, 3), PAPER, np.uint8)
    for structure in ("gland", "lumen", "nuclei"):
        shapes = [np.round(shapely.get_coordinates(one) - 0.5).astype(np.int32) for one in made.polygons[structure]]
        for first in range(0, len(shapes), 10_000):
            cv2.fillPoly(pixels, shapes[first : first + 10_000], INK[structure])
    return pixels


def draw_thumbnail(made):
    side = 256 / max(made.width, made.height)
    pixels = np.full((max(1, round(made.height * side)), max(1, round(made.width * side)), 3), PAPER, np.uint8)
    for one in made.polygons["gland"]:
        cv2.fillPoly(pixels, [np.round(shapely.get_coordinates(one) * side).astype(np.int32)], INK["gland"])
    return pixels


def write_slide(path, pixels):
    """A pyramid of JPEG tiles."""
    with tifffile.TiffWriter(path) as file:
        options = {"tile": (256, 256), "compression": "jpeg", "photometric": "rgb"}
        levels = [pixels]
        while max(levels[-1].shape[:2]) > 512:
            levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        file.write(levels[0], subifds=len(levels) - 1, resolution=(1e4 / MPP, 1e4 / MPP), resolutionunit=3, **options)
        for level in levels[1:]:
            file.write(level, subfiletype=1, **options)


def write_slide_with_results(folder, name, *, caveats=(), **sizes):
    """A slide and its results: `folder/slides/NAME.tif` and `folder/results/NAME/`."""
    made = make_objects(**sizes)
    slide = Path(folder) / "slides" / f"{name}.tif"
    slide.parent.mkdir(parents=True, exist_ok=True)
    write_slide(slide, draw_slide(made))
    write_results(Path(folder) / "results" / name, made, slide=slide, caveats=caveats)
    return made
