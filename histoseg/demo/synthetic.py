"""Made-up tissue of three classes, as the source `synthetic` reads it."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing, files
from histoseg.sources.synthetic import FOLDER, MASK
from histoseg.types import Image, SemanticMap


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write twelve images of eight patients."""
    stains = [drawing.draw_stain(rng) for _ in range(8)]
    for i in range(12):
        image, semantic_map = _draw(stains[i % 8], rng)
        name = f"patient{i % 8 + 1:02}_image{i + 1:02}"
        files.write_image(root / FOLDER / f"{name}.png", image)
        files.write_image(root / FOLDER / f"{name}{MASK}.png", semantic_map)


def _draw(stain: drawing.Stain, rng: np.random.Generator) -> tuple[Image, SemanticMap]:
    """Stroma with round glands, and a tumour of crowded cells."""
    size = (int(rng.integers(192, 257)), int(rng.integers(192, 257)))
    canvas = drawing.draw_stroma(size, rng)
    drawing.add_nuclei(canvas, drawing.scatter(np.ones(size, bool), 24.0, rng), drawing.SPINDLE, rng)
    semantic_map = np.zeros(size, np.uint8)
    for centre, radius in drawing.pack(size, (20.0, 38.0), 7, rng, gap=1.15):
        curve = drawing.outline(centre, radius, rng, wobble=0.08)
        semantic_map[drawing.draw_gland(canvas, curve, drawing.Cell(radius_px=3.0, length=1.7), rng).whole] = 1
    centre = rng.uniform(0.2, 0.8, 2) * (size[1], size[0])
    tumour = drawing.fill(size, drawing.outline(centre, float(rng.uniform(40, 65)), rng, wobble=0.2))
    semantic_map[tumour] = 2
    drawing.add_tissue(canvas, tumour, haematoxylin=0.25, eosin=0.45, rng=rng)
    cell = drawing.Cell(radius_px=4.0, length=1.3, dark=1.05, spread=0.3)
    drawing.add_nuclei(canvas, drawing.scatter(tumour, 11.0, rng), cell, rng)
    return drawing.render(canvas, stain, rng), semantic_map
