"""Made-up nuclei as the source `synthetic_nuclei` reads them: many in a small focus, the others far apart in stroma."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing, files
from histoseg.sources.synthetic_nuclei import FOLDER, LABEL
from histoseg.types import Image

NUM_IMAGES, SIDE_PX = 15, 384
RADIUS_PX = (20.0, 26.0)  # Of the focus: 1 % of an image, with a third of its nuclei
SPINDLE = drawing.Cell(radius_px=4.0, length=2.4, dark=0.9)
ROUND = drawing.Cell(radius_px=4.2, length=1.15, dark=0.9, spread=0.12)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write fifteen images, each of its own patient."""
    for i in range(NUM_IMAGES):
        image, instance_map = _draw(rng)
        name = f"patient{i + 1:02}"
        files.write_image(root / FOLDER / f"{name}.png", image)
        files.write_image(root / FOLDER / f"{name}{LABEL}.png", instance_map)


def _draw(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    """Stroma with few spindle nuclei, and a focus of crowded round ones in cytoplasm that is nearly as blue."""
    size = (SIDE_PX, SIDE_PX)
    canvas, stain = drawing.draw_stroma(size, rng), drawing.draw_stain(rng)
    centre = rng.uniform(RADIUS_PX[1], SIDE_PX - RADIUS_PX[1], 2)
    focus = drawing.fill(size, drawing.outline(centre, float(rng.uniform(*RADIUS_PX)), rng, wobble=0.12))
    drawing.add_tissue(canvas, focus, haematoxylin=0.42, eosin=0.4, rng=rng)
    instance_map = np.zeros(size, np.uint16)
    for where, spacing_px, cell in ((~focus, 76.0, SPINDLE), (drawing.shrink(focus, 3), 12.5, ROUND)):
        for spot in drawing.scatter(where, spacing_px, rng):
            nucleus = drawing.fill(size, drawing.add_nuclei(canvas, spot[None], cell, rng)[0])
            instance_map[nucleus] = instance_map.max() + 1
    return drawing.render(canvas, stain, rng), instance_map
