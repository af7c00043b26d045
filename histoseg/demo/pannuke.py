"""Made-up PanNuke: nuclei of five types."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing
from histoseg.sources.pannuke import NUM_NUCLEI_CHANNELS
from histoseg.types import FOLDS, Image

CELLS = {  # By class id, at 0.25 microns per pixel.
    1: drawing.Cell(radius_px=9.5, length=1.3, dark=1.0, spread=0.25),
    2: drawing.Cell(radius_px=6.0, length=1.05, dark=1.45, spread=0.08),
    3: drawing.Cell(radius_px=6.5, length=3.2, dark=0.8),
    4: drawing.Cell(radius_px=4.5, length=1.1, dark=2.0, spread=0.2),
    5: drawing.Cell(radius_px=7.5, length=1.6, dark=0.75, spread=0.1),
}
TISSUES = ("Breast", "Colon", "Bile-duct")


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write three folds of three made-up images, nested as the official archives are.

    Images are float32 and masks uint16 instead of the published float64, which would take four times the space.
    """
    for i, fold in enumerate(FOLDS, start=1):
        drawn = [_draw(rng) for _ in TISSUES]
        top = root / "PanNuke" / f"Fold {i}"
        for kind, name, array in (
            ("images", "images", np.stack([image for image, _ in drawn]).astype(np.float32)),
            ("images", "types", np.array(TISSUES)),
            ("masks", "masks", np.stack([masks for _, masks in drawn])),
        ):
            folder = top / kind / fold
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{name}.npy", array)


def _draw(rng: np.random.Generator) -> tuple[Image, np.ndarray]:
    """Nests of neoplastic or healthy epithelium with dead cells, and stroma with the other types."""
    size = (256, 256)
    canvas, stain = drawing.draw_stroma(size, rng), drawing.draw_stain(rng)
    nests = drawing.noise(size, 75.0, rng) > 0
    inflamed = (drawing.noise(size, 70.0, rng) > 0.4) & ~nests
    drawing.add_tissue(canvas, nests, haematoxylin=0.18, eosin=0.42, rng=rng)
    masks = np.zeros((*size, NUM_NUCLEI_CHANNELS + 1), np.uint16)
    for where, kinds, spacing in (
        (nests, (1, 1, 1, 1, 4), 25.0) if rng.random() < 0.6 else (nests, (5, 5, 5, 5, 4), 22.0),
        (inflamed, (2,), 15.0),
        (~nests & ~inflamed, (3, 3, 2), 27.0),
    ):
        for spot in drawing.scatter(where, spacing, rng):
            kind = int(rng.choice(kinds))
            nucleus = drawing.fill(size, drawing.add_nuclei(canvas, spot[None], CELLS[kind], rng)[0])
            masks[nucleus] = 0
            masks[nucleus, kind - 1] = masks.max() + 1
    masks[:, :, -1] = (masks == 0).all(axis=2)
    return drawing.render(canvas, stain, rng), masks
