"""Which images show the same tissue, by their pictures: it finds what names do not state.

Measured on 63 images of GlaS, CoNSeP and MoNuSeg: found at half the resolution 63 of 63, as JPEG of quality 80 63 of
63, crops of 30, 50 and 70 % of the side 186, 189 and 189 of 189 (2 had too little detail), squares of 64 µm 181 of 189
(6 had); false pairs 0 of 86,000. Of 136,000 pairs of an unrelated tile and image the likest scored 0.744.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32, Int

from histoseg.shards.fingerprint import MIN_CONTRAST, Fingerprint, Grey, detail_of, resize, shows_enough

logger = logging.getLogger(__name__)

WINDOW_PX = 14  # 56 µm: a tile of PanNuke, 64 µm wide, has one even if its resolution is stated 10 % too fine.
PATCH_PX = 32  # The side of the last comparison, 128 µm: larger patches would need the exact resolution.
TILE_PX = 32  # Images smaller than this along both sides are tiles; tiles are not compared with each other.
GIST_PX = 16  # The side to which whole images are reduced to find copies.
MAX_ZOOM = 2.5  # Copies are compared whole, so that a wrongly stated resolution does not hide them.
MAX_ASPECT = 1.05  # By how much the shapes of copies may differ, for margins that were cut.
ZOOMS = (0.94, 1.0, 1.06)  # Resolutions are stated with errors of some per cent.
SLACK_PX = 3  # How far from the rough position the exact one is sought.

# Scores are correlations of detail. Rough scores cost little and accept some other images; the last ones decide.
ROUGH_COPY = ROUGH_PART = 0.6
SAME_COPY = 0.93  # Real copies have 0.97; unrelated drawn cores of 120 µm have 0.91 by their round outline alone.
SAME_PART = 0.8

BLOCK = 2**25  # Scores held at a time: 128 MiB.

Rows = Float32[np.ndarray, "N D"]  # One picture a row, of mean 0 and length 1.


@dataclass(frozen=True, kw_only=True)
class SameTissue:
    """Two images, as "source/key", that show the same tissue.

    Attributes:
        first, second: In alphabetical order.
        how: "copy" if one is a copy of the other, "part" if they share a part.
        score: Correlation of what they share, at most 1.
    """

    first: str
    second: str
    how: Literal["copy", "part"]
    score: float


def find_plain(prints: Mapping[str, Fingerprint]) -> list[str]:
    """The images that show too little to be distinguished; `find_same_tissue` leaves them out."""
    return sorted(name for name, print_ in prints.items() if not print_.has_detail)


def find_same_tissue(prints: Mapping[str, Fingerprint]) -> list[SameTissue]:
    """All pairs of images, named "source/key", that show the same tissue.

    Copies are found within a source, too. Parts are found only between sources, and not between two tiles: with their
    number this would be the longest step of all, and no data set is known to cut tiles from tiles.
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


def _find_copies(prints: Mapping[str, Fingerprint]) -> Iterator[SameTissue]:
    """Pairs of copies: all images are compared at a small size, similar ones again at their own."""
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


def _gist(print_: Fingerprint) -> Float32[np.ndarray, " D"]:
    """The whole image at a small size."""
    return detail_of(resize(print_.grey, GIST_PX, GIST_PX)).ravel()


def _normalised(rows: Rows) -> Rows:
    """Rows of mean 0 and length 1, so that products are correlations; rows without contrast become 0."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    shows = lengths >= MIN_CONTRAST * rows.shape[1] ** 0.5
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=shows), dtype=np.float32)


def _compare_whole(first: Fingerprint, second: Fingerprint) -> float:
    """Correlation of two images at the size of the smaller; 0 if their shapes differ."""
    small, large = sorted([first, second], key=lambda print_: print_.height * print_.width)
    zooms = sorted([large.height / small.height, large.width / small.width])
    rounding = 1 + 2 / min(small.height, small.width)  # What a pixel more or less makes of the shape of a tile.
    if zooms[1] > MAX_ZOOM or zooms[1] > zooms[0] * max(MAX_ASPECT, rounding):
        return 0.0
    resized = resize(large.grey, small.height, small.width)
    return float(cv2.matchTemplate(detail_of(small.grey), detail_of(resized), cv2.TM_CCOEFF_NORMED)[0, 0])


@dataclass(frozen=True, kw_only=True)
class _Anchors:
    """Windows with much detail, up to four of each image, that are searched for in others.

    Attributes:
        image: Position of the image among all images.
        top, left: Position in that image.
    """

    rows: Rows
    image: Int[np.ndarray, " N"]
    top: Int[np.ndarray, " N"]
    left: Int[np.ndarray, " N"]


def _find_parts(prints: Mapping[str, Fingerprint]) -> Iterator[SameTissue]:
    """Pairs of images of two sources that share a part of 64 µm or more; a pair may come several times."""
    names, all_prints = list(prints), list(prints.values())
    anchors = _choose_anchors(all_prints)
    sources = np.array([name.split("/")[0] for name in names])
    areas = np.array([print_.height * print_.width for print_ in all_prints])
    for number, print_ in enumerate(all_prints):
        if max(print_.height, print_.width) < TILE_PX:
            continue
        smaller = (areas < areas[number]) | ((areas == areas[number]) & (np.arange(len(names)) < number))
        sought = np.flatnonzero((smaller & (sources != sources[number]))[anchors.image])
        detail = detail_of(print_.grey)
        for row, place in _match_roughly(detail, anchors.rows[sought]):
            image = int(anchors.image[sought[row]])
            at = int(anchors.top[sought[row]]), int(anchors.left[sought[row]])
            score = _compare_part(detail_of(all_prints[image].grey), at, detail, place)
            if score >= SAME_PART:
                first, second = sorted([names[image], names[number]])
                yield SameTissue(first=first, second=second, how="part", score=score)


def _choose_anchors(prints: list[Fingerprint]) -> _Anchors:
    """The window with most detail of each image, or of each quarter if these are large enough."""
    rows, places = [np.zeros((0, WINDOW_PX**2), np.float32)], []
    for number, print_ in enumerate(prints):
        detail = detail_of(print_.grey)
        for top, left in _choose_places(detail):
            rows.append(detail[top : top + WINDOW_PX, left : left + WINDOW_PX].reshape(1, -1))
            places.append((number, top, left))
    columns = np.array(places, np.int64).reshape(-1, 3)
    return _Anchors(rows=_normalised(np.concatenate(rows)), image=columns[:, 0], top=columns[:, 1], left=columns[:, 2])


def _choose_places(detail: Grey) -> Iterator[tuple[int, int]]:
    """Top and left of those windows; parts of the image that show too little have none."""
    edges = [(0, n // 2, n) if n >= PATCH_PX else (0, n) for n in detail.shape]
    for top, bottom in zip(edges[0], edges[0][1:], strict=False):
        for left, right in zip(edges[1], edges[1][1:], strict=False):
            if bottom - top < WINDOW_PX or right - left < WINDOW_PX:
                continue
            amount = _windows(np.abs(detail[top:bottom, left:right])).mean(axis=(2, 3))
            y, x = (int(i) for i in np.unravel_index(amount.argmax(), amount.shape))
            if shows_enough(detail[top + y : top + y + WINDOW_PX, left + x : left + x + WINDOW_PX]):
                yield top + y, left + x


def _windows(detail: Grey) -> Float32[np.ndarray, "Y X A B"]:
    """A view of the window at each position."""
    return np.lib.stride_tricks.sliding_window_view(detail, (WINDOW_PX, WINDOW_PX))


def _match_roughly(detail: Grey, sought: Rows) -> Iterator[tuple[int, tuple[int, int]]]:
    """The windows that an image may contain: their row, and the top and left of the best match."""
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
    """Correlation of the patches around a window of one image and around its match in another, at half pixels."""
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
    """Start and stop of PATCH_PX pixels around a window, or of all pixels if there are fewer."""
    size = min(PATCH_PX, length)
    first = min(max(start - (size - WINDOW_PX) // 2, 0), length - size)
    return first, first + size


def _zoom(detail: Grey, factor: float) -> Float32[np.ndarray, "Y X"]:
    return np.asarray(cv2.resize(detail, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), dtype=np.float32)
