"""Made-up mucosa of the colon at 0.5 microns per pixel: glands, their lumina, and nuclei of six kinds.

It is written as CRAG, as Lizard, and as a lab's own data (`histoseg/sources/_cerberus_native.py`).
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from histoseg.demo import drawing, files
from histoseg.sources import _cerberus_native
from histoseg.types import Image, InstanceMap, SemanticMap

GLAND, SURFACE = 1, 2
LUMEN = 1
EPITHELIAL, CONNECTIVE = 2, 6
# The kinds of Lizard by class id; diameters in tissue are 6 to 10 microns, spindles longer.
CELLS = {
    1: drawing.Cell(radius_px=2.9, length=2.2, dark=1.35, spread=0.1),
    EPITHELIAL: drawing.Cell(radius_px=4.2, length=1.6, dark=0.85),
    3: drawing.Cell(radius_px=3.2, length=1.05, dark=1.5, spread=0.08),
    4: drawing.Cell(radius_px=3.8, length=1.1, dark=1.0, spread=0.08),
    5: drawing.Cell(radius_px=3.1, length=1.5, dark=1.15, spread=0.08),
    CONNECTIVE: drawing.Cell(radius_px=3.6, length=3.2, dark=0.8),
}
# Amounts of haematoxylin and eosin around the nucleus: plasma cells are bluish, eosinophils bright red.
CYTOPLASM = {4: (0.34, 0.35), 5: (0.05, 1.0)}
INFLAMED = (1, 3, 3, 3, 4, 4, 5)
QUIET = (CONNECTIVE, CONNECTIVE, CONNECTIVE, 3, 4)

# Smaller remainders at the border of the image or the surface are removed; Cerberus drops smaller glands and lumina.
MIN_GLAND_PX = 1500
MIN_LUMEN_PX = 150
MIN_NUCLEUS_PX = 12

USUAL_PX = 296  # The mean side of `draw_mucosa`'s images, which hold up to eight glands
FIELD_BORDER_PX = 16  # Without objects, around a field
LONGEST_CELL_PX = 12  # A spindle reaches so far from its middle: 3.6 * 1.15 * (3.2 * 1.15) ** 0.5, and bumps


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The number and the class of the object that each pixel belongs to; drawing changes them in place."""

    instance_map: InstanceMap
    semantic_map: SemanticMap

    def add(self, mask: drawing.Mask, class_id: int) -> None:
        """Add an object, over earlier ones."""
        self.instance_map[mask] = self.instance_map.max() + 1
        self.semantic_map[mask] = class_id

    def clear(self, mask: drawing.Mask) -> None:
        """Remove all objects' pixels within a mask."""
        self.instance_map[mask], self.semantic_map[mask] = 0, 0

    def drop_below(self, area_px: int) -> None:
        """Remove objects smaller than an area."""
        self.clear(np.bincount(self.instance_map.ravel())[self.instance_map] < area_px)


@dataclass(frozen=True, kw_only=True)
class Mucosa:
    """An image with its glands, lumina and nuclei."""

    image: Image
    glands: Objects
    lumina: Objects
    nuclei: Objects


def write_crag(root: Path, rng: np.random.Generator) -> None:
    """Write nine made-up training and three validation images in the published layout."""
    for i in range(12):
        part, name = ("train", f"train_{i + 1}") if i < 9 else ("valid", f"test_{i - 8}")
        drawn = draw_mucosa(rng, malignant=i % 2 == 1)
        folder = root / "CRAG" / part
        files.write_image(folder / "Images" / f"{name}.png", drawn.image)
        files.write_image(folder / "Annotation" / f"{name}.png", drawn.glands.instance_map.astype(np.uint8))


def write_lizard(root: Path, rng: np.random.Generator) -> None:
    """Write nine made-up images in three folds and two external ones in the published layout."""
    names = ("consep_1", "consep_2", "crag_1", "crag_2", "dpath_1", "dpath_2", "glas_1", "glas_2", "pannuke_1")
    labels = root / "Lizard" / "Lizard_Labels"
    rows = ["Filename,Source,Split"]
    for i, name in enumerate((*names, "tcga_1", "tcga_2")):
        drawn = draw_mucosa(rng, has_surface=i % 4 == 3, malignant=i % 2 == 1)
        archive = "Lizard_Images1" if name.startswith("c") else "Lizard_Images2"
        files.write_image(root / "Lizard" / archive / f"{name}.png", drawn.image)
        maps = drawn.nuclei.instance_map, drawn.nuclei.semantic_map
        files.write_objects(labels / "Labels" / f"{name}.mat", *maps, rng)
        rows.append(f"{name},{name.partition('_')[0]},{i % 3 + 1}")
    files.write_table(labels / "info.csv", rows)


def _write_native(root: Path, rng: np.random.Generator, structure: str) -> None:
    """Write nine images of one structure in three folds and two external ones, each of another patient."""
    folder = root / "Laboratory" / _cerberus_native.FOLDER / structure
    rows = ["Filename,Split,Patient,MPP"]
    for i in range(11):
        name = f"{structure}_{i + 1:02}"
        drawn = draw_mucosa(rng, has_surface=i % 3 > 0, malignant=i % 2 == 1)
        objects = {"gland": drawn.glands, "lumen": drawn.lumina, "nuclei": drawn.nuclei}[structure]
        files.write_image(folder / "Images" / f"{name}.png", drawn.image)
        files.write_objects(folder / "Labels" / f"{name}.mat", objects.instance_map, objects.semantic_map, rng)
        fold = i // 3 + 1 if i < 9 else "external"
        rows.append(f"{name},{fold},case{i + 1},{'' if i % 2 else _cerberus_native.MPP}")
    files.write_table(folder / _cerberus_native.TABLE, rows)


write_cerberus_gland = partial(_write_native, structure="gland")
write_cerberus_lumen = partial(_write_native, structure="lumen")
write_cerberus_nuclei = partial(_write_native, structure="nuclei")


def draw_mucosa(rng: np.random.Generator, *, has_surface: bool = False, malignant: bool = False) -> Mucosa:
    """Glands of 40 to 80 microns in stroma, with the epithelium of the surface along the top if wanted."""
    size = (int(rng.integers(272, 321)), int(rng.integers(272, 321)))
    canvas, stain = drawing.draw_stroma(size, rng), drawing.draw_stain(rng)
    mucosa = _blank(size)
    _add_glands(canvas, mucosa, rng, malignant=malignant)
    if has_surface:
        _add_surface(canvas, mucosa, rng)
    _add_stromal_cells(canvas, mucosa, rng)
    _finish(canvas, mucosa, stain, rng)
    return mucosa


def draw_field(
    size: tuple[int, int], stain: drawing.Stain, rng: np.random.Generator, *, density: float = 1.0
) -> Mucosa:
    """Mucosa of any size whose objects all lie whole within it, at least 16 pixels from the border.

    Fields side by side so have the objects of each, and no more. `density` multiplies the cells between the glands.
    """
    canvas = drawing.draw_stroma(size, rng)
    mucosa = _blank(size)
    _add_glands(canvas, mucosa, rng, malignant=False, border_px=FIELD_BORDER_PX)
    _add_stromal_cells(canvas, mucosa, rng, density=density, border_px=FIELD_BORDER_PX)
    _finish(canvas, mucosa, stain, rng)
    return mucosa


def _blank(size: tuple[int, int]) -> Mucosa:
    return Mucosa(image=np.zeros((*size, 3), np.uint8), glands=_none(size), lumina=_none(size), nuclei=_none(size))


def _none(size: tuple[int, int]) -> Objects:
    return Objects(instance_map=np.zeros(size, np.int32), semantic_map=np.zeros(size, np.uint8))


def _finish(canvas: drawing.Canvas, mucosa: Mucosa, stain: drawing.Stain, rng: np.random.Generator) -> None:
    """Remove what is left of objects under others, and render the image."""
    mucosa.glands.drop_below(MIN_GLAND_PX)
    mucosa.lumina.clear(mucosa.glands.instance_map == 0)
    mucosa.lumina.drop_below(MIN_LUMEN_PX)
    mucosa.nuclei.drop_below(MIN_NUCLEUS_PX)
    mucosa.image[:] = drawing.render(canvas, stain, rng)


def _add_glands(
    canvas: drawing.Canvas, mucosa: Mucosa, rng: np.random.Generator, *, malignant: bool, border_px: int | None = None
) -> None:
    """Round glands with a wide lumen, or ragged ones with a narrow lumen and larger nuclei.

    With a border, only glands that lie whole within it are drawn; without, the image cuts some.
    """
    cell = drawing.Cell(radius_px=4.8, length=1.3, dark=1.0, spread=0.25) if malignant else CELLS[EPITHELIAL]
    count = 8 if border_px is None else round(8 * canvas.size[0] * canvas.size[1] / USUAL_PX**2)
    for centre, radius in drawing.pack(canvas.size, (42.0, 78.0), count, rng, gap=1.1):
        curve = drawing.outline(centre, radius, rng, wobble=0.1 if malignant else 0.05)
        if drawing.fill(canvas.size, curve).sum() < MIN_GLAND_PX:
            continue
        if border_px is not None and not _lies_within(curve, canvas.size, border_px):
            continue
        lumen = float(rng.uniform(0.3, 0.42) if malignant else rng.uniform(0.45, 0.58))
        gland = drawing.draw_gland(canvas, curve, cell, rng, lumen)
        mucosa.lumina.clear(gland.whole)
        mucosa.nuclei.clear(gland.whole)
        mucosa.glands.add(gland.whole, GLAND)
        mucosa.lumina.add(gland.lumen, LUMEN)
        for nucleus in gland.nuclei:
            mucosa.nuclei.add(drawing.fill(canvas.size, nucleus), EPITHELIAL)


def _add_surface(canvas: drawing.Canvas, mucosa: Mucosa, rng: np.random.Generator) -> None:
    """Glass along the top and a band of epithelium below it, over all that was drawn there."""
    height, width = canvas.size
    edge = 18 + 6 * drawing.noise((1, width), 60.0, rng)[0].clip(-2, 2)
    rows = np.arange(height)[:, None]
    glass, band = rows < edge, (rows >= edge) & (rows < edge + 38)
    drawing.add_tissue(canvas, glass, haematoxylin=0.02, eosin=0.03, rng=rng)
    drawing.add_tissue(canvas, band, haematoxylin=0.22, eosin=0.36, rng=rng)
    for objects in (mucosa.glands, mucosa.lumina, mucosa.nuclei):
        objects.clear(glass | band)
    mucosa.glands.add(band, SURFACE)
    columns = np.arange(4.0, width, 7.5)
    spots = np.column_stack([columns, np.interp(columns, np.arange(width), edge) + 26])
    upright = np.full(len(spots), np.pi / 2) + rng.normal(0, 0.1, len(spots))
    for nucleus in drawing.add_nuclei(canvas, spots, CELLS[EPITHELIAL], rng, upright.tolist()):
        mucosa.nuclei.add(drawing.fill(canvas.size, nucleus), EPITHELIAL)


def _lies_within(curve: drawing.Polygon, size: tuple[int, int], border_px: int) -> bool:
    return bool(curve.min() >= border_px and (curve.max(axis=0) < np.array(size[::-1]) - border_px).all())


def _add_stromal_cells(
    canvas: drawing.Canvas, mucosa: Mucosa, rng: np.random.Generator, *, density: float = 1.0, border_px: int = 0
) -> None:
    """Cells of all other kinds between the glands, dense where the stroma is inflamed."""
    free = drawing.shrink(mucosa.glands.instance_map == 0, 6)
    reach = border_px + LONGEST_CELL_PX if border_px else 0
    free[:reach], free[len(free) - reach :], free[:, :reach], free[:, free.shape[1] - reach :] = (False,) * 4
    if SURFACE in mucosa.glands.semantic_map:
        below = np.maximum.accumulate(mucosa.glands.semantic_map == SURFACE, axis=0)
        free &= below  # Not on the glass.
    inflamed = drawing.noise(canvas.size, 60.0, rng) > 0.1
    for where, kinds, spacing in ((free & inflamed, INFLAMED, 10.0), (free & ~inflamed, QUIET, 17.0)):
        for spot in drawing.scatter(where, spacing / density**0.5, rng):
            _add_cell(canvas, mucosa.nuclei, spot, int(rng.choice(kinds)), rng)


def _add_cell(
    canvas: drawing.Canvas, nuclei: Objects, spot: drawing.Point, kind: int, rng: np.random.Generator
) -> None:
    if kind in CYTOPLASM:
        haematoxylin, eosin = CYTOPLASM[kind]
        around = (int(spot[0]) + int(rng.integers(-1, 2)), int(spot[1]) + int(rng.integers(-1, 2)))
        cv2.circle(canvas.haematoxylin, around, 6, haematoxylin, -1)
        cv2.circle(canvas.eosin, around, 6, eosin, -1)
    (nucleus,) = drawing.add_nuclei(canvas, spot[None], CELLS[kind], rng)
    nuclei.add(drawing.fill(canvas.size, nucleus), kind)
