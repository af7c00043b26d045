"""Made-up tiles of one tissue each, at about 0.5 microns per pixel, as different as real ones.

They are written as Kather 5K, NCT-CRC-HE and CRC-TP.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from histoseg.demo import drawing, files
from histoseg.sources import _tissue
from histoseg.types import Image

Draw = Callable[[int, np.random.Generator], drawing.Canvas]

LYMPHOCYTE = drawing.Cell(radius_px=3.1, length=1.05, dark=1.5, spread=0.08)
TUMOUR = drawing.Cell(radius_px=5.2, length=1.35, dark=1.05, spread=0.3)
REGULAR = drawing.Cell(radius_px=3.6, length=1.9, dark=0.85)
MUSCLE = drawing.Cell(radius_px=3.2, length=5.0, dark=0.85)
FRAGMENT = drawing.Cell(radius_px=1.5, length=1.3, dark=1.1, spread=0.5)


def write_kather5k(root: Path, rng: np.random.Generator) -> None:
    """Write nine made-up tiles per class, one of each of nine slides, in the published layout."""
    top = root / "Kather5K" / "Kather_texture_2016_image_tiles_5000"
    for i, folder in enumerate(folder for folder in (*_tissue.KATHER5K, "03_COMPLEX") for _ in range(9)):
        name = f"{0x1A11 + i:X}_CRC-Prim-HE-{i % 9 + 1:02}_{i:03}.tif_Row_{150 * i + 1}_Col_151.tif"
        _write_tile(top / folder / name, 150, rng)


def write_nct_crc_he(root: Path, rng: np.random.Generator) -> None:
    """Write eight made-up tiles per class of the 100K and one of the 7K in the published layout."""
    for folder in _tissue.NCT_CRC_HE:
        for top, prefix, count in (("NCT-CRC-HE-100K", "", 8), ("CRC-VAL-HE-7K", "TCGA-", 1)):
            for _ in range(count):
                letters = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 8))
                _write_tile(root / "NCT-CRC-HE" / top / folder / f"{folder}-{prefix}{letters}.tif", 224, rng)


def write_crc_tp(root: Path, rng: np.random.Generator) -> None:
    """Write six made-up tiles per class for training and two for testing, as the published Fold2."""
    for folder in (*_tissue.CRC_TP, "Complex Stroma"):
        for half, numbers in (("Training", range(1, 7)), ("Testing", range(7, 9))):
            for number in numbers:
                top = root / "CRC-TP" / "Fold2" / half / folder
                _write_tile(top / f"{folder.replace(' ', '')}_{number}.png", 150, rng)


def _write_tile(path: Path, size_px: int, rng: np.random.Generator) -> None:
    """Draw a tile of the tissue that its class folder holds."""
    complex_stroma = dict.fromkeys(_tissue.COMPLEX_STROMA, "complex_stroma")
    tissues = {**_tissue.KATHER5K, **_tissue.NCT_CRC_HE, **_tissue.CRC_TP, **complex_stroma}
    files.write_image(path, draw_tissue(tissues[path.parent.name], size_px, rng))


def draw_tissue(name: str, size_px: int, rng: np.random.Generator) -> Image:
    """A square tile of that tissue, with a stain of its own."""
    canvas = DRAWERS[name](size_px, rng)
    return drawing.render(canvas, drawing.draw_stain(rng), rng)


def _flat(size_px: int, haematoxylin: float, eosin: float) -> drawing.Canvas:
    size = (size_px, size_px)
    return drawing.Canvas(haematoxylin=np.full(size, haematoxylin, np.float32), eosin=np.full(size, eosin, np.float32))


def _everywhere(size_px: int) -> drawing.Mask:
    return np.ones((size_px, size_px), bool)


def _background(size_px: int, rng: np.random.Generator) -> drawing.Canvas:
    """Glass with faint dirt."""
    canvas = _flat(size_px, 0.01, 0.01)
    canvas.eosin[:] += 0.01 * np.abs(drawing.noise(canvas.size, 40.0, rng))
    return canvas


def _adipose(size_px: int, rng: np.random.Generator) -> drawing.Canvas:
    """Large empty cells with thin walls: the borders between the regions nearest to scattered points."""
    canvas = _flat(size_px, 0.02, 0.04)
    margin = 70  # For cells whose middle lies outside.
    points = drawing.scatter(np.ones((size_px + 2 * margin,) * 2, bool), 62.0, rng) - margin
    rows, columns = np.mgrid[:size_px, :size_px]
    distances = np.sort(np.hypot(columns[..., None] - points[:, 0], rows[..., None] - points[:, 1]), axis=-1)
    walls = distances[..., 1] - distances[..., 0] < 4.5
    canvas.eosin[walls], canvas.haematoxylin[walls] = 0.45, 0.08
    crossings = distances[..., 2] - distances[..., 0] < 6
    drawing.add_nuclei(canvas, drawing.scatter(crossings, 9.0, rng), drawing.SPINDLE, rng)
    return canvas


def _muscle(size_px: int, rng: np.random.Generator) -> drawing.Canvas:
    """Strongly red parallel fibres, with long nuclei along them."""
    wide = 2 * size_px
    streaks = cv2.resize(drawing.noise((wide, wide // 10), 4.0, rng), (wide, wide), interpolation=cv2.INTER_LINEAR)
    angle = float(rng.uniform(0, np.pi))
    turn = cv2.getRotationMatrix2D((wide / 2, wide / 2), np.degrees(-angle), 1.0)
    turned = cv2.warpAffine(streaks, turn, (wide, wide), borderMode=cv2.BORDER_REFLECT)
    fibres = turned[size_px // 2 :, size_px // 2 :][:size_px, :size_px]
    canvas = _flat(size_px, 0.08, 0.0)
    canvas.eosin[:] = (0.75 + 0.14 * fibres).clip(0.2)
    spots = drawing.scatter(_everywhere(size_px), 24.0, rng)
    drawing.add_nuclei(canvas, spots, MUSCLE, rng, (angle + rng.normal(0, 0.06, len(spots))).tolist())
    return canvas


def _stroma(size_px: int, rng: np.random.Generator) -> drawing.Canvas:
    """Wavy pale fibres with few spindle nuclei in all directions."""
    canvas = drawing.draw_stroma((size_px, size_px), rng)
    drawing.add_nuclei(canvas, drawing.scatter(_everywhere(size_px), 26.0, rng), drawing.SPINDLE, rng)
    return canvas


def _complex_stroma(size_px: int, rng: np.random.Generator) -> drawing.Canvas:
    """Stroma with scattered immune and tumour cells."""
    canvas = _stroma(size_px, rng)
    for cell, spacing in ((LYMPHOCYTE, 17.0), (TUMOUR, 34.0)):
        drawing.add_nuclei(canvas, drawing.scatter(_everywhere(size_px), spacing, rng), cell, rng)
    return canvas


def _inflammatory(size_px: int, rng: np.random.Generator) -> drawing.Canvas:
    """Many small, round, dark nuclei side by side."""
    canvas = drawing.draw_stroma((size_px, size_px), rng)
    drawing.add_nuclei(canvas, drawing.scatter(_everywhere(size_px), 8.5, rng), LYMPHOCYTE, rng)
    return canvas


def _debris(size_px: int, rng: np.random.Generator) -> drawing.Canvas:
    """Granules without structure, and fragments of nuclei."""
    canvas = _flat(size_px, 0.0, 0.0)
    clumps = drawing.noise(canvas.size, 30.0, rng)
    canvas.eosin[:] = (0.5 + 0.2 * drawing.noise(canvas.size, 3.0, rng) + 0.12 * clumps).clip(0.02)
    canvas.haematoxylin[:] = (0.16 + 0.1 * drawing.noise(canvas.size, 4.0, rng)).clip(0.01)
    drawing.add_nuclei(canvas, drawing.scatter(clumps > -0.2, 9.0, rng), FRAGMENT, rng)
    return canvas


def _mucous(size_px: int, rng: np.random.Generator) -> drawing.Canvas:
    """Pale bluish pools with soft streaks, and hardly a cell."""
    canvas = drawing.draw_stroma((size_px, size_px), rng)
    streaks = canvas.eosin - 0.42
    canvas.haematoxylin[:] = (0.15 + 0.3 * streaks + 0.03 * drawing.noise(canvas.size, 35.0, rng)).clip(0.01)
    canvas.eosin[:] = 0.03
    drawing.add_nuclei(canvas, drawing.scatter(_everywhere(size_px), 80.0, rng), LYMPHOCYTE, rng)
    return canvas


def _normal_epithelium(size_px: int, rng: np.random.Generator) -> drawing.Canvas:
    """Round glands side by side, with orderly nuclei and wide lumina."""
    canvas = _stroma(size_px, rng)
    for centre, radius in drawing.pack(canvas.size, (26.0, 38.0), 14, rng, gap=1.05):
        drawing.draw_gland(canvas, drawing.outline(centre, radius, rng, 0.05), REGULAR, rng, lumen=0.5)
    return canvas


def _abnormal_epithelium(size_px: int, rng: np.random.Generator) -> drawing.Canvas:
    """Sheets of crowded, large, uneven nuclei, with a few ragged narrow lumina."""
    canvas = _flat(size_px, 0.0, 0.0)
    drawing.add_tissue(canvas, _everywhere(size_px), haematoxylin=0.28, eosin=0.45, rng=rng)
    drawing.add_nuclei(canvas, drawing.scatter(_everywhere(size_px), 11.5, rng), TUMOUR, rng)
    for centre, radius in drawing.pack(canvas.size, (9.0, 17.0), 3, rng, gap=2.0):
        hole = drawing.fill(canvas.size, drawing.outline(centre, radius, rng, 0.3))
        drawing.add_tissue(canvas, hole, haematoxylin=0.03, eosin=0.08, rng=rng)
    return canvas


DRAWERS: dict[str, Draw] = {
    "background": _background,
    "abnormal_epithelium": _abnormal_epithelium,
    "normal_epithelium": _normal_epithelium,
    "inflammatory": _inflammatory,
    "muscle": _muscle,
    "stroma": _stroma,
    "debris": _debris,
    "mucous": _mucous,
    "adipose": _adipose,
    "complex_stroma": _complex_stroma,
}
