"""nnU-Net on a region of any size: core and border of each object, and the objects that are made of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.flooding import flood, label_pieces
from histoseg.maps.windows import Window, mirrored, read_windows
from histoseg.models.nnunet.network import NNUNet
from histoseg.models.nnunet.targets import CORE
from histoseg.models.tensors import device_of, to_device
from histoseg.models.window_maps import PIXELS_AT_ONCE, put, require_finite
from histoseg.structures import chosen_of, structure_of_objects, with_enclosing
from histoseg.types import Image, InstanceMap

UNIT_PX = 16  # Sides of windows; what the network sees beyond a multiple of its stride is mirrored.
FLIPS: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (1, 2))  # Axes of images as stored


@dataclass(frozen=True)
class NNUNetRegions:
    """What a network finds of some structures.

    Attributes:
        mpp: Microns per pixel.
        mirror: Whether each window is also seen upside down and mirrored.
        chosen: Names of the structures to find; empty means all.
    """

    network: NNUNet
    mpp: float
    mirror: bool
    chosen: Collection[str] = ()
    tasks: tuple[str, ...] = ()
    square_px: int = 0
    unit_px: int = UNIT_PX

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """The chosen structures that the network has heads for."""
        return chosen_of(self.network.parts.structures, self.chosen)

    @cached_property
    def structures(self) -> tuple[str, ...]:
        """The wanted structures and those that they lie within, the outermost first."""
        return with_enclosing(self.wanted, self.network.parts.structures)

    def num_types(self, structure: str) -> int:  # noqa: ARG002  # as the protocol
        """0: its objects have no classes."""
        return 0

    def reach_px(self, structure: str) -> int:  # noqa: ARG002  # as the protocol
        """0: objects lie within their cores and borders."""
        return 0

    def support(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:  # noqa: ARG002  # as the protocol
        return evidence.mask

    def filled(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:  # noqa: ARG002  # as the protocol
        """None: holes stay, as nnU-Net has no rule about them."""
        return np.zeros(evidence.mask.shape, bool)

    def separate(self, structure: str, evidence: Evidence) -> InstanceMap:
        """Pieces of core that are large enough, grown over the border that is connected with them.

        Each pixel of the border goes to the piece that it is the fewest steps from. Border without a core is dropped.
        """
        if evidence.inner is None:
            raise ValueError("objects grow from their cores, so evidence needs them as its inner probability")
        if not evidence.mask.size:  # OpenCV takes no image without pixels.
            return np.zeros(evidence.mask.shape, np.int32)
        min_px = structure_of_objects(structure).separation.at(self.mpp).without_contour.min_px
        cores = label_pieces(evidence.mask & (evidence.inner > 0), min_px)
        return flood(evidence.inner, cores, label_pieces(evidence.mask, 1))

    @torch.inference_mode()
    def evidence(self, image: Image, windows: Sequence[Window], size_px: tuple[int, int]) -> RegionEvidence:
        """See `histoseg.models.spec.RegionPredictor.evidence`.

        Raises:
            DataError: If a head produces NaN or infinite values.
        """
        found = {name: (np.zeros(size_px, bool), np.zeros(size_px, np.float32)) for name in self.structures}
        is_padded = image.shape[:2] != size_px
        at_once = max(1, PIXELS_AT_ONCE // windows[0].num_seen)
        for seen, pixels in read_windows(image, windows, at_once, is_padded=is_padded):
            classes = predict_classes(
                self.network, to_device(pixels, device_of(self.network)), self.structures, self.mirror
            )
            for name, (mask, core) in found.items():
                put(mask, (classes[name] > 0).cpu().numpy(), seen)
                put(core, (classes[name] == CORE).cpu().numpy(), seen)
        return RegionEvidence(objects={name: Evidence(mask=mask, inner=core) for name, (mask, core) in found.items()})


def predict_classes(
    network: NNUNet, images: UInt8[Tensor, "B H W 3"], names: Sequence[str], mirror: bool
) -> dict[str, Tensor]:
    """The most probable class of each pixel (B, H, W), of each structure."""
    total: dict[str, Tensor] = {}
    for axes in FLIPS if mirror else FLIPS[:1]:
        seen = probabilities(network, images.flip(axes), names)
        for name, found in seen.items():
            back = found.flip([axis + 1 for axis in axes])  # Channels come before rows there.
            total[name] = total[name] + back if name in total else back
    return {name: require_finite(found, name).argmax(dim=1) for name, found in total.items()}


def probabilities(
    network: NNUNet, images: UInt8[Tensor, "B H W 3"], names: Sequence[str]
) -> dict[str, Float[Tensor, "B 3 H W"]]:
    """How probable background, core and border are, of each structure; images may have any size."""
    height, width = images.shape[1:3]
    stride = network.parts.stride_px
    rows, columns = (
        torch.from_numpy(mirrored(0, -(-side // stride) * stride, side)).to(images.device) for side in (height, width)
    )
    seen = network.encode(images[:, rows][:, :, columns])[:1]
    return {name: network.decode(seen, name)[0][:, :, :height, :width].softmax(dim=1) for name in names}
