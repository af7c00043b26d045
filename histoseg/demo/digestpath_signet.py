"""Made-up DigestPath with signet ring cells: mucin pushes the nucleus to the rim of the cell."""

from pathlib import Path

import cv2
import numpy as np

from histoseg.demo import drawing, files

NUM_POSITIVE, NUM_NEGATIVE = 15, 9
SIDE_PX = (430, 520)
RADIUS_PX = (20.0, 34.0)  # Cells of 10 to 16 µm at 0.2375 µm/px; the published boxes have 30 to 100 px.
XML_OBJECT = (
    " <object>\n  <name>ring_cell_cancer</name>\n  <pose>Right</pose>\n  <truncated>1</truncated>\n"
    "  <occluded>0</occluded>\n  <bndbox>\n   <xmin>{}</xmin>\n   <ymin>{}</ymin>\n   <xmax>{}</xmax>\n"
    "   <ymax>{}</ymax>\n  </bndbox>\n  <difficult>0</difficult>\n </object>\n"
)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write made-up images with and without cells, each of a patient of its own, in the published layout."""
    folder = root / "DigestPath" / "Signet_ring_cell_dataset"
    for i in range(NUM_POSITIVE + NUM_NEGATIVE):
        has_cells = i < NUM_POSITIVE
        image, boxes = _draw(rng, has_cells=has_cells)
        case = f"2018_{64900 + 7 * i}_1-{i % 3 + 1}" if has_cells else f"D2019{481000 + 11 * i}"
        height, width = image.shape[:2]
        name = f"{case}_2019-02-{10 + i % 18} 21_57_{10 + i}-lv0-{30000 + i}-59515-{width}-{height}"
        part = folder / ("sig-train-pos" if has_cells else "sig-train-neg")
        files.write_image(part / f"{name}.jpeg", image, quality=92)
        if has_cells:
            (part / f"{name}.xml").write_text(_to_xml(name, (height, width), boxes), encoding="utf-8")


def _draw(rng: np.random.Generator, *, has_cells: bool) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """Stroma with signet ring cells among lymphocytes, empty gaps, and mucin as round and pale as the cells."""
    size = (int(rng.integers(*SIDE_PX)), int(rng.integers(*SIDE_PX)))
    canvas, stain = drawing.draw_stroma(size, rng), drawing.draw_stain(rng)
    drawing.add_nuclei(canvas, drawing.scatter(np.ones(size, bool), 46.0, rng), drawing.SPINDLE, rng)
    dark = drawing.Cell(radius_px=9.0, length=1.1, dark=1.2)
    places = drawing.pack(size, RADIUS_PX, int(rng.integers(14, 26)), rng, gap=1.05)
    boxes = []
    for spot, radius in places:
        drawn = rng.random()
        if has_cells and drawn < 0.6:
            boxes.append(_add_cell(canvas, spot, radius, rng))
        elif drawn < 0.8:
            drawing.add_nuclei(canvas, spot[None], dark, rng)
        else:
            gap = drawing.fill(size, drawing.outline(spot, radius * 0.9, rng, 0.08))
            amount = 0.16 if rng.random() < 0.6 else 0.03
            drawing.add_tissue(canvas, gap, haematoxylin=amount, eosin=amount, rng=rng)
    return drawing.render(canvas, stain, rng), [box for box in boxes if box[2] > box[0] and box[3] > box[1]]


def _add_cell(
    canvas: drawing.Canvas, spot: drawing.Point, radius: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw one cell; returns its box within the image, as left, top, right, bottom."""
    curve = drawing.outline(spot, radius, rng, 0.06)
    whole = drawing.fill(canvas.size, curve)
    drawing.add_tissue(canvas, whole, haematoxylin=0.16, eosin=0.16, rng=rng)
    cv2.polylines(canvas.eosin, [curve], True, 0.6, 2)
    angle = float(rng.uniform(0, 2 * np.pi))
    rim = spot + 0.78 * radius * np.array([np.cos(angle), np.sin(angle)])
    nucleus = drawing.Cell(radius_px=radius * 0.36, length=2.4, dark=1.2, spread=0.08)
    drawing.add_nuclei(canvas, rim[None], nucleus, rng, [angle + np.pi / 2])
    height, width = canvas.size
    (left, top), (right, bottom) = curve.min(axis=0).tolist(), (curve.max(axis=0) + 1).tolist()
    return max(0, left), max(0, top), min(width, right), min(height, bottom)


def _to_xml(name: str, size: tuple[int, int], boxes: list[tuple[int, int, int, int]]) -> str:
    """Boxes in the published format."""
    return (
        f"<annotation>\n <folder>annotations</folder>\n <filename>{name}.jpeg</filename>\n <source>\n"
        "  <database>The Ring Cell Database</database>\n  <annotation>Ring Cell Dataset</annotation>\n </source>\n"
        f" <size>\n  <width>{size[1]}</width>\n  <height>{size[0]}</height>\n  <depth>3</depth>\n </size>\n"
        f" <segmented>0</segmented>\n{''.join(XML_OBJECT.format(*box) for box in boxes)}</annotation>\n"
    )
