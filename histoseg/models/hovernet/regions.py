"""HoVer-Net on a region of any size: which pixels are nuclear, how steep distances are there, and their classes.

Windows are shown with more context than the network needs, so that slopes at the border of what a window gives are
computed from what the network says beyond it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from histoseg.errors import ConfigError, DataError
from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.windows import Window, read_windows
from histoseg.models.hovernet.network import HoVerNet
from histoseg.models.hovernet.postprocess import (
    MASK_THRESHOLD,
    REACH_PX,
    is_marker,
    make_objects,
    steepness,
)
from histoseg.models.hovernet.sizes import STEM_LOSS_PX, STRIDE_PX, Mode, context_px
from histoseg.models.tensors import device_of, to_device
from histoseg.models.window_maps import PIXELS_AT_ONCE
from histoseg.types import Image, InstanceMap

UNIT_PX = 16  # Sides of windows; with margins of 8, 16, ... what the network sees is a multiple of STRIDE_PX, too.


def least_margin_px(mode: Mode) -> int:
    """The smallest margin of windows: 56 pixels in the fast mode, 112 in the original one.

    Margins are multiples of the stride. One pixel of the original mode's is cut off, as its stem does not pad.
    """
    needed = context_px(mode) + _trimmed_px(mode) + REACH_PX
    return -(-needed // STRIDE_PX) * STRIDE_PX


def _trimmed_px(mode: Mode) -> int:
    """How much of a window is cut off on each side, so that the stem's output has a side that the stride divides."""
    return -STEM_LOSS_PX[mode] % STRIDE_PX // 2


@dataclass(frozen=True)
class HoVerNetRegions:
    """What a network finds; without its structure among `chosen`, unless that is empty, it finds nothing."""

    network: HoVerNet
    chosen: Collection[str] = ()
    tasks: tuple[str, ...] = ()
    square_px: int = 0
    unit_px: int = UNIT_PX

    @property
    def structures(self) -> tuple[str, ...]:
        """The network's one structure."""
        name = self.network.parts.structure
        return (name,) if not self.chosen or name in self.chosen else ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """The same: nuclei lie within nothing that it finds."""
        return self.structures

    def num_types(self, structure: str) -> int:
        """How many classes objects have, background included; 0 without a branch for them."""
        return self.network.parts.num_types if structure in self.structures else 0

    def reach_px(self, structure: str) -> int:  # noqa: ARG002  # as the protocol
        """None: nuclei lie within their mask."""
        return 0

    def support(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:  # noqa: ARG002  # as the protocol
        return evidence.mask

    def filled(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:  # noqa: ARG002  # as the protocol
        return is_marker(evidence)

    def separate(self, structure: str, evidence: Evidence) -> InstanceMap:  # noqa: ARG002  # as the protocol
        return make_objects(evidence)

    @torch.inference_mode()
    def evidence(self, image: Image, windows: Sequence[Window], size_px: tuple[int, int]) -> RegionEvidence:
        """See `histoseg.models.spec.RegionPredictor.evidence`.

        Raises:
            ConfigError: If the windows' margin is too small.
            DataError: If a branch produced values that are not finite.
        """
        parts = self.network.parts
        require_least_margin(windows[0].margin_px, parts.mode)
        mask, inner = np.zeros(size_px, bool), np.zeros(size_px, np.float32)
        types = np.zeros(size_px, np.uint8) if parts.num_types else None
        at_once = max(1, PIXELS_AT_ONCE // windows[0].num_seen)
        for seen, pixels in read_windows(image, windows, at_once, is_padded=image.shape[:2] != size_px):
            found = self._predict(pixels, seen[0].margin_px)
            for i, window in enumerate(seen):
                steep = steepness(found["hv"][i])
                _put(mask, _core(found["np"][i] >= MASK_THRESHOLD), window)
                _put(inner, _core(steep), window)
                if types is not None:
                    _put(types, _core(found["tp"][i]), window)
        objects = {name: Evidence(mask=mask, inner=inner, types=types) for name in self.structures}
        return RegionEvidence(objects=objects)

    def _predict(self, pixels: np.ndarray, margin_px: int) -> dict[str, np.ndarray]:
        """Probabilities, distances and classes of some windows, and of REACH_PX more on each side."""
        mode = self.network.parts.mode
        trimmed = _trimmed_px(mode)
        rows, columns = (slice(trimmed, side - trimmed) for side in pixels.shape[1:3])
        logits = self.network(to_device(np.ascontiguousarray(pixels[:, rows, columns]), device_of(self.network)))
        for name, value in logits.items():
            if not bool(value.sum().isfinite()):
                raise DataError(f"branch {name} produced NaN or infinite values; the model weights may be corrupt")
        cut = margin_px - trimmed - context_px(mode) - REACH_PX
        found = {
            name: value[:, :, cut : value.shape[2] - cut, cut : value.shape[3] - cut] for name, value in logits.items()
        }
        kept: dict[str, Tensor] = {"np": found["np"].softmax(dim=1)[:, 1], "hv": found["hv"].float()}
        if "tp" in found:
            kept["tp"] = found["tp"].argmax(dim=1).to(torch.uint8)
        return {name: value.cpu().numpy() for name, value in kept.items()}


def require_least_margin(margin_px: int, mode: Mode) -> None:
    """Refuse windows that show too little around what they give."""
    if margin_px < (least := least_margin_px(mode)):
        raise ConfigError(
            f"windows.margin_px = {margin_px}: must be {least} or more for HoVer-Net in mode {mode!r}, which predicts "
            "the middle of what it sees"
        )


def _core(found: np.ndarray) -> np.ndarray:
    return found[REACH_PX : found.shape[0] - REACH_PX, REACH_PX : found.shape[1] - REACH_PX]


def _put(whole: np.ndarray, found: np.ndarray, window: Window) -> None:
    place = whole[window.place]
    place[...] = found[: place.shape[0], : place.shape[1]]  # What lies in the region
