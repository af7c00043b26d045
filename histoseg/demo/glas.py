"""Made-up GlaS: glands, benign and malignant."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing, files


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write fourteen small made-up images of eight patients in the published layout."""
    folder = root / "GlaS" / "Warwick QU Dataset (Released 2016_07_08)"
    stains = [drawing.draw_stain(rng) for _ in range(8)]
    names = [f"train_{i}" for i in range(1, 9)] + [f"testA_{i}" for i in range(1, 5)] + ["testB_1", "testB_2"]
    rows = ["name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"]
    for i, name in enumerate(names):
        malignant = i % 2 == 1
        image, instance_map = _draw(stains[i % 8], rng, malignant=malignant)
        files.write_image(folder / f"{name}.bmp", image)
        files.write_image(folder / f"{name}_anno.bmp", instance_map)
        rows.append(f"{name},{i % 8 + 1}, {'malignant, poorly differentiated' if malignant else 'benign, healthy'}")
    files.write_table(folder / "Grade.csv", rows)


def _draw(stain: drawing.Stain, rng: np.random.Generator, *, malignant: bool) -> tuple[np.ndarray, np.ndarray]:
    """An image and its gland numbers; malignant glands are ragged with little lumen."""
    size = (int(rng.integers(200, 241)), int(rng.integers(280, 321)))
    canvas = drawing.draw_stroma(size, rng)
    drawing.add_nuclei(canvas, drawing.scatter(np.ones(size, bool), 21.0, rng), drawing.SPINDLE, rng)
    instance_map = np.zeros(size, np.uint8)
    radii = (20.0, 42.0) if malignant else (26.0, 46.0)
    cell = drawing.Cell(radius_px=3.2 if malignant else 2.7, length=1.4 if malignant else 2.0)
    for number, (centre, radius) in enumerate(drawing.pack(size, radii, 9, rng, gap=1.12), start=1):
        curve = drawing.outline(centre, radius, rng, wobble=0.14 if malignant else 0.07)
        lumen = float(rng.uniform(0.12, 0.4) if malignant else rng.uniform(0.4, 0.6))
        instance_map[drawing.draw_gland(canvas, curve, cell, rng, lumen).whole] = number
    return drawing.render(canvas, stain, rng), instance_map
