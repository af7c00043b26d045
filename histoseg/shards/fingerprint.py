"""Which images show the same tissue, told by their pictures: what names do not tell is found here.

Data sets contain each other's images, at another resolution, encoded anew or cut out. A fingerprint is the image in
grey at one common resolution; what is compared is its detail, structures about the size of nuclei. Plain tissue with
the same coarse shades is common, nuclei at the same places are not.

Measured on 63 images of GlaS, CoNSeP and MoNuSeg: found at half the resolution 63 of 63, as JPEG of quality 80 63 of
63, crops of 30, 50 and 70 % of the side 186, 189 and 189 of 189 (2 had too little detail), squares of 64 µm 181 of 189
(6 had); false pairs 0 of 86,000. Of 136,000 pairs of an unrelated tile and image the likest scored 0.744.
"""

import base64
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float32, Int, UInt8

from histoseg.types import Image

logger = logging.getLogger(__name__)

MPP = 4.0  # Half a nucleus: coarser, unrelated tissue begins to look alike; finer, a large image takes megabytes.
GRAIN_UM = 2.0  # Deviation of the blur before sampling: half a pixel, so that where pixels begin matters little.
DETAIL_UM = 6.0  # Shades wider than this many microns are taken away before images are compared.
WINDOW_PX = 14  # 56 µm: a tile of PanNuke, 64 µm wide, has one even if its resolution is stated 10 % too fine.
PATCH_PX = 32  # What is compared at last, 128 µm: larger ones would need the exact resolution.
TILE_PX = 32  # Images smaller than this along both sides are tiles: no tile is sought in another.
GIST_PX = 16  # The side to which whole images are reduced to find copies.
MIN_CONTRAST = 3.0  # Deviation of the detail in grey levels: tissue has 5 and more, empty glass under 1.
MIN_PIXELS = 20  # Over how many pixels the detail must spread: one speck on glass is like any other.
MAX_ZOOM = 2.5  # Copies are compared whole, so that a wrongly stated resolution does not hide them.
MAX_ASPECT = 1.05  # By how much the shapes of copies may differ, for margins that were cut.
ZOOMS = (0.94, 1.0, 1.06)  # Resolutions are stated with errors of some per cent.
SLACK_PX = 3  # How far from the rough position the exact one is sought.

# Scores are correlations of detail. Rough ones cost little and let some others pass; the last ones decide.
ROUGH_COPY = ROUGH_PART = 0.6
SAME_COPY = 0.93  # Real copies have 0.97; unrelated drawn cores of 120 µm have 0.91 by their round outline alone.
SAME_PART = 0.8

BLOCK = 2**25  # Scores held at a time: 128 MiB.

Grey = Float32[np.ndarray, "H W"]
Rows = Float32[np.ndarray, "N D"]  # One picture a row, of mean 0 and length 1.


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """An image in grey at MPP microns per pixel.

    Attributes:
        height, width: Its size in pixels of that resolution.
        pixels: Row by row, one byte each.
    """

    height: int
    width: int
    pixels: bytes

    @property
    def grey(self) -> UInt8[np.ndarray, "H W"]:
        """The picture, read-only."""
        return np.frombuffer(self.pixels, np.uint8).reshape(self.height, self.width)

    @property
    def has_detail(self) -> bool:
        """Whether it shows enough to be told from others: empty glass looks the same everywhere."""
        return _shows_enough(_detail(self.grey))

    def to_plain(self) -> dict[str, Any]:
        """The fingerprint as values that JSON has."""
        return {"height": self.height, "width": self.width, "pixels": base64.b64encode(self.pixels).decode()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Fingerprint":
        """The fingerprint that `to_plain` made these values of.

        Raises:
            ValueError: If the pixels are not as many as the size says.
        """
        pixels = base64.b64decode(plain["pixels"], validate=True)
        if len(pixels) != plain["height"] * plain["width"]:
            raise ValueError(f"{len(pixels)} pixels for a size of {plain['height']} x {plain['width']}")
        return cls(height=plain["height"], width=plain["width"], pixels=pixels)


@dataclass(frozen=True, kw_only=True)
class SameTissue:
    """Two images, as "source/key", that show the same tissue.

    Attributes:
        first, second: In alphabetical order.
        how: Whether one is a copy of the other, or they share a part.
        score: Correlation of what they share, at most 1.
    """

    first: str
    second: str
    how: Literal["copy", "part"]
    score: float


def fingerprint(image: Image, mpp: float) -> Fingerprint:
    """What is kept of an image to recognise its tissue elsewhere.

    Raises:
        ValueError: If the resolution is not positive or the image is empty.
    """
    if mpp <= 0 or image.size == 0:
        raise ValueError(f"no fingerprint of an image of {image.shape[:2]} pixels at {mpp} microns per pixel")
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), GRAIN_UM / mpp)
    height, width = (max(1, round(length * mpp / MPP)) for length in grey.shape)
    return Fingerprint(height=height, width=width, pixels=_resize(grey, height, width).tobytes())


def find_plain(prints: Mapping[str, Fingerprint]) -> list[str]:
    """The images that show too little to be told from others; `find_same_tissue` leaves them out."""
    return sorted(name for name, print_ in prints.items() if not print_.has_detail)


def find_same_tissue(prints: Mapping[str, Fingerprint]) -> list[SameTissue]:
    """All pairs of images, named "source/key", that show the same tissue.

    Copies are found within a source, too; parts only between sources, and not between two tiles: their number would
    make that the longest step of all, and a tile cut from a tile is unknown.
    """
    plain = set(find_plain(prints))
    if plain:
        logger.info("%d of %d images show too little to be compared", len(plain), len(prints))
    kept = {name: prints[name] for name in sorted(prints) if name not in plain}
    copies = {(pair.first, pair.second): pair for pair in _find_copies(kept)}
    parts: dict[tuple[str, str], SameTissue] = {}
    for pair in _find_parts(kept):
        at = (pair.first, pair.second)
        if at not in copies and (at not in parts or parts[at].score < pair.score):
            parts[at] = pair
    return sorted([*copies.values(), *parts.values()], key=lambda pair: (pair.first, pair.second))


def _detail(grey: UInt8[np.ndarray, "H W"]) -> Grey:
    """The picture without its wide shades, about 0."""
    levels = grey.astype(np.float32)
    return np.asarray(levels - cv2.GaussianBlur(levels, (0, 0), DETAIL_UM / MPP), dtype=np.float32)


def _shows_enough(detail: Grey) -> bool:
    """Whether there is contrast, and in more than a few pixels (their effective number, as by participation ratio)."""
    energy = detail.astype(np.float64) ** 2
    return bool(energy.mean() >= MIN_CONTRAST**2 and energy.sum() ** 2 >= MIN_PIXELS * (energy**2).sum())


def _find_copies(prints: Mapping[str, Fingerprint]) -> Iterator[SameTissue]:
    """Pairs of images that are the same as a whole: all are compared at a small size, those alike once more."""
    names = list(prints)
    if not names:
        return
    gists = _normalised(np.stack([_gist(print_) for print_ in prints.values()]))
    step = max(1, BLOCK // len(names))
    for start in range(0, len(names), step):
        scores = gists[start : start + step] @ gists[start:].T
        for i, j in np.argwhere(scores >= ROUGH_COPY).tolist():
            if i < j:
                first, second = names[start + i], names[start + j]
                score = _compare_whole(prints[first], prints[second])
                if score >= SAME_COPY:
                    yield SameTissue(first=first, second=second, how="copy", score=score)


def _gist(print_: Fingerprint) -> Float32[np.ndarray, "D"]:
    """The whole image at a small size."""
    return _detail(_resize(print_.grey, GIST_PX, GIST_PX)).ravel()


def _normalised(rows: Rows) -> Rows:
    """Rows of mean 0 and length 1, so that products are correlations; rows without contrast become 0."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    shows = lengths >= MIN_CONTRAST * rows.shape[1] ** 0.5
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=shows), dtype=np.float32)


def _resize(grey: UInt8[np.ndarray, "H W"], height: int, width: int) -> UInt8[np.ndarray, "A B"]:
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _compare_whole(first: Fingerprint, second: Fingerprint) -> float:
    """How alike two images are at the size of the smaller; 0 if their shapes differ."""
    small, large = sorted([first, second], key=lambda print_: print_.height * print_.width)
    zooms = sorted([large.height / small.height, large.width / small.width])
    rounding = 1 + 2 / min(small.height, small.width)  # What a pixel more or less makes of the shape of a tile.
    if zooms[1] > MAX_ZOOM or zooms[1] > zooms[0] * max(MAX_ASPECT, rounding):
        return 0.0
    resized = _resize(large.grey, small.height, small.width)
    return float(cv2.matchTemplate(_detail(small.grey), _detail(resized), cv2.TM_CCOEFF_NORMED)[0, 0])


@dataclass(frozen=True, kw_only=True)
class _Anchors:
    """Windows with much detail, up to four of each image, to be sought in others.

    Attributes:
        rows: The windows, normalised.
        image: Position of the image among all images.
        top, left: Where in it.
    """

    rows: Rows
    image: Int[np.ndarray, "N"]
    top: Int[np.ndarray, "N"]
    left: Int[np.ndarray, "N"]


def _find_parts(prints: Mapping[str, Fingerprint]) -> Iterator[SameTissue]:
    """Pairs of images of two sources that share a part of 64 µm and more; a pair may come several times."""
    names, all_prints = list(prints), list(prints.values())
    anchors = _choose_anchors(all_prints)
    sources = np.array([name.split("/")[0] for name in names])
    areas = np.array([print_.height * print_.width for print_ in all_prints])
    for number, print_ in enumerate(all_prints):
        if max(print_.height, print_.width) < TILE_PX:
            continue
        smaller = (areas < areas[number]) | ((areas == areas[number]) & (np.arange(len(names)) < number))
        sought = np.flatnonzero((smaller & (sources != sources[number]))[anchors.image])
        detail = _detail(print_.grey)
        for row, place in _match_roughly(detail, anchors.rows[sought]):
            image = int(anchors.image[sought[row]])
            at = int(anchors.top[sought[row]]), int(anchors.left[sought[row]])
            score = _compare_part(_detail(all_prints[image].grey), at, detail, place)
            if score >= SAME_PART:
                first, second = sorted([names[image], names[number]])
                yield SameTissue(first=first, second=second, how="part", score=score)


def _choose_anchors(prints: list[Fingerprint]) -> _Anchors:
    """The window with most detail of each image, or of each quarter if these are large enough."""
    rows, places = [np.zeros((0, WINDOW_PX**2), np.float32)], []
    for number, print_ in enumerate(prints):
        detail = _detail(print_.grey)
        for top, left in _choose_places(detail):
            rows.append(detail[top : top + WINDOW_PX, left : left + WINDOW_PX].reshape(1, -1))
            places.append((number, top, left))
    columns = np.array(places, np.int64).reshape(-1, 3)
    return _Anchors(rows=_normalised(np.concatenate(rows)), image=columns[:, 0], top=columns[:, 1], left=columns[:, 2])


def _choose_places(detail: Grey) -> Iterator[tuple[int, int]]:
    """Top and left of those windows; none where a part of the image shows too little."""
    edges = [(0, n // 2, n) if n >= PATCH_PX else (0, n) for n in detail.shape]
    for top, bottom in zip(edges[0], edges[0][1:], strict=False):
        for left, right in zip(edges[1], edges[1][1:], strict=False):
            if bottom - top < WINDOW_PX or right - left < WINDOW_PX:
                continue
            amount = _windows(np.abs(detail[top:bottom, left:right])).mean(axis=(2, 3))
            y, x = (int(i) for i in np.unravel_index(amount.argmax(), amount.shape))
            if _shows_enough(detail[top + y : top + y + WINDOW_PX, left + x : left + x + WINDOW_PX]):
                yield top + y, left + x


def _windows(detail: Grey) -> Float32[np.ndarray, "Y X A B"]:
    """A view of the window at each position."""
    return np.lib.stride_tricks.sliding_window_view(detail, (WINDOW_PX, WINDOW_PX))


def _match_roughly(detail: Grey, sought: Rows) -> Iterator[tuple[int, tuple[int, int]]]:
    """Which of the windows sought may be in an image: its row, and the top and left of the likeliest place."""
    best, place = np.full(len(sought), -1.0, np.float32), np.zeros(len(sought), np.int64)
    if min(detail.shape) < WINDOW_PX or not len(sought):
        return
    width = detail.shape[1] - WINDOW_PX + 1
    step = max(1, BLOCK // (width * max(len(sought), WINDOW_PX**2)))
    for top in range(0, detail.shape[0] - WINDOW_PX + 1, step):
        windows = _windows(detail[top : top + step + WINDOW_PX - 1])
        scores = sought @ _normalised(windows.reshape(-1, WINDOW_PX**2)).T
        here = scores.argmax(axis=1)
        score = scores[np.arange(len(sought)), here]
        place = np.where(score > best, here + top * width, place)
        best = np.maximum(best, score)
    for row in np.flatnonzero(best >= ROUGH_PART).tolist():
        yield row, (int(place[row]) // width, int(place[row]) % width)


def _compare_part(small: Grey, at: tuple[int, int], large: Float32[np.ndarray, "Y X"], place: tuple[int, int]) -> float:
    """How alike the patch around a window of one image is to that around the place found in another; at half pixels."""
    boxes = [_grow(start, length) for start, length in zip(at, small.shape, strict=True)]
    patch = small[boxes[0][0] : boxes[0][1], boxes[1][0] : boxes[1][1]]
    starts = [max(0, place[axis] + boxes[axis][0] - at[axis] - SLACK_PX) for axis in (0, 1)]
    stops = [place[axis] + boxes[axis][1] - at[axis] + SLACK_PX for axis in (0, 1)]
    region = large[starts[0] : max(0, stops[0]), starts[1] : max(0, stops[1])]
    if min(region.shape) < WINDOW_PX:
        return 0.0
    fine = _zoom(region, 2.0)
    scores = [0.0]
    for zoom in ZOOMS:
        template = _zoom(patch, 2.0 * zoom)
        if template.shape[0] <= fine.shape[0] and template.shape[1] <= fine.shape[1]:
            scores.append(float(cv2.matchTemplate(fine, template, cv2.TM_CCOEFF_NORMED).max()))
    return max(scores)


def _grow(start: int, length: int) -> tuple[int, int]:
    """Start and stop of PATCH_PX pixels about a window, or of all there are."""
    size = min(PATCH_PX, length)
    first = min(max(start - (size - WINDOW_PX) // 2, 0), length - size)
    return first, first + size


def _zoom(detail: Grey, factor: float) -> Float32[np.ndarray, "Y X"]:
    return np.asarray(cv2.resize(detail, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), dtype=np.float32)
