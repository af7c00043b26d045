"""Made-up BreastPathQ: crops with labelled points on the nuclei of three kinds of cells."""

from pathlib import Path

import numpy as np

from histoseg.demo import drawing, files

KINDS = (  # Description, its nuclei, and the distance between them.
    ("IDC", drawing.Cell(radius_px=9.0, length=1.25, spread=0.3, dark=0.95), 30.0),
    ("normal", drawing.Cell(radius_px=6.0, length=1.5, spread=0.1, dark=0.8), 25.0),
    ("TIL-E", drawing.Cell(radius_px=4.2, length=1.05, spread=0.08, dark=1.45), 21.0),
)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write twelve made-up crops of ten slides in the published layout, the keys with the published fault."""
    folder = root / "BreastPathQ" / "breastpathq" / "datasets" / "cells"
    for i in range(12):
        name = f"{101 + i % 10}_Region {i // 10 + 1}"
        image, points = _draw(rng)
        files.write_image(folder / f"{name}_crop.tif", image, compression="tiff_lzw")
        (folder / f"{name}_key.xml").write_bytes(_session(name, points).encode())


def _draw(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Stroma with one patch per kind of cell, and the positions of the nuclei by description."""
    size = (int(rng.integers(256, 321)), int(rng.integers(256, 321)))
    canvas, stain = drawing.draw_stroma(size, rng), drawing.draw_stain(rng)
    heights = np.stack([drawing.noise(size, 85.0, rng) for _ in range(4)])
    owner = heights.argmax(axis=0)  # The last one is bare stroma.
    drawing.add_nuclei(canvas, drawing.scatter(owner == 3, 34.0, rng), drawing.SPINDLE, rng)
    points = {}
    for i, (description, cell, spacing) in enumerate(KINDS):
        if description != "TIL-E":  # Lymphocytes lie in the stroma; epithelium brings its own cytoplasm.
            drawing.add_tissue(canvas, owner == i, haematoxylin=0.2, eosin=0.45 - 0.15 * i, rng=rng)
        points[description] = drawing.scatter(owner == i, spacing, rng)
        drawing.add_nuclei(canvas, points[description], cell, rng)
    return drawing.render(canvas, stain, rng), points


def _session(name: str, points: dict[str, np.ndarray]) -> str:
    """A key as published: CRLF ends, and no `</image>`."""
    graphics = []
    for i, (description, centres) in enumerate(points.items(), start=1):
        listed = "\n".join(f"                    <point>{round(x)},{round(y)}</point>" for x, y in centres)
        graphics.append(
            f'            <graphic type="point" name="Region {i}" description="{description}">\n'
            f"                <point-list>\n{listed}\n                </point-list>\n            </graphic>"
        )
    text = (
        '<?xml version="1.0"?>\n<session software="PathCore Session Printer" version="0.1.0">\n'
        f'    <image identifier="{name}_crop.tif">\n        <overlays>\n'
        + "\n".join(graphics)
        + "\n        </overlays>\n</session>"
    )
    return text.replace("\n", "\r\n")
