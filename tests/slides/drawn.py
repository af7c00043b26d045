"""Slides whose content is known: tissue on glass, and pyramids in the layouts of several programs."""

import cv2
import numpy as np
import tifffile

from histoseg.demo import drawing

GLASS = (242, 241, 243)


def piece_of_tissue(size, rng, strength=1.0):
    """Stroma with nuclei, as amounts of dye so many times the usual."""
    canvas = drawing.draw_stroma(size, rng)
    drawing.add_nuclei(canvas, drawing.scatter(np.ones(size, bool), 14.0, rng), drawing.SPINDLE, rng)
    stain = np.array([drawing.HAEMATOXYLIN, drawing.EOSIN], np.float32) * strength
    return drawing.render(canvas, stain, rng)


def draw_on_glass(strength=1.0, glass=GLASS, size=(300, 400)):
    """A picture of a slide, and where its tissue is: a large piece and a small one."""
    rng = np.random.default_rng(0)
    true = np.zeros(size, np.uint8)
    cv2.fillPoly(true, [drawing.outline(np.array([200.0, 150.0]), 95.0, rng)], 1)
    cv2.circle(true, (60, 60), 25, 1, -1)
    tissue = piece_of_tissue(size, rng, strength)
    light = np.array(glass) / 246  # What `render` shines through
    picture = np.where(true[:, :, None] > 0, tissue * light, np.array(glass) + rng.normal(0, 1.2, (*size, 3)))
    return picture.clip(0, 255).astype(np.uint8), true.astype(bool)


def save_slide(path, image, *, mpp=0.5, levels=(), compression=None, tile=(256, 256), below=True, **more):
    """A tiled TIFF with smaller levels below the page (SubIFDs) or as pages after it; mpp as its resolution."""
    density = 10000 / mpp
    options = {"photometric": "rgb", "tile": tile, "compression": compression, "metadata": None, **more}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        first = {"resolution": (density, density), "resolutionunit": "CENTIMETER"}
        file.write(image, subifds=len(levels) if below else 0, **first, **options)
        for factor in levels:
            size = (image.shape[1] // factor, image.shape[0] // factor)
            small = cv2.resize(image[: size[1] * factor, : size[0] * factor], size, interpolation=cv2.INTER_AREA)
            file.write(small, subfiletype=1, **options)
