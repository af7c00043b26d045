"""Made-up Gleason 2019: cores of the prostate, each graded by several raters."""

from pathlib import Path

import cv2
import numpy as np

from histoseg.demo import drawing, files
from histoseg.sources.gleason2019 import BENIGN
from histoseg.types import Image, SemanticMap

SIZE = (480, 480)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write twelve small made-up cores of eight slides with three to six raters each, in the published layout."""
    folder = root / "Gleason2019"
    for i in range(12):
        core = f"slide{i % 8 + 1:03}_core{10 + i:03}"
        stain = drawing.draw_stain(rng)
        truth, image = _draw(stain, rng)
        files.write_image(folder / "Train Imgs" / f"{core}.jpg", image, quality=92)
        raters = sorted(rng.permutation(6)[: int(rng.integers(3, 7))] + 1)
        for rater in raters:
            name = f"{core}_classimg_nonconvex.png"
            rated = _disturb(truth, rng)
            files.write_image(folder / f"Maps{rater}_T" / f"Maps{rater}_T" / name, rated)


def _draw(stain: drawing.Stain, rng: np.random.Generator) -> tuple[SemanticMap, Image]:
    """A round core on glass with two or three kinds of tissue, and its true map."""
    core = drawing.fill(SIZE, drawing.outline(np.array([240.0, 240.0]), 212.0, rng, wobble=0.015))
    kinds = rng.permutation([1, 3, 4, 5])[: int(rng.integers(2, 4))]
    heights = np.stack([drawing.noise(SIZE, 150.0, rng) for _ in kinds])
    truth = np.where(core, kinds[heights.argmax(axis=0)], 0).astype(np.uint8)
    canvas = drawing.draw_stroma(SIZE, rng)
    drawing.add_nuclei(canvas, drawing.scatter(core, 20.0, rng), drawing.Cell(radius_px=2.0, length=2.6), rng)
    for kind, draw in ((1, _add_benign), (3, _add_grade3), (4, _add_grade4), (5, _add_grade5)):
        draw(canvas, truth == kind, rng)
    canvas.haematoxylin[~core], canvas.eosin[~core] = 0.01, 0.02
    return truth, drawing.render(canvas, stain, rng)


def _add_benign(canvas: drawing.Canvas, region: np.ndarray, rng: np.random.Generator) -> None:
    """Large glands with folded edges and wide lumina."""
    cell = drawing.Cell(radius_px=2.3, length=1.6, dark=0.8)
    _add_glands(canvas, region, (26.0, 40.0), rng, cell, (0.5, 0.68))


def _add_grade3(canvas: drawing.Canvas, region: np.ndarray, rng: np.random.Generator) -> None:
    """Small round separate glands."""
    _add_glands(canvas, region, (10.0, 15.0), rng, drawing.Cell(radius_px=2.5, dark=1.05), (0.3, 0.5))


def _add_glands(
    canvas: drawing.Canvas,
    region: np.ndarray,
    radii_px: tuple[float, float],
    rng: np.random.Generator,
    cell: drawing.Cell,
    lumina: tuple[float, float],
) -> None:
    inside = drawing.shrink(region, int(radii_px[0] * 0.8))
    for centre, radius in drawing.pack(SIZE, radii_px, int(60_000 / radii_px[1] ** 2), rng, gap=1.15):
        if inside[drawing.pixel(centre, SIZE)]:
            curve = drawing.outline(centre, radius, rng, wobble=0.08)
            drawing.draw_gland(canvas, curve, cell, rng, float(rng.uniform(*lumina)))


def _add_grade4(canvas: drawing.Canvas, region: np.ndarray, rng: np.random.Generator) -> None:
    """Fused sheets with many small holes."""
    sheet = drawing.shrink(region, 3)
    drawing.add_tissue(canvas, sheet, haematoxylin=0.27, eosin=0.36, rng=rng)
    drawing.add_nuclei(canvas, drawing.scatter(sheet, 8.0, rng), drawing.Cell(radius_px=2.6, dark=1.05), rng)
    for centre in drawing.scatter(drawing.shrink(region, 9), 21.0, rng):
        hole = drawing.fill(SIZE, drawing.outline(centre, float(rng.uniform(3, 6)), rng))
        drawing.add_tissue(canvas, hole, haematoxylin=0.03, eosin=0.07, rng=rng)


def _add_grade5(canvas: drawing.Canvas, region: np.ndarray, rng: np.random.Generator) -> None:
    """Single cells everywhere, no glands."""
    cell = drawing.Cell(radius_px=2.7, length=1.2, dark=1.2, spread=0.35)
    drawing.add_nuclei(canvas, drawing.scatter(region, 9.0, rng), cell, rng)


def _disturb(truth: SemanticMap, rng: np.random.Generator) -> SemanticMap:
    """What a rater draws: shifted borders, now and then the neighbouring grade, and a stray id as published."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    down, right = (5 * drawing.noise(SIZE, 60.0, rng) for _ in range(2))
    drawn: SemanticMap = cv2.remap(truth, columns + right, rows + down, cv2.INTER_NEAREST)
    if rng.random() < 0.25:
        drawn[drawn == 3] = 4
    if rng.random() < 0.1:
        drawn[drawn == BENIGN] = 6
    return drawn
