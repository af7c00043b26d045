"""Made-up CoNSeP: nests of epithelium in stroma, with nuclei of the seven published types."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing, files
from histoseg.types import Image

CELLS = {  # By published type.
    1: drawing.Cell(radius_px=4.0, length=1.6, dark=0.55),
    2: drawing.Cell(radius_px=4.0, length=1.05, dark=1.45, spread=0.08),
    3: drawing.Cell(radius_px=6.5, length=1.7, dark=0.8, spread=0.08),
    4: drawing.Cell(radius_px=8.5, length=1.3, dark=1.0, spread=0.3),
    5: drawing.Cell(radius_px=4.5, length=3.0, dark=0.85),
    6: drawing.Cell(radius_px=4.5, length=4.0, dark=0.75),
    7: drawing.Cell(radius_px=4.0, length=2.4, dark=0.95),
}


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write six made-up training and three test images in the published layout, with the seven types."""
    for i in range(9):
        part, name = ("Train", f"train_{i + 1}") if i < 6 else ("Test", f"test_{i - 5}")
        image, inst_map, type_map = _draw(rng)
        folder = root / "CoNSeP" / part
        files.write_image(folder / "Images" / f"{name}.png", image)
        _write_mat(folder / "Labels" / f"{name}.mat", inst_map, type_map)


def _draw(rng: np.random.Generator) -> tuple[Image, np.ndarray, np.ndarray]:
    """Nests of healthy or malignant epithelium, and stroma with all other types."""
    size = (256, 256)
    canvas, stain = drawing.draw_stroma(size, rng), drawing.draw_stain(rng)
    nests = drawing.noise(size, 75.0, rng) > 0.2
    inflamed = (drawing.noise(size, 70.0, rng) > 0.5) & ~nests
    quiet = ~nests & ~inflamed
    drawing.add_tissue(canvas, nests, haematoxylin=0.18, eosin=0.42, rng=rng)
    inst_map, type_map = np.zeros(size, np.int32), np.zeros(size, np.uint8)
    epithelial = int(rng.integers(3, 5))
    for where, kinds, spacing in (
        (nests, (epithelial,), 23.0),
        (inflamed, (2, 2, 2, 1), 13.0),
        (quiet, (1, 5, 6, 7), 26.0),
    ):
        for spot in drawing.scatter(where, spacing, rng):
            kind = int(rng.choice(kinds))
            nucleus = drawing.fill(size, drawing.add_nuclei(canvas, spot[None], CELLS[kind], rng)[0])
            inst_map[nucleus], type_map[nucleus] = inst_map.max() + 1, kind
    return drawing.render(canvas, stain, rng), inst_map, type_map


def _write_mat(path: Path, inst_map: np.ndarray, type_map: np.ndarray) -> None:
    """Write a label file as published: float64, one row of `inst_type` per nucleus."""
    numbers, first = np.unique(inst_map, return_index=True)
    inst_type = type_map.ravel()[first[numbers > 0]][:, None].astype(np.float64)
    content = {"inst_map": inst_map.astype(np.float64), "type_map": type_map.astype(np.float64), "inst_type": inst_type}
    files.write_mat(path, content)
