"""Made-up MoNuSeg: outlined nuclei."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histoseg.demo import drawing, files


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write ten made-up training and three test images, each of its own patient, in both published layouts."""
    train = root / "MoNuSeg" / "MoNuSeg 2018 Training Data"
    for i in range(13):
        image, polygons = _draw(rng)
        xml = _aperio(polygons, mpp="" if i == 0 else ' MicronsPerPixel="0.252000"')
        if i < 10:
            name = f"TCGA-A{i % 4}-A1{i:02}-01Z-00-DX1"
            tif, note = train / "Tissue Images" / f"{name}.tif", train / "Annotations" / f"{name}.xml"
        else:
            tif = root / "MoNuSeg" / "MoNuSegTestData" / f"TCGA-B{i % 4}-B1{i:02}-01A-01-TS1.tif"
            note = tif.with_suffix(".xml")
        files.write_image(tif, image, compression=("tiff_lzw", "packbits", None)[i % 3])
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(xml, encoding="utf-8")


def _draw(rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Stroma with spindle nuclei, and nests of epithelium with round ones."""
    size = (256, 256)
    canvas, stain = drawing.draw_stroma(size, rng), drawing.draw_stain(rng)
    nests = drawing.noise(size, 70.0, rng) > 0.1
    drawing.add_tissue(canvas, nests, haematoxylin=0.16, eosin=0.4, rng=rng)
    spindle = drawing.Cell(radius_px=5.0, length=2.6, dark=0.85)
    polygons = drawing.add_nuclei(canvas, drawing.scatter(~nests, 30.0, rng), spindle, rng)
    spacing = float(rng.uniform(19, 25))
    large = drawing.Cell(radius_px=spacing * 0.36, length=1.3, spread=0.25)
    polygons += drawing.add_nuclei(canvas, drawing.scatter(nests, spacing, rng), large, rng)
    return drawing.render(canvas, stain, rng), list(polygons)


def _aperio(polygons: Sequence[np.ndarray], mpp: str) -> str:
    """The outlines as Aperio's ImageScope writes them."""
    regions = "".join(
        f'\t\t\t<Region Id="{number}" Type="0" NegativeROA="0">\n\t\t\t\t<Attributes/>\n\t\t\t\t<Vertices>\n'
        + "".join(f'\t\t\t\t\t<Vertex X="{x}" Y="{y}"/>\n' for x, y in polygon)
        + "\t\t\t\t</Vertices>\n\t\t\t</Region>\n"
        for number, polygon in enumerate(polygons, start=1)
    )
    return (
        f'<Annotations{mpp}>\n\t<Annotation Id="1" Name="" Type="4" Visible="1">\n\t\t<Regions>\n'
        f"{regions}\t\t</Regions>\n\t</Annotation>\n</Annotations>\n"
    )
