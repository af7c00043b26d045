"""Images of made-up tissue in the size that data sets publish, as raw files of the source `synthetic`."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing, files
from histoseg.sources import synthetic
from histoseg.types import Image, SemanticMap

SIDE_PX = 1000  # As MoNuSeg's images have (Kumar et al. 2017, Sec. II-A).


def draw_tissue(rng: np.random.Generator, side_px: int = SIDE_PX) -> tuple[Image, SemanticMap]:
    """Stroma, glands and nuclei with the grain and noise of a camera, so that codecs have what they have on tissue."""
    size = (side_px, side_px)
    canvas = drawing.draw_stroma(size, rng)
    everywhere = np.ones(size, bool)
    drawing.add_nuclei(canvas, drawing.scatter(everywhere, 30.0, rng), drawing.SPINDLE, rng)
    semantic_map = np.zeros(size, np.uint8)
    for centre, radius in drawing.pack(size, (50.0, 110.0), 12, rng, gap=1.15):
        curve = drawing.outline(centre, radius, rng)
        gland = drawing.draw_gland(canvas, curve, drawing.Cell(radius_px=6.0, length=1.6), rng)
        semantic_map[gland.whole] = 1
    return drawing.render(canvas, drawing.draw_stain(rng), rng), semantic_map


def write_raw(folder: Path, num_images: int) -> None:
    """Write images and masks as `histoseg.sources.synthetic` reads them, one patient each."""
    drawn = draw_tissue(np.random.default_rng(0))
    for i in range(num_images):
        image, semantic_map = (np.roll(pixels, 97 * i, axis=1) for pixels in drawn)  # To draw one takes a second.
        name = f"patient{i:03}_image{i:03}"
        files.write_image(folder / synthetic.FOLDER / f"{name}.png", image)
        files.write_image(folder / synthetic.FOLDER / f"{name}{synthetic.MASK}.png", semantic_map)
