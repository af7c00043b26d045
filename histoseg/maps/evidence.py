"""What a network says about a rectangle of pixels, as far as the objects of one structure are made of it.

Probabilities are reduced to what separates objects, so that parts of a slide can be kept until their neighbours are
known: a bit for each pixel where objects are grown, and the inner probability where they are flooded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32

from histoseg.types import InstanceMap, SemanticMap


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The pixels that objects of one structure are made of.

    Attributes:
        mask: Pixels of eroded objects where objects are grown; pixels of objects where they are flooded.
        inner: The probability of being inside of an object, where objects are flooded; else None.
        types: The most probable class of each pixel's object; None without a decoder for classes.
    """

    mask: Bool[np.ndarray, "H W"]
    inner: Float32[np.ndarray, "H W"] | None = None
    types: SemanticMap | None = None

    def only(self, chosen: Bool[np.ndarray, "H W"]) -> "Evidence":
        """The same with nothing outside of the chosen pixels."""
        inner = None if self.inner is None else np.where(chosen, self.inner, np.float32(0))
        return Evidence(mask=self.mask & chosen, inner=inner, types=self.types)

    def seen(self, where: Bool[np.ndarray, "H W"]) -> "Evidence":
        """The same if only those pixels had been looked at: elsewhere is background, and no class is known."""
        types = None if self.types is None else np.where(where, self.types, np.uint8(0))
        return replace(self.only(where), types=types)

    def crop(self, rows: slice, columns: slice) -> "Evidence":
        """A rectangle of it."""
        return Evidence(
            mask=self.mask[rows, columns],
            inner=None if self.inner is None else self.inner[rows, columns],
            types=None if self.types is None else self.types[rows, columns],
        )


@dataclass(frozen=True, kw_only=True)
class RegionEvidence:
    """All that a network says about a region.

    Attributes:
        objects: By structure, those within others after these.
        tissue: Probabilities of the classes of tissue, K x I x J, for squares from the upper left corner on; None
            without a head for tissue.
        semantic_maps: By task, the class of each pixel.
    """

    objects: Mapping[str, Evidence] = field(default_factory=dict)
    tissue: Float32[np.ndarray, "K I J"] | None = None
    semantic_maps: Mapping[str, SemanticMap] = field(default_factory=dict)


@runtime_checkable
class Separator(Protocol):
    """How objects are made of evidence, by structure.

    Attributes:
        structures: Those that there is evidence of, the outermost first.
    """

    @property
    def structures(self) -> tuple[str, ...]: ...

    def reach_px(self, structure: str) -> int:
        """How far from its support an object may reach, in pixels.

        What is made of some pixels of the support depends only on those that are connected with them (by edges or
        corners) once each is dilated by so much, and on those that they surround.
        """

    def support(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:
        """The pixels that decide about objects; all others could as well be background."""

    def filled(self, structure: str, evidence: Evidence) -> Bool[np.ndarray, "H W"]:
        """The pixels whose connected pieces are filled, so that what they surround becomes theirs."""

    def separate(self, structure: str, evidence: Evidence) -> InstanceMap:
        """The objects, with ids from 1 on, none missing."""
