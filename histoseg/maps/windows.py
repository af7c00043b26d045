"""Windows over an image: which squares a network sees, and which part of each counts.

An image of any size is predicted window by window. Either each window has a margin of context whose prediction is
thrown away (`MarginWindows`), or windows overlap and their predictions are averaged (`OverlapWindows`). Both give plain
`Window`s, and `read_windows` reads their pixels; what lies outside of the image is mirrored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64, UInt8

from histoseg.errors import ConfigError
from histoseg.runs.config import require
from histoseg.types import Image

PUBLISHED_MARGIN_PX = 152  # Cerberus' published code: 448 pixels in, 144 out


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of an image that a network predicts, in pixels of the image; it may reach beyond it."""

    top: int
    left: int
    height: int
    width: int
    margin_px: int = 0  # How much further the network sees on each side

    @property
    def place(self) -> tuple[slice, slice]:
        """Its rows and columns in a map of the whole image; a map ends where the image does."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def core(self) -> tuple[slice, slice]:
        """Its rows and columns in what the network sees, that is without the margin."""
        margin = self.margin_px
        return slice(margin, margin + self.height), slice(margin, margin + self.width)

    @property
    def num_seen(self) -> int:
        """How many pixels the network sees."""
        return (self.height + 2 * self.margin_px) * (self.width + 2 * self.margin_px)

    def read(self, image: Image) -> UInt8[np.ndarray, "_ _ 3"]:
        """The pixels that the network sees."""
        margin, (height, width) = self.margin_px, image.shape[:2]
        top, bottom = self.top - margin, self.top + self.height + margin
        left, right = self.left - margin, self.left + self.width + margin
        if top >= 0 and left >= 0 and bottom <= height and right <= width:
            return image[top:bottom, left:right]
        return np.asarray(image[np.ix_(mirrored(top, bottom, height), mirrored(left, right, width))])


def mirrored(start: int, stop: int, side: int) -> Int64[np.ndarray, " N"]:
    """The pixel of a side at each position: 2 1 0 1 2 1 0 1 from -2 on, about a side of three pixels."""
    period = max(1, 2 * (side - 1))
    distances = np.abs(np.arange(start, stop)) % period
    return np.asarray(np.minimum(distances, period - distances) if side > 1 else distances)


@dataclass(frozen=True, kw_only=True)
class MarginWindows:
    """Squares of `window_px` with a margin of `margin_px` that only gives context; what they predict does not overlap.

    The published margin of Cerberus is 152 pixels, its window 448: it gives 144 pixels and computes each 9.7 times. A
    window of 1024 gives 720 and computes each twice, with the same result.
    """

    window_px: int = 1024
    margin_px: int = PUBLISHED_MARGIN_PX

    def __post_init__(self) -> None:
        inner = self.window_px - 2 * self.margin_px
        require(self.margin_px >= 0 and self.margin_px % 8 == 0, "windows.margin_px", self.margin_px, "0, 8, 16, ...")
        nearest = 2 * self.margin_px + max(16, inner // 16 * 16)
        rule = f"twice the margin plus a multiple of 16, such as {nearest}"
        require(inner > 0 and inner % 16 == 0, "windows.window_px", self.window_px, rule)

    def over(self, image: Image, unit_px: int = 16) -> list[Window]:
        """The windows of an image, row by row; each predicts a multiple of `unit_px` in both directions."""
        height, width = (self.inner_px(side, unit_px) for side in image.shape[:2])
        return [
            Window(top=top, left=left, height=height, width=width, margin_px=self.margin_px)
            for top in range(0, image.shape[0], height)
            for left in range(0, image.shape[1], width)
        ]

    def inner_px(self, side_px: int, unit_px: int) -> int:
        """How much of a side one window predicts: all of it if it may be so large."""
        most = max(unit_px, (self.window_px - 2 * self.margin_px) // unit_px * unit_px)
        return min(most, -(-side_px // unit_px) * unit_px)


@dataclass(frozen=True, kw_only=True)
class OverlapWindows:
    """Squares of `window_px` without a margin; each step moves by `1 - overlap` of a window."""

    window_px: int = 768
    overlap: float = 0.25

    def __post_init__(self) -> None:
        is_multiple = self.window_px >= 16 and self.window_px % 16 == 0
        require(is_multiple, "windows.window_px", self.window_px, "a multiple of 16")
        require(0 <= self.overlap < 1, "windows.overlap", self.overlap, "at least 0 and below 1")

    def over(self, image: Image) -> list[Window]:
        """The windows of an image, row by row; an image smaller than a window has one."""
        return [
            Window(top=top, left=left, height=self.window_px, width=self.window_px)
            for top in self.starts(image.shape[0])
            for left in self.starts(image.shape[1])
        ]

    def starts(self, side_px: int) -> list[int]:
        """Where windows begin along one side: evenly stepped, the last flush with the end."""
        last = max(0, side_px - self.window_px)
        step = max(1, round(self.window_px * (1 - self.overlap)))
        return [*range(0, last, step), last]


Windows = MarginWindows | OverlapWindows


def require_margin(windows: Windows, network: str, margin_px: int = PUBLISHED_MARGIN_PX) -> MarginWindows:
    """Windows of a kind that a network can take.

    Args:
        windows: How an image is divided.
        network: What the network is called in the message.
        margin_px: A margin that is large enough for it, for the message.

    Raises:
        ConfigError: If windows overlap instead of having a margin.
    """
    if not isinstance(windows, MarginWindows):
        usual = f"MarginWindows(margin_px={margin_px})"
        raise ConfigError(f"windows = {windows}: must have a margin for {network}, as {usual}")
    return windows


def read_windows(
    image: Image, windows: Sequence[Window], at_once: int, *, is_padded: bool = False
) -> Iterator[tuple[Sequence[Window], UInt8[np.ndarray, "B H W 3"]]]:
    """All windows with their pixels, `at_once` of them at a time; a padded image begins with the windows' margin."""
    for start in range(0, len(windows), at_once):
        chosen = windows[start : start + at_once]
        shifts = [window.margin_px if is_padded else 0 for window in chosen]
        moved = [
            replace(window, top=window.top + shift, left=window.left + shift)
            for window, shift in zip(chosen, shifts, strict=True)
        ]
        yield chosen, np.stack([window.read(image) for window in moved])
