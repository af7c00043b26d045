"""Cerberus on a region of any size: what its decoders say about each pixel, and how objects are made of that.

The published code predicts 144 pixels from windows of 448, so it computes each pixel almost ten times. Larger windows
with the same margin compute the same with less; windows begin on the encoder's grid of 16 pixels, so results agree.

Probabilities are reduced on the network's device to what separates objects: of 16 floats for each pixel, which the
published decoders give, nine bytes are left.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from histoseg.errors import DataError
from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.windows import Window, read_windows
from histoseg.models.cerberus.network import STRIDE_PX, Cerberus
from histoseg.models.cerberus.postprocess import INNER, make_objects, mask_of, rule_of
from histoseg.models.tensors import device_of
from histoseg.structures import Flood, Growth, Structure, enclosing, structures
from histoseg.types import Image, InstanceMap

PIXELS_AT_ONCE = 2**20  # A network of the published width takes some gigabytes for as many.


@dataclass(frozen=True)
class CerberusRegions:
    """What a network finds of some structures, at `mpp` microns per pixel; empty `chosen` means all."""

    network: Cerberus
    mpp: float
    chosen: Collection[str] = ()
    pixels_at_once: int = PIXELS_AT_ONCE

    @cached_property
    def wanted(self) -> list[Structure]:
        """The chosen structures that the network has decoders for."""
        rows = [row for row in structures().values() if row.name in self.network.decoders]
        return [row for row in rows if not self.chosen or row.name in self.chosen]

    @cached_property
    def structures(self) -> tuple[str, ...]:
        """The wanted structures and those that they lie within, the outermost first."""
        outer = [name for row in self.wanted for name in enclosing(row.name) if name in self.network.decoders]
        names = dict.fromkeys([*(row.name for row in self.wanted), *outer])
        order = list(structures())
        return tuple(sorted(names, key=lambda name: (len(enclosing(name)), order.index(name))))

    @property
    def tasks(self) -> tuple[str, ...]:
        """None: it predicts objects, and tissue by square."""
        return ()

    @property
    def square_px(self) -> int:
        """Side of the squares that tissue is predicted for; 0 without a head for tissue."""
        return self.network.parts.tissue_cells * STRIDE_PX if self.network.parts.tissue else 0

    @property
    def unit_px(self) -> int:
        """What the sides of windows must be multiples of."""
        return self.square_px or STRIDE_PX

    def num_types(self, structure: str) -> int:
        """How many classes the objects of a wanted structure have, background included; 0 without a decoder for it."""
        decoder = structures()[structure].type_decoder
        return self.network.parts.decoders.get(decoder, 0) if structure in {row.name for row in self.wanted} else 0

    def reach_px(self, structure: str) -> int:
        rule = self._rule(structure)
        return rule.element_px // 2 + 1 if isinstance(rule, Growth) else 0

    def support(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:
        rule = self._rule(structure)
        if isinstance(rule, Growth) or evidence.inner is None:
            return evidence.mask
        return np.asarray(evidence.mask | (evidence.inner > rule.marker_threshold))

    def separate(self, structure: str, evidence: Evidence) -> InstanceMap:
        return make_objects(evidence, self._rule(structure))

    def _rule(self, structure: str) -> Growth | Flood:
        return rule_of(structure, self.network.parts.decoders[structure] == 3, self.mpp)

    @torch.no_grad()
    def evidence(self, image: Image, windows: Sequence[Window], size_px: tuple[int, int]) -> RegionEvidence:
        """What the network says about a region of `size_px`, height and width, that windows lie in.

        Args:
            image: Pixels that the windows' margins lie in as well, so that the region begins at `windows[0].margin_px`
                from its corner; or exactly the region, beyond which it is mirrored.
            windows: Of one size, in pixels of the region, which they may reach beyond.
            size_px: Height and width of the region.
        """
        parts = self.network.parts
        gathered = _Gathered(self, size_px)
        is_region = image.shape[:2] == size_px
        for seen, pixels in read_windows(image, windows, self._at_once(windows[0]), is_padded=not is_region):
            features = self.network.encode(torch.from_numpy(pixels).to(device_of(self.network)))
            for name in self.structures:
                gathered.put_objects(name, self._look(features, name, seen[0]), seen)
                if self.num_types(name):
                    types = self._look(features, structures()[name].type_decoder, seen[0])
                    gathered.put_types(name, types, seen)
            if parts.tissue:
                gathered.put_squares(self._classify(features, seen[0]), seen)
        return gathered.evidence()

    def _at_once(self, window: Window) -> int:
        return max(1, self.pixels_at_once // window.num_seen)

    def _look(self, features: list[Tensor], decoder: str, window: Window) -> Tensor:
        """Probabilities of one decoder in the windows of a batch, without their margins; C x B x H x W."""
        found = self.network.decode(features, decoder).float().softmax(dim=1)[:, :, *window.core]
        if not torch.isfinite(found).all():
            raise DataError(f"decoder {decoder} produced NaN or infinite values; the model weights may be corrupt")
        return found.transpose(0, 1)

    def _classify(self, features: list[Tensor], window: Window) -> Float32[np.ndarray, "B K I J"]:
        """Probabilities of tissue in the squares of the windows of a batch.

        A margin that is not a multiple of 16 shifts the squares by up to half a cell: 8 pixels for the published 152.
        """
        first, rows, columns = (side // STRIDE_PX for side in (window.margin_px, window.height, window.width))
        cut = features[-1][:, :, first : first + rows, first : first + columns]
        return self.network.classify([cut]).float().softmax(dim=1).cpu().numpy()


class _Gathered:
    """The evidence of a region, filled window by window."""

    def __init__(self, regions: CerberusRegions, size_px: tuple[int, int]) -> None:
        self.regions = regions
        rules = {name: regions._rule(name) for name in regions.structures}
        self.rules = rules
        self.masks = {name: np.zeros(size_px, bool) for name in rules}
        self.inner = {name: np.zeros(size_px, np.float32) for name, rule in rules.items() if isinstance(rule, Flood)}
        self.types = {name: np.zeros(size_px, np.uint8) for name in rules if regions.num_types(name)}
        side = regions.square_px
        counts = tuple(-(-length // side) if side else 0 for length in size_px)
        self.squares = np.zeros((regions.network.parts.tissue, *counts), np.float32)

    def put_objects(self, name: str, found: Tensor, seen: Sequence[Window]) -> None:
        _put(self.masks[name], mask_of(found, self.rules[name]), seen)
        if name in self.inner:
            _put(self.inner[name], found[INNER], seen)

    def put_types(self, name: str, found: Tensor, seen: Sequence[Window]) -> None:
        _put(self.types[name], found.argmax(dim=0).to(torch.uint8), seen)

    def put_squares(self, found: Float32[np.ndarray, "B K I J"], seen: Sequence[Window]) -> None:
        for window, part in zip(seen, found, strict=True):
            row, column = (start // self.regions.square_px for start in (window.top, window.left))
            place = self.squares[:, row : row + part.shape[1], column : column + part.shape[2]]
            place[...] = part[:, : place.shape[1], : place.shape[2]]  # Squares that begin in the region

    def evidence(self) -> RegionEvidence:
        objects = {
            name: Evidence(mask=mask, inner=self.inner.get(name), types=self.types.get(name))
            for name, mask in self.masks.items()
        }
        return RegionEvidence(objects=objects, tissue=self.squares if len(self.squares) else None)


def _put(whole: np.ndarray, found: Tensor, seen: Sequence[Window]) -> None:
    for window, part in zip(seen, found.cpu().numpy(), strict=True):
        place = whole[window.place]
        place[...] = part[: place.shape[0], : place.shape[1]]  # What lies in the region
