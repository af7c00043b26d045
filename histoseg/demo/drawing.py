"""Made-up stained tissue: stroma, nuclei and glands as amounts of two dyes, rendered as light that passes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from histoseg.types import Image

# Optical density of the dyes in red, green and blue, unit length, as measured in sections (Macenko et al. 2009).
HAEMATOXYLIN = (0.563, 0.720, 0.406)
EOSIN = (0.216, 0.801, 0.558)

Dye = Float32[np.ndarray, "H W"]
Polygon = Int32[np.ndarray, "_ 2"]  # Vertices as x, y.
Point = Float[np.ndarray, "2"]  # A position as x, y.
Points = Float[np.ndarray, "P 2"]
Mask = Bool[np.ndarray, "H W"]
Stain = Float32[np.ndarray, "2 3"]  # The dyes in one patient's section: an optical density per dye (row) and colour.


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """Amounts of dye; drawing changes them in place."""

    haematoxylin: Dye
    eosin: Dye

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.eosin.shape
        return height, width


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A kind of nucleus: radius, ratio of length to width, amount of dye, relative spread of the first two."""

    radius_px: float
    length: float = 1.2
    dark: float = 1.0
    spread: float = 0.15


@dataclass(frozen=True, kw_only=True)
class Gland:
    """A drawn gland: all its pixels, those of its lumen, and the outlines of its nuclei."""

    whole: Mask
    lumen: Mask
    nuclei: list[Polygon]


SPINDLE = Cell(radius_px=3.0, length=3.0, dark=0.8)


def draw_stain(rng: np.random.Generator) -> Stain:
    """A patient's stain: both dyes shift in colour and strength between sections."""
    dyes = np.array([HAEMATOXYLIN, EOSIN])
    tint = rng.normal(0, 0.035, (2, 3))
    strength = rng.uniform(0.8, 1.2, (2, 1))
    return np.asarray((dyes + tint).clip(0.02) * strength, np.float32)


def noise(size: tuple[int, int], grain_px: float, rng: np.random.Generator) -> Dye:
    """Smooth noise of mean 0 and deviation about 1, with features of that size."""
    height, width = (int(np.ceil(length / grain_px)) + 3 for length in size)
    coarse = rng.standard_normal((height, width)).astype(np.float32)
    fine = cv2.resize(coarse, (round(width * grain_px), round(height * grain_px)), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(fine[: size[0], : size[1]])


def _fibres(size: tuple[int, int], rng: np.random.Generator) -> Dye:
    """Wavy bundles: noise stretched along one direction and bent."""
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    across = np.cos(angle) * rows - np.sin(angle) * columns + 9 * noise(size, 60.0, rng)
    along = (np.sin(angle) * rows + np.cos(angle) * columns) / 7
    texture = noise((512, 512), 5.0, rng)
    return cv2.remap(
        texture, across.astype(np.float32), along.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )


def draw_stroma(size: tuple[int, int], rng: np.random.Generator) -> Canvas:
    """Connective tissue without nuclei: bundles of fibres with pale gaps."""
    fibres = _fibres(size, rng)
    eosin = 0.42 + 0.09 * fibres + 0.08 * noise(size, 45.0, rng)
    haematoxylin = 0.07 + 0.02 * fibres + 0.02 * noise(size, 20.0, rng)
    return Canvas(haematoxylin=haematoxylin.clip(0.02), eosin=eosin.clip(0.06))


def outline(centre: Point, radius_px: float, rng: np.random.Generator, wobble: float = 0.12) -> Polygon:
    """A closed irregular curve about a centre; `wobble` is its relative departure from a circle."""
    angles = np.linspace(0, 2 * np.pi, max(12, int(radius_px)), endpoint=False)
    orders = np.arange(2, 6)[:, None]
    heights, phases = rng.normal(0, wobble, (4, 1)) / orders, rng.uniform(0, 2 * np.pi, (4, 1))
    waves = (heights * np.cos(orders * angles + phases)).sum(axis=0)
    radii = radius_px * (1 + waves)
    curve = np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]
    polygon: Polygon = np.round(curve + centre).astype(np.int32)
    return polygon


def fill(size: tuple[int, int], polygon: Polygon) -> Mask:
    """The pixels within a polygon, its edge included."""
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [polygon], 1)
    return canvas.astype(bool)


def scatter(within: Mask, spacing_px: float, rng: np.random.Generator) -> Points:
    """Positions on a jittered grid inside the mask, in a random order."""
    height, width = within.shape
    grid = np.stack(np.meshgrid(np.arange(0, width, spacing_px), np.arange(0, height, spacing_px)), axis=-1)
    points = grid.reshape(-1, 2) + rng.uniform(0.1, 0.75, (grid.shape[0] * grid.shape[1], 2)) * spacing_px
    inside = [within[min(int(y), height - 1), min(int(x), width - 1)] for x, y in points]
    return rng.permutation(points[np.array(inside, bool)])


def add_nuclei(
    canvas: Canvas, centres: Points, cell: Cell, rng: np.random.Generator, directions: Sequence[float] | None = None
) -> list[Polygon]:
    """Draw a nucleus at each centre, later ones over earlier ones; returns their outlines."""
    return [
        _add_nucleus(canvas, centre, cell, rng, rng.uniform(0, np.pi) if directions is None else directions[i])
        for i, centre in enumerate(centres)
    ]


def _add_nucleus(canvas: Canvas, centre: Point, cell: Cell, rng: np.random.Generator, direction: float) -> Polygon:
    radius = cell.radius_px * rng.uniform(1 - cell.spread, 1 + cell.spread)
    length = cell.length * rng.uniform(1 - cell.spread, 1 + cell.spread)
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    bumps = 1 + rng.normal(0, 0.05, 16)
    oval = np.column_stack([np.cos(angles) * length**0.5, np.sin(angles) / length**0.5]) * (radius * bumps)[:, None]
    turn = np.array([[np.cos(direction), np.sin(direction)], [-np.sin(direction), np.cos(direction)]])
    polygon: Polygon = np.round(oval @ turn + centre).astype(np.int32)
    cv2.fillPoly(canvas.haematoxylin, [polygon], cell.dark * rng.uniform(0.8, 1.1))
    if radius > 4:  # A lighter middle: chromatin lies at the membrane.
        cv2.circle(
            canvas.haematoxylin,
            polygon.mean(axis=0).round().astype(int).tolist(),
            int(radius * 0.5),
            cell.dark * rng.uniform(0.65, 0.85),
            -1,
        )
    return polygon


def add_tissue(canvas: Canvas, region: Mask, *, haematoxylin: float, eosin: float, rng: np.random.Generator) -> None:
    """Fill a region with tissue of those mean amounts of dye, grained like cytoplasm."""
    left, top, width, height = cv2.boundingRect(region.astype(np.uint8))
    if width == 0:
        return
    box = np.s_[top : top + height, left : left + width]
    grain = noise((height, width), 6.0, rng)[region[box]]
    canvas.haematoxylin[region] = (haematoxylin * (1 + 0.2 * grain)).clip(0)
    canvas.eosin[region] = (eosin * (1 + 0.12 * grain)).clip(0)


def draw_gland(canvas: Canvas, curve: Polygon, cell: Cell, rng: np.random.Generator, lumen: float = 0.5) -> Gland:
    """Draw a gland within its outline: nuclei along the edge, cytoplasm, and a pale lumen of that relative radius."""
    centre = curve.mean(axis=0)
    whole = fill(canvas.size, curve)
    add_tissue(canvas, whole, haematoxylin=0.22, eosin=0.34, rng=rng)
    inner = fill(canvas.size, np.round(centre + (curve - centre) * lumen).astype(np.int32))
    add_tissue(canvas, inner, haematoxylin=0.03, eosin=0.07, rng=rng)
    spots, directions = _along(centre + (curve - centre) * 0.86, 1.9 * cell.radius_px, centre)
    return Gland(whole=whole, lumen=inner, nuclei=add_nuclei(canvas, spots, cell, rng, directions))


def _along(curve: Points, spacing_px: float, centre: Point) -> tuple[Float[np.ndarray, "S 2"], list[float]]:
    """Positions at equal steps along a closed curve, and the directions from there to the centre."""
    closed = np.vstack([curve, curve[:1]])
    steps = np.hypot(*np.diff(closed, axis=0).T)
    walked = np.concatenate([[0], np.cumsum(steps)])
    stops = np.arange(0, walked[-1], max(spacing_px, 1.0))
    spots = np.column_stack([np.interp(stops, walked, closed[:, axis]) for axis in (0, 1)])
    inward = centre - spots
    return spots, np.arctan2(inward[:, 1], inward[:, 0]).tolist()


def pack(
    size: tuple[int, int], radii_px: tuple[float, float], count: int, rng: np.random.Generator, gap: float = 1.25
) -> list[tuple[Point, float]]:
    """Up to `count` random centres with radii; circles `gap` times as large do not meet."""
    centres, radii = np.zeros((0, 2)), np.zeros(0)
    for _ in range(count * 12):
        radius = rng.uniform(*radii_px)
        centre = rng.uniform((0, 0), (size[1], size[0]))
        if (np.hypot(*(centres - centre).T) > gap * (radii + radius)).all():
            centres, radii = np.vstack([centres, centre]), np.append(radii, radius)
        if len(radii) == count:
            break
    return list(zip(centres, radii.tolist(), strict=True))


def render(canvas: Canvas, stain: Stain, rng: np.random.Generator) -> Image:
    """The section under the microscope: dyes absorb light (Beer-Lambert law), optics blur, the camera adds noise."""
    texture = 1 + 0.13 * noise(canvas.size, 2.0, rng)
    dyes = np.stack(
        [cv2.GaussianBlur(canvas.haematoxylin * texture, (0, 0), 0.8), cv2.GaussianBlur(canvas.eosin, (0, 0), 0.8)],
        axis=-1,
    )
    light = 246 * np.exp(-dyes @ stain) + rng.normal(0, 2.5, (*canvas.size, 3))
    image: Image = light.clip(0, 255).round().astype(np.uint8)
    return image


def shrink(mask: Mask, margin_px: int) -> Mask:
    """The mask without a margin along its edge."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin_px + 1, 2 * margin_px + 1))
    return cv2.erode(mask.astype(np.uint8), kernel).astype(bool)


def pixel(point: Point, size: tuple[int, int]) -> tuple[int, int]:
    """Row and column of the pixel at a position (x, y), or of the nearest pixel inside."""
    return min(max(int(point[1]), 0), size[0] - 1), min(max(int(point[0]), 0), size[1] - 1)
