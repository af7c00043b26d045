"""Made-up DigestPath: mucosa with lesions."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing, files


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write eight made-up images with lesions and two without, of eight patients, in the published layout."""
    folder = root / "DigestPath" / "Colonoscopy_tissue_segment_dataset"
    for i in range(8):
        stain = drawing.draw_stain(rng)
        image, lesion = _draw(stain, rng, has_lesion=True)
        name = f"2018_{61900 + 7 * i}_1-{i % 3 + 1}_2019-02-2{i} 21_58_2{i}-lv1-{1000 + i}-2000-500-500"
        files.write_image(folder / "tissue-train-pos-v1" / f"{name}.jpg", image, quality=92)
        mask = lesion.astype(np.uint8) * 255
        files.write_image(folder / "tissue-train-pos-v1" / f"{name}_mask.jpg", mask, quality=92)
        if i < 2:
            image, _ = _draw(stain, rng, has_lesion=False)
            files.write_image(folder / "tissue-train-neg" / f"{name.replace('lv1', 'lv1-neg')}.jpg", image, quality=92)


def _draw(stain: drawing.Stain, rng: np.random.Generator, *, has_lesion: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mucosa of round pale crypts, and the region in which crowded dark glands took their place."""
    size = (int(rng.integers(400, 521)), int(rng.integers(400, 521)))
    canvas = drawing.draw_stroma(size, rng)
    drawing.add_nuclei(canvas, drawing.scatter(np.ones(size, bool), 15.0, rng), drawing.Cell(radius_px=2.2), rng)
    centre = rng.uniform(0.3, 0.7, 2) * (size[1], size[0])
    radius = float(rng.uniform(0.24, 0.38) * min(size)) if has_lesion else 1.0
    lesion = drawing.fill(size, drawing.outline(centre, radius, rng, wobble=0.2)) & has_lesion
    for spot, reach in drawing.pack(size, (17.0, 27.0), 110, rng, gap=1.1):
        if not lesion[drawing.pixel(spot, size)]:
            curve = drawing.outline(spot, reach, rng, 0.05)
            drawing.draw_gland(canvas, curve, drawing.Cell(radius_px=2.1, dark=0.85), rng, lumen=0.5)
    _add_lesion(canvas, lesion, rng)
    return drawing.render(canvas, stain, rng), lesion


def _add_lesion(canvas: drawing.Canvas, lesion: np.ndarray, rng: np.random.Generator) -> None:
    drawing.add_tissue(canvas, lesion, haematoxylin=0.28, eosin=0.45, rng=rng)
    cell = drawing.Cell(radius_px=2.7, length=1.7, dark=1.15, spread=0.3)
    drawing.add_nuclei(canvas, drawing.scatter(drawing.shrink(lesion, 4), 8.0, rng), cell, rng)
    for spot in drawing.scatter(drawing.shrink(lesion, 22), 44.0, rng):
        curve = drawing.outline(spot, float(rng.uniform(12, 19)), rng, wobble=0.22)
        drawing.draw_gland(canvas, curve, cell, rng, lumen=float(rng.uniform(0.25, 0.5)))
