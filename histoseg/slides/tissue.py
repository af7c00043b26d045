"""Where tissue lies on a slide: found by its colour, read from a mask of the user's, or everywhere.

Found as usual (CLAM: Lu et al. 2021, Methods, "segmentation": saturation of a downsampled slide, median filter,
threshold, closing, small pieces and holes dropped; Otsu's threshold as its published code offers it), with three
changes. Saturation is measured in optical density, where it is proportional to the dye, against the slide's own glass.
Otsu's threshold is kept within bounds: it always divides, also a slide that is all glass or all tissue. And what
absorbs as ink does is left out: both dyes of H&E absorb green the most (Ruifrok & Johnston 2001), blue and green ink
red, and black ink all colours alike.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from histoseg.errors import DataError
from histoseg.files.labels import read_labels
from histoseg.maps.lines import draw_outline, outlines_of
from histoseg.slides.reader import Slide
from histoseg.types import Image

Kind = Literal["automatic", "given", "none"]
Mask = Bool[np.ndarray, "H W"]

MASK_MPP = 8.0  # As TIAToolbox' tissue masker at 8 µm/px (Pocock et al. 2022); CLAM's are of 16
LEAST_SIDE_PX = 512  # A smaller slide gets a finer mask, up to its own resolution.
# Optical densities (log10). The least that counts as colour: JPEG is off by 2 of 255 levels, which is 0.004, and
# shading across a slide by as much again. The most that is asked for: half of what usual stroma has.
LEAST_COLOUR, MOST_COLOUR = 0.012, 0.06
GLASS_COLOUR = 0.03  # Glass may be tinted so much.
GLASS_SHARE = 0.005  # Of the slide, at least, else nothing is taken for glass
INK_MARGIN = 0.02  # More red than green absorbed, by so much, is blue or green ink.
GREY_SHARE = 0.2  # Colour below this share of the density is none: black ink, dirt, shadow. Nuclei have 0.4.
BLUR_UM = 4.0  # Standard deviation: a finer picture than MASK_MPP is judged as that would be
MEDIAN_UM, CLOSING_UM, INK_EDGE_UM = 24.0, 48.0, 16.0
LEAST_INK_MM2 = 0.0025  # Ink is a stroke; smaller spots are pigment, or edges that JPEG coloured.
LEAST_PIECE_MM2, LEAST_HOLE_MM2 = 0.01, 0.1  # A square of 0.1 mm; lumina and vessels belong to the tissue.
OUTLINE = "#009E73"  # Of what was found, on pictures: no dye has this green


@dataclass(frozen=True, kw_only=True)
class TissueMask:
    """Which parts of a slide are analysed.

    Attributes:
        mask: True for tissue; its upper left corner is the slide's.
        mpp: Microns per pixel of the mask.
        kind: Whether it was found, given, or there is none and everything counts.
    """

    mask: Mask
    mpp: float
    kind: Kind

    def covers(self, top: int, left: int, height: int, width: int, mpp: float) -> bool:
        """Whether any tissue lies in a box of pixels of `mpp`, as `Slide.mpp_at` gives it; also partly in a pixel."""
        if self.kind == "none":
            return True
        factor = mpp / self.mpp
        rows, columns = (
            slice(min(max(0, math.floor(start * factor)), side - 1), max(1, math.ceil((start + length) * factor)))
            for start, length, side in zip((top, left), (height, width), self.mask.shape, strict=True)
        )
        return bool(self.mask[rows, columns].any())

    def at(self, top: int, left: int, shape: tuple[int, int], square_px: int, mpp: float) -> Mask:
        """Which squares of some pixels of `mpp`, from a pixel on, have tissue in their middle."""
        rows, columns = (
            ((start + (np.arange(count) + 0.5) * square_px) * mpp / self.mpp).astype(int).clip(0, side - 1)
            for start, count, side in zip((top, left), shape, self.mask.shape, strict=True)
        )
        found: Mask = self.mask[rows[:, None], columns]
        return found

    @property
    def area_mm2(self) -> float:
        """Square millimetres of tissue."""
        return float(self.mask.sum()) * self.mpp**2 / 1e6


def find_tissue(slide: Slide) -> TissueMask:
    """The tissue of a slide, by its colour; an empty slide has none."""
    longest_um = max(slide.size_px) * slide.mpp
    mpp = max(slide.mpp, min(MASK_MPP, longest_um / LEAST_SIDE_PX))
    height, width = slide.size_at(mpp)
    picture = slide.read(0, 0, height, width, mpp)
    true_mpp = slide.mpp_at(mpp)
    return TissueMask(mask=tissue_of(picture, true_mpp), mpp=true_mpp, kind="automatic")


def all_of(slide: Slide) -> TissueMask:
    """A mask that covers the whole slide."""
    longest = max(slide.size_px)
    factor = max(1.0, longest / LEAST_SIDE_PX)
    shape = [math.ceil(side / factor) for side in slide.size_px]
    return TissueMask(mask=np.ones(shape, bool), mpp=slide.mpp * factor, kind="none")


def read_mask(path: Path, slide: Slide) -> TissueMask:
    """The mask of an image file: what is not 0 is tissue; in pictures of grey values, what is above 127.

    Raises:
        DataError: If it has other proportions than the slide, or marks nothing.
    """
    values = read_labels(path, lossy=True)
    (height, width), (full_height, full_width) = values.shape, slide.size_px
    factors = full_height / height, full_width / width
    if abs(factors[0] / factors[1] - 1) > 1 / height + 1 / width:
        sizes = f"the mask has {width} x {height} pixels, and {slide.address} has {full_width} x {full_height}"
        raise DataError(f"{path}: {sizes}: their proportions differ; draw the mask on the whole slide")
    mask = values > (127 if values.max() > 127 else 0)
    if not mask.any():
        raise DataError(f"{path}: every pixel is 0, so no tissue is marked; mark it with 1 or 255")
    return TissueMask(mask=mask, mpp=slide.mpp * sum(factors) / 2, kind="given")


def tissue_of(picture: Image, mpp: float) -> Mask:
    """Which pixels of a picture of a slide are tissue."""
    density = _densities(cv2.GaussianBlur(picture, (0, 0), BLUR_UM / mpp))
    density = density - _glass(density)
    colour = density.max(axis=2) - density.min(axis=2)
    ink = _grow(_without_small(_ink(density, colour), LEAST_INK_MM2 * 1e6 / mpp**2), INK_EDGE_UM / mpp)
    levels = cv2.medianBlur((colour.clip(0, 0.5) * 510).astype(np.uint8), _odd(MEDIAN_UM / mpp))
    otsu = cv2.threshold(levels[~ink], 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0] / 510 if not ink.all() else 0.0
    found = (levels > 510 * min(max(otsu, LEAST_COLOUR), MOST_COLOUR)) & ~ink
    tissue: Mask = _tidy(found, mpp) & ~ink
    return tissue


def draw_mask(thumbnail: Image, mask: TissueMask) -> Image:
    """A thumbnail of the whole slide, with the outline of its tissue."""
    picture = thumbnail.copy()
    size = (thumbnail.shape[1], thumbnail.shape[0])
    small = cv2.resize(mask.mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA).astype(bool)
    for ring in outlines_of(small):
        draw_outline(picture, [ring], OUTLINE, 2)
    return picture


def _densities(picture: Image) -> Float32[np.ndarray, "H W 3"]:
    """Optical densities against white: each dye adds its amount, times its absorption of each colour."""
    table = -np.log10((np.arange(256) + 1) / 256)
    densities: Float32[np.ndarray, "H W 3"] = table.astype(np.float32)[picture]
    return densities


def _glass(density: Float32[np.ndarray, "H W 3"]) -> Float32[np.ndarray, " C"]:
    """The densities of empty glass: those of the brightest pixels among the colourless; 0 if there are none."""
    pale = density[density.max(axis=2) - density.min(axis=2) < GLASS_COLOUR]
    if len(pale) < GLASS_SHARE * density[:, :, 0].size:
        return np.zeros(3, np.float32)
    darkness = pale.mean(axis=1)
    return np.asarray(np.median(pale[darkness <= np.quantile(darkness, 0.1)], axis=0), np.float32)


def _ink(density: Float32[np.ndarray, "H W 3"], colour: Float32[np.ndarray, "H W"]) -> Mask:
    """What absorbs red more than green, or all colours nearly alike."""
    is_blue_or_green = density[:, :, 0] > density[:, :, 1] + INK_MARGIN
    darkness = density.mean(axis=2)
    is_grey = (colour < GREY_SHARE * darkness) & (darkness > MOST_COLOUR)
    ink: Mask = is_blue_or_green | is_grey
    return ink


def _tidy(found: Mask, mpp: float) -> Mask:
    """Gaps closed, small pieces dropped, small holes filled."""
    closed = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, _disc(CLOSING_UM / mpp))
    return _without_holes(_without_small(closed.astype(bool), LEAST_PIECE_MM2 * 1e6 / mpp**2), mpp)


def _without_small(mask: Mask, least_px: float) -> Mask:
    pieces, areas = _pieces(mask)
    large = areas >= least_px
    large[0] = False
    kept: Mask = large[pieces]
    return kept


def _without_holes(mask: Mask, mpp: float) -> Mask:
    pieces, areas = _pieces(np.pad(~mask, 1, constant_values=True))
    open_air = areas >= LEAST_HOLE_MM2 * 1e6 / mpp**2
    open_air[pieces[0, 0]] = True  # Joined around the picture: what touches its border is no hole.
    open_air[0] = False
    filled: Mask = ~open_air[pieces[1:-1, 1:-1]]
    return filled


def _pieces(mask: Mask) -> tuple[np.ndarray, np.ndarray]:
    """The number of the piece of each pixel, 0 outside, and the pieces' areas by their numbers."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas: np.ndarray = stats[:, cv2.CC_STAT_AREA]
    return np.asarray(pieces), areas


def _grow(mask: Mask, margin_px: float) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(2 * margin_px)), bool)


def _disc(diameter_px: float) -> np.ndarray:
    side = _odd(diameter_px)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def _odd(length: float) -> int:
    """The nearest odd number of pixels."""
    return 2 * round((length - 1) / 2) + 1
