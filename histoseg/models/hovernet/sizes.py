"""Sizes of patches and of what is predicted of them: HoVer-Net's decoders do not pad, so they predict the middle.

Graham et al. 2019, Sec. 3.1: 270 pixels in, 80 out, with kernels of 5. The published code calls that mode "original",
and adds "fast": 256 in, 164 out, with kernels of 3, and a stem that pads.
"""

from collections.abc import Mapping
from typing import Literal

from histoseg.errors import ConfigError

Mode = Literal["original", "fast"]
KERNEL: Mapping[Mode, int] = {"original": 5, "fast": 3}
STRIDE_PX = 8  # Of the encoder's smallest features
STEM_LOSS_PX: Mapping[Mode, int] = {"original": 6, "fast": 0}  # Of a side, by the stem's kernel of 7 if it does not pad


def _lost_px(mode: Mode) -> int:
    """How much smaller than the stem's output the prediction is.

    At a quarter of the image one kernel and eight dense units, at half of it one and four, each take kernel - 1.
    """
    taken = KERNEL[mode] - 1
    return 4 * (1 + 8) * taken + 2 * (1 + 4) * taken


def context_px(mode: Mode) -> int:
    """How much further than what it predicts a network sees on each side: 95 in the original mode, 46 in the fast."""
    return (STEM_LOSS_PX[mode] + _lost_px(mode)) // 2


def predicted_px(mode: Mode, side_px: int) -> int:
    """The side of what is predicted of a patch.

    Raises:
        ConfigError: If the mode cannot take patches of that side.
    """
    found = side_px - 2 * context_px(mode)
    rest = STEM_LOSS_PX[mode]
    if found < 2 or (side_px - rest) % STRIDE_PX:
        least = 2 * context_px(mode) + STRIDE_PX - (2 * context_px(mode) - rest) % STRIDE_PX
        usual = {"original": 270, "fast": 256}[mode]
        raise ConfigError(
            f"HoVer-Net in mode {mode!r} takes no patches of {side_px} pixels, only of {least}, {least + STRIDE_PX}, "
            f"{least + 2 * STRIDE_PX}, ... (published: {usual}); set data.cut_px"
        )
    return found
