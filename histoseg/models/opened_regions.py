"""Objects of any region of an image, for networks whose objects are made of one opened mask of each structure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.windows import Window, read_windows
from histoseg.models.opening import Opening, open_objects
from histoseg.models.tensors import to_device
from histoseg.models.window_maps import PIXELS_AT_ONCE, put, require_finite
from histoseg.structures import chosen_of, with_enclosing
from histoseg.types import Image, InstanceMap


@dataclass(frozen=True)
class OpenedRegions:
    """What a network finds of some structures.

    Attributes:
        inside: From images as stored (B, H, W, 3) and names of structures, by each of them how probably a pixel is
            inside of an object and not on its contour (B, H, W).
        openings: By structure that the network has a head for, how objects are made.
        unit_px: What the sides of windows must be multiples of.
        chosen: Names of the structures to find; empty means all.
        device: Where the network computes.
    """

    inside: Callable[[Tensor, Collection[str]], Mapping[str, Tensor]]
    openings: Mapping[str, Opening]
    unit_px: int
    chosen: Collection[str]
    device: torch.device

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """The chosen structures that the network has heads for."""
        return chosen_of(self.openings, self.chosen)

    @cached_property
    def structures(self) -> tuple[str, ...]:
        """The wanted structures and those that they lie within, the outermost first."""
        return with_enclosing(self.wanted, self.openings)

    @property
    def tasks(self) -> tuple[str, ...]:
        """None: it predicts objects."""
        return ()

    @property
    def square_px(self) -> int:
        """0: it has no head for tissue."""
        return 0

    def num_types(self, structure: str) -> int:  # noqa: ARG002  # as the protocol
        """0: its objects have no classes."""
        return 0

    def reach_px(self, structure: str) -> int:
        return self.openings[structure].growth.element_px // 2 + 1

    def support(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:  # noqa: ARG002  # as the protocol
        return evidence.mask

    def filled(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:  # noqa: ARG002  # as the protocol
        return evidence.mask

    def separate(self, structure: str, evidence: Evidence) -> InstanceMap:
        return open_objects(evidence.mask, self.openings[structure])

    @torch.inference_mode()
    def evidence(self, image: Image, windows: Sequence[Window], size_px: tuple[int, int]) -> RegionEvidence:
        """See `histoseg.models.spec.RegionPredictor.evidence`.

        Raises:
            DataError: If a head produces NaN or infinite values.
        """
        masks = {name: np.zeros(size_px, bool) for name in self.structures}
        is_padded = image.shape[:2] != size_px
        at_once = max(1, PIXELS_AT_ONCE // windows[0].num_seen)
        for seen, pixels in read_windows(image, windows, at_once, is_padded=is_padded):
            found = self.inside(to_device(pixels, self.device), self.structures)
            for name, whole in masks.items():
                put(
                    whole,
                    (require_finite(found[name], name) > self.openings[name].growth.threshold).cpu().numpy(),
                    seen,
                )
        return RegionEvidence(objects={name: Evidence(mask=mask) for name, mask in masks.items()})
