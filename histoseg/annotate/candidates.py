"""The regions of an image that may be annotated, and what a model makes of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from histoseg.annotate.cover import region_features
from histoseg.files.folders import make_key
from histoseg.maps.windows import MarginWindows
from histoseg.models.spec import difficulty_spec_of
from histoseg.models.weights import Model
from histoseg.slides.reader import Slide
from histoseg.slides.tissue import TissueMask


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle of an image, in pixels of the resolution at which it is annotated."""

    top: int
    left: int
    height: int
    width: int

    def name(self, image: str) -> str:
        """What its files are called; `histoseg.annotate.merge.PATIENT` finds the image in it."""
        return f"{make_key(image)}__{self.top}_{self.left}"


def candidates(slide: Slide, mask: TissueMask, size_px: int, mpp: float) -> list[Box]:
    """Squares side by side in the middle of a slide, as many as fit, where there is tissue; they do not overlap.

    A side that is shorter than a square is taken whole.
    """
    boxes = (
        Box(top=top, left=left, height=height, width=width)
        for top, height in _starts(slide.size_at(mpp)[0], size_px)
        for left, width in _starts(slide.size_at(mpp)[1], size_px)
    )
    true_mpp = slide.mpp_at(mpp)
    return [box for box in boxes if mask.covers(box.top, box.left, box.height, box.width, true_mpp)]


def _starts(side_px: int, size_px: int) -> Iterator[tuple[int, int]]:
    """Where squares begin along a side, and how long they are."""
    count = side_px // size_px
    if not count:
        yield 0, side_px
    for i in range(count):
        yield (side_px - count * size_px) // 2 + i * size_px, size_px


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a model makes of a region: its mean difficulty, from 0 to 1, and, if they were asked for, its features."""

    difficulty: float
    features: Float32[np.ndarray, " F"] | None


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """A model that looks at regions.

    Attributes:
        structure: What it is asked about.
        mpp: Microns per pixel of the regions.
        windows: How it sees a region; with their margin of what surrounds it on the slide.
        with_features: Whether features are asked for, too.
    """

    model: Model
    structure: str
    mpp: float
    windows: MarginWindows
    with_features: bool = False

    def look(self, slide: Slide, box: Box) -> Look:
        """What the model makes of a region of a slide."""
        model, margin = self.model, self.windows.margin_px
        factor = slide.mpp_at(self.mpp) / slide.mpp_at(model.mpp)
        height, width = slide.size_at(model.mpp)
        top, left = int(box.top * factor), int(box.left * factor)
        bottom = max(top + 1, min(height, round((box.top + box.height) * factor)))
        right = max(left + 1, min(width, round((box.left + box.width) * factor)))
        first = max(0, top - margin), max(0, left - margin)
        size = min(height, bottom + margin) - first[0], min(width, right + margin) - first[1]
        image = slide.read(*first, *size, model.mpp)
        found = difficulty_spec_of(model.spec).difficulty(model.network, image, self.windows, self.structure)
        own = slice(top - first[0], bottom - first[0]), slice(left - first[1], right - first[1])
        features = region_features(model.network, image[own]) if self.with_features else None
        return Look(difficulty=float(found[own].mean(dtype=np.float64)), features=features)
