"""Made-up nuclei as the source `synthetic_nuclei` reads them: in clusters, each of its own kind, in empty stroma."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing, files
from histoseg.sources.synthetic_nuclei import FOLDER, LABEL
from histoseg.types import Image

NUM_IMAGES, SIDE_PX = 15, 384
NUM_CLUSTERS, RADIUS_PX = 5, (34.0, 48.0)  # A fifth of an image; between them are fibres and nothing else.


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write fifteen images, each of its own patient."""
    for i in range(NUM_IMAGES):
        image, instance_map = _draw(rng)
        name = f"patient{i + 1:02}"
        files.write_image(root / FOLDER / f"{name}.png", image)
        files.write_image(root / FOLDER / f"{name}{LABEL}.png", instance_map)


def _draw(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    """Stroma without nuclei, and in it clusters of them, each of cells of its own kind in tissue of its own colour."""
    size = (SIDE_PX, SIDE_PX)
    canvas, stain = drawing.draw_stroma(size, rng), drawing.draw_stain(rng)
    instance_map = np.zeros(size, np.uint16)
    for centre, radius in drawing.pack(size, RADIUS_PX, NUM_CLUSTERS, rng, gap=1.0):
        cluster = drawing.fill(size, drawing.outline(centre, radius, rng, wobble=0.12))
        drawing.add_tissue(canvas, cluster, haematoxylin=rng.uniform(0.1, 0.4), eosin=rng.uniform(0.3, 0.6), rng=rng)
        cell = drawing.Cell(
            radius_px=rng.uniform(3.4, 5.0), length=rng.uniform(1.1, 2.2), dark=rng.uniform(0.6, 1.1), spread=0.12
        )
        for spot in drawing.scatter(drawing.shrink(cluster, 4), 3.2 * cell.radius_px, rng):
            nucleus = drawing.fill(size, drawing.add_nuclei(canvas, spot[None], cell, rng)[0])
            instance_map[nucleus] = instance_map.max() + 1
    return drawing.render(canvas, stain, rng), instance_map
