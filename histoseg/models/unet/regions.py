"""The U-Net on a region of any size: the class of each pixel for each task. It finds no objects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool

from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.windows import Window, read_windows
from histoseg.models.tensors import device_of
from histoseg.models.unet.network import UNet
from histoseg.types import Image, InstanceMap

STRIDE_PX = 16  # Of the features at the bottom of the network
WINDOWS_AT_ONCE = 4


@dataclass(frozen=True)
class UNetRegions:
    """The classes of pixels of some tasks."""

    network: UNet
    tasks: tuple[str, ...]
    structures: tuple[str, ...] = ()
    square_px: int = 0
    unit_px: int = STRIDE_PX

    @torch.no_grad()
    def evidence(self, image: Image, windows: Sequence[Window], size_px: tuple[int, int]) -> RegionEvidence:
        """See `histoseg.models.spec.RegionPredictor.evidence`."""
        maps = {task: np.zeros(size_px, np.uint8) for task in self.tasks}
        is_padded = image.shape[:2] != size_px
        for seen, pixels in read_windows(image, windows, WINDOWS_AT_ONCE, is_padded=is_padded):
            images = torch.from_numpy(pixels).to(device_of(self.network))
            for task, whole in maps.items():
                found = self.network(images, task).argmax(dim=1).to(torch.uint8).cpu().numpy()
                for window, part in zip(seen, found, strict=True):
                    place = whole[window.place]
                    place[...] = part[window.core][: place.shape[0], : place.shape[1]]
        return RegionEvidence(semantic_maps=maps)

    def num_types(self, structure: str) -> int:
        return self._refuse(structure)

    def reach_px(self, structure: str) -> int:
        return self._refuse(structure)

    def support(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:
        return np.zeros((0, 0), bool) if self._refuse(structure) else evidence.mask

    def filled(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:
        return self.support(structure, evidence)

    def separate(self, structure: str, evidence: Evidence) -> InstanceMap:  # noqa: ARG002  # as the protocol
        return np.zeros((self._refuse(structure), 0), np.int32)

    def _refuse(self, structure: str) -> int:
        raise ValueError(f"a U-Net finds no objects, and so none of {structure!r}")
