"""Made-up nuclei as the source `synthetic_nuclei` reads them: many in small foci, the others far apart in stroma."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing, files
from histoseg.sources.synthetic_nuclei import FOLDER, LABEL
from histoseg.types import Image

NUM_IMAGES, SIDE_PX = 18, 256
FOCI, RADII_PX = 2, (24.0, 34.0)  # Together some 8 % of an image, with half of its nuclei
SPINDLE = drawing.Cell(radius_px=4.0, length=2.4, dark=0.9)
PALE = drawing.Cell(radius_px=4.4, length=1.2, dark=0.75, spread=0.12)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write eighteen images, each of its own patient."""
    for i in range(NUM_IMAGES):
        image, instance_map = _draw(rng)
        name = f"patient{i + 1:02}"
        files.write_image(root / FOLDER / f"{name}.png", image)
        files.write_image(root / FOLDER / f"{name}{LABEL}.png", instance_map)


def _draw(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    """Stroma with few dark spindle nuclei, and foci of crowded pale round ones in blue cytoplasm."""
    size = (SIDE_PX, SIDE_PX)
    canvas, stain = drawing.draw_stroma(size, rng), drawing.draw_stain(rng)
    foci = np.zeros(size, bool)
    for centre, radius in drawing.pack(size, RADII_PX, FOCI, rng, gap=1.5):
        foci |= drawing.fill(size, drawing.outline(centre, radius, rng, wobble=0.15))
    drawing.add_tissue(canvas, foci, haematoxylin=0.3, eosin=0.4, rng=rng)
    instance_map = np.zeros(size, np.uint16)
    for where, spacing_px, cell in ((~foci, 44.0, SPINDLE), (drawing.shrink(foci, 4), 14.0, PALE)):
        for spot in drawing.scatter(where, spacing_px, rng):
            nucleus = drawing.fill(size, drawing.add_nuclei(canvas, spot[None], cell, rng)[0])
            instance_map[nucleus] = instance_map.max() + 1
    return drawing.render(canvas, stain, rng), instance_map
