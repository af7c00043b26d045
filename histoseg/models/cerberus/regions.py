"""Cerberus on a region of any size: what its decoders say about each pixel, and how objects are made of that.

The published code predicts 144 pixels from windows of 448, so it computes each pixel almost ten times. Larger windows
with the same margin compute the same with less; windows begin on the encoder's grid of 16 pixels, so results agree.

Probabilities are reduced on the network's device to what separates objects: of 16 floats for each pixel, which the
published decoders give, nine bytes are left.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from histoseg.engines import Execution
from histoseg.engines.eager import Forward, run_eagerly
from histoseg.engines.runner import Runner
from histoseg.engines.trial import TOLERANCES
from histoseg.errors import DataError
from histoseg.maps.eroded import INNER
from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.separation import make_objects
from histoseg.maps.windows import Window, read_windows
from histoseg.models.cerberus.heads import AllHeads
from histoseg.models.cerberus.network import STRIDE_PX, Cerberus
from histoseg.models.cerberus.postprocess import mask_of, rule_of
from histoseg.models.cerberus.running import runner_of
from histoseg.models.tensors import device_of, start_fetch, to_device
from histoseg.models.window_maps import PIXELS_AT_ONCE
from histoseg.structures import Flood, Growth, chosen_of, structures, with_enclosing
from histoseg.types import Image, InstanceMap


@dataclass(frozen=True)
class CerberusRegions:
    """What a network finds of some structures, at `mpp` microns per pixel; empty `chosen` means all.

    Without `execution` the network is run as it is; with it, a copy whose weights are those of the first call.
    """

    network: Cerberus
    mpp: float
    chosen: Collection[str] = ()
    pixels_at_once: int = PIXELS_AT_ONCE
    execution: Execution | None = None

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """The chosen structures that the network has decoders for."""
        return chosen_of(list(self.network.decoders), self.chosen)

    @cached_property
    def structures(self) -> tuple[str, ...]:
        """The wanted structures and those that they lie within, the outermost first."""
        return with_enclosing(self.wanted, list(self.network.decoders))

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
        return self.network.parts.decoders.get(decoder, 0) if structure in self.wanted else 0

    def reach_px(self, structure: str) -> int:
        rule = self._rule(structure)
        return rule.element_px // 2 + 1 if isinstance(rule, Growth) else 0

    def support(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:
        rule = self._rule(structure)
        if isinstance(rule, Growth) or evidence.inner is None:
            return evidence.mask
        return np.asarray(evidence.mask | (evidence.inner > rule.marker_threshold))

    def filled(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:
        rule = self._rule(structure)
        if isinstance(rule, Growth) or evidence.inner is None:
            return evidence.mask
        return np.asarray(evidence.inner > rule.marker_threshold)

    def separate(self, structure: str, evidence: Evidence) -> InstanceMap:
        return make_objects(evidence, self._rule(structure))

    def _rule(self, structure: str) -> Growth | Flood:
        return rule_of(structure, self.network.parts.decoders[structure] == 3, self.mpp)

    @cached_property
    def decoders(self) -> tuple[str, ...]:
        """The decoders that are run: for each structure its own, and that of its classes."""
        types = {name: structures()[name].type_decoder for name in self.structures if self.num_types(name)}
        return tuple(each for name in self.structures for each in (name, types.get(name)) if each)

    @torch.inference_mode()
    def evidence(self, image: Image, windows: Sequence[Window], size_px: tuple[int, int]) -> RegionEvidence:
        """What the network says about a region of `size_px`, height and width, that windows lie in.

        Args:
            image: Pixels that the windows' margins lie in as well, so that the region begins at `windows[0].margin_px`
                from its corner; or exactly the region, beyond which it is mirrored.
            windows: Of one size, in pixels of the region, which they may reach beyond.
            size_px: Height and width of the region.
        """
        gathered, runner = _Gathered(self, size_px), self._runner(windows[0])
        device, is_padded = device_of(self.network), image.shape[:2] != size_px
        begun: list[tuple[Sequence[Window], Callable[[], list[np.ndarray]]]] = []
        for seen, pixels in read_windows(image, windows, runner.at_once, is_padded=is_padded):
            begun.append((seen, start_fetch(runner(self._step, to_device(pixels, device)))))
            if len(begun) > 1:  # While a GPU computes the next windows
                _gather(gathered, *begun.pop(0))
        _gather(gathered, *begun.pop())
        return gathered.evidence()

    def _runner(self, window: Window) -> Runner:
        shape = replace(window, top=0, left=0)
        if self.execution is None:
            eager = run_eagerly(AllHeads(self.network, self.decoders, shape), "fp32")
            return Runner(eager, [], TOLERANCES["fp32"], at_once=max(1, self.pixels_at_once // window.num_seen))
        return runner_of(self.network, self.decoders, shape, self.execution, self.pixels_at_once)

    def _step(self, forward: Forward, images: Tensor) -> list[Tensor]:
        """What is kept of some windows, by structure, in the order of `_Gathered.put`; the first axis is windows."""
        logits = forward(images)
        heads = dict(zip(self.decoders, logits, strict=False))
        # A sum is finite only if all numbers are; it takes one pass and no memory.
        kept = [torch.stack([value.flatten(1).sum(1).isfinite() for value in logits], dim=1)]
        for name in self.structures:
            found = heads[name].softmax(dim=1)
            kept.append(mask_of(found.transpose(0, 1), self._rule(name)))
            if isinstance(self._rule(name), Flood):
                kept.append(found[:, INNER])
            if self.num_types(name):
                kept.append(heads[structures()[name].type_decoder].argmax(dim=1).to(torch.uint8))
        return [*kept, logits[-1].softmax(dim=1)] if self.network.parts.tissue else kept


class _Gathered:
    """The evidence of a region, filled window by window."""

    def __init__(self, regions: CerberusRegions, size_px: tuple[int, int]) -> None:
        self.regions = regions
        rules = {name: regions._rule(name) for name in regions.structures}
        self.masks = {name: np.zeros(size_px, bool) for name in rules}
        self.inner = {name: np.zeros(size_px, np.float32) for name, rule in rules.items() if isinstance(rule, Flood)}
        self.types = {name: np.zeros(size_px, np.uint8) for name in rules if regions.num_types(name)}
        side = regions.square_px
        counts = tuple(-(-length // side) if side else 0 for length in size_px)
        self.squares = np.zeros((regions.network.parts.tissue, *counts), np.float32)

    def put(self, seen: Sequence[Window], kept: Sequence[np.ndarray]) -> None:
        """Put in what `CerberusRegions._step` kept of some windows.

        Raises:
            DataError: If a head produced values that are not finite.
        """
        is_finite, *parts = kept
        self._check(is_finite)
        coming = iter(parts)
        for name in self.masks:
            for maps in (self.masks, self.inner, self.types):
                if name in maps:
                    _put(maps[name], next(coming), seen)
        for squares in coming:
            self._put_squares(squares, seen)

    def _check(self, is_finite: Bool[np.ndarray, "B N"]) -> None:
        heads = [*(f"decoder {name}" for name in self.regions.decoders), "the head for tissue"]
        if not is_finite.all():
            head = heads[int(np.argmin(is_finite.all(axis=0)))]
            raise DataError(f"{head} produced NaN or infinite values; the model weights may be corrupt")

    def _put_squares(self, found: Float32[np.ndarray, "B K I J"], seen: Sequence[Window]) -> None:
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


def _gather(gathered: _Gathered, seen: Sequence[Window], fetch: Callable[[], list[np.ndarray]]) -> None:
    gathered.put(seen, fetch())


def _put(whole: np.ndarray, found: np.ndarray, seen: Sequence[Window]) -> None:
    for window, part in zip(seen, found, strict=True):
        place = whole[window.place]
        place[...] = part[: place.shape[0], : place.shape[1]]  # What lies in the region
