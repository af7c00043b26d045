"""Cerberus on a whole image: windows with a margin of context, then objects of every structure.

The published code predicts 144 pixels from windows of 448, so it computes each pixel almost ten times. Larger windows
with the same margin compute the same with less; windows begin on the encoder's grid of 16 pixels, so results agree.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from histoseg.errors import DataError
from histoseg.maps.objects import vote_types
from histoseg.models.cerberus.network import Cerberus
from histoseg.models.cerberus.postprocess import separate, within
from histoseg.models.tensors import device_of
from histoseg.runs.config import Windows
from histoseg.types import Image, InstanceMap, SemanticMap, Structure

STRIDE_PX = 16  # Of the encoder's smallest features
OBJECTS: tuple[Structure, ...] = ("gland", "lumen", "nuclei")
PIXELS_AT_ONCE = 2**20  # A network of the published width takes some gigabytes for as many.

Probabilities = Float32[np.ndarray, "_ _ _"]  # Classes, then rows and columns: of pixels, or of squares of tissue


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """What the network sees in one image.

    Attributes:
        instance_maps: By structure; 0 is background.
        classes: By structure, the class of each of its objects in ascending order of their ids; 0 where none is told.
        class_probabilities: The share of each object's pixels that have its class.
        tissue: Probabilities of the classes of tissue for squares of `tissue_px`, of which the first lies in the upper
            left corner; None if the network tells none.
        tissue_px: Side of those squares.
    """

    instance_maps: Mapping[Structure, InstanceMap]
    classes: Mapping[Structure, np.ndarray]
    class_probabilities: Mapping[Structure, np.ndarray]
    tissue: Probabilities | None
    tissue_px: int


def segment(
    network: Cerberus, image: Image, windows: Windows, structures: Iterable[Structure] = OBJECTS
) -> Segmentation:
    """The objects of some structures, as far as the network has decoders for them, and the tissue.

    Lumina outside of glands are dropped, as in the published code, where the network also finds glands.
    """
    wanted = [name for name in OBJECTS if name in structures and name in network.decoders]
    helpers = ["gland"] if "lumen" in wanted and "gland" in network.decoders else []
    types = [f"{name}_type" for name in wanted if f"{name}_type" in network.decoders]
    maps, tissue = probabilities(network, image, windows, dict.fromkeys([*wanted, *helpers, *types]))
    # Each map is freed when it has served: of a slide, they are most of what is in memory.
    found = {name: _separate(maps.pop(name), name) for name in OBJECTS if name in maps}
    if "lumen" in found and "gland" in found:
        found["lumen"] = within(found["lumen"], found["gland"])
    votes = {name: _vote(found[name], maps.pop(f"{name}_type", None)) for name in wanted}
    return Segmentation(
        instance_maps={name: found[name] for name in wanted},
        classes={name: votes[name][0] for name in wanted},
        class_probabilities={name: votes[name][1] for name in wanted},
        tissue=tissue,
        tissue_px=network.spec.tissue_cells * STRIDE_PX,
    )


def _separate(probabilities: Probabilities, structure: Structure) -> InstanceMap:
    return separate(probabilities, structure, len(probabilities) == 3)


def _vote(instance_map: InstanceMap, probabilities: Probabilities | None) -> tuple[np.ndarray, np.ndarray]:
    """Each object's class and its share, by ascending id; zeros without a decoder for classes."""
    if probabilities is None:
        count = int(instance_map.max(initial=0))
        return np.zeros(count, np.uint8), np.zeros(count)
    type_map: SemanticMap = probabilities.argmax(axis=0).astype(np.uint8)
    return vote_types(instance_map, type_map, len(probabilities))


@torch.no_grad()
def probabilities(
    network: Cerberus, image: Image, windows: Windows, decoders: Iterable[str]
) -> tuple[dict[str, Probabilities], Probabilities | None]:
    """Each decoder's probabilities at each pixel; those of tissue for each square, or None if the network tells none.

    What lies outside of the image is mirrored.

    Raises:
        DataError: If the network answers with what are no numbers.
    """
    names, cells = list(decoders), network.spec.tissue_cells
    unit = STRIDE_PX * (cells if network.tissue is not None else 1)
    inner = [_inner(side, windows, unit) for side in image.shape[:2]]
    size = [-(-side // step) * step for side, step in zip(image.shape[:2], inner, strict=True)]
    padded = _mirrored(image, size, windows.margin_px)
    found = {name: np.empty((network.spec.decoders[name], *image.shape[:2]), np.float32) for name in names}
    squares = np.empty((network.spec.tissue, *(side // (cells * STRIDE_PX) for side in size)), np.float32)
    places = [(top, left) for top in range(0, size[0], inner[0]) for left in range(0, size[1], inner[1])]
    at_once = max(1, PIXELS_AT_ONCE // math.prod(side + 2 * windows.margin_px for side in inner))
    for corners in _chunks(places, at_once):
        batch = np.stack([_window(padded, corner, inner, windows.margin_px) for corner in corners])
        features = network.encode(torch.from_numpy(batch).to(device_of(network)))
        for name in names:
            parts = _core(network.decode(features, name).float().softmax(dim=1), inner, windows.margin_px)
            if not torch.isfinite(parts).all():
                raise DataError(f"decoder {name} answers with what are no numbers; the model's weights are damaged")
            for (top, left), part in zip(corners, parts.cpu().numpy(), strict=True):
                place = found[name][:, top : top + inner[0], left : left + inner[1]]
                place[...] = part[:, : place.shape[1], : place.shape[2]]  # What lies in the image
        if network.tissue is not None:
            _put_tissue(squares, network, features, corners, (inner[0], inner[1], windows.margin_px))
    return found, squares if network.tissue is not None else None


def _inner(side_px: int, windows: Windows, unit_px: int) -> int:
    """How much of a side one window predicts: all of it if it may be so large, always a multiple of the unit."""
    most = max(unit_px, (windows.window_px - 2 * windows.margin_px) // unit_px * unit_px)
    return min(most, -(-side_px // unit_px) * unit_px)


def _mirrored(image: Image, size: list[int], margin_px: int) -> np.ndarray:
    """The image with a margin all around, and enough below and beside to reach a size."""
    below, beside = (whole - side + margin_px for whole, side in zip(size, image.shape[:2], strict=True))
    return np.asarray(cv2.copyMakeBorder(image, margin_px, below, margin_px, beside, cv2.BORDER_REFLECT_101))


def _window(padded: np.ndarray, corner: tuple[int, int], inner: list[int], margin_px: int) -> np.ndarray:
    (top, left), (height, width) = corner, (side + 2 * margin_px for side in inner)
    return padded[top : top + height, left : left + width]


def _core(maps: Tensor, inner: list[int], margin_px: int) -> Tensor:
    return maps[:, :, margin_px : margin_px + inner[0], margin_px : margin_px + inner[1]]


def _put_tissue(
    squares: np.ndarray,
    network: Cerberus,
    features: list[Tensor],
    corners: list[tuple[int, int]],
    place: tuple[int, int, int],
) -> None:
    """Enter the windows' classes of tissue.

    A margin that is no multiple of 16 shifts the squares by up to half a cell: 8 pixels for the published 152.
    """
    height, width, margin_px = place
    cells, first = network.spec.tissue_cells, margin_px // STRIDE_PX
    cut = features[-1][:, :, first : first + height // STRIDE_PX, first : first + width // STRIDE_PX]
    parts = network.classify([cut]).float().softmax(dim=1).cpu().numpy()
    side = cells * STRIDE_PX
    for (top, left), part in zip(corners, parts, strict=True):
        y, x = top // side, left // side
        squares[:, y : y + part.shape[1], x : x + part.shape[2]] = part


def _chunks(corners: list[tuple[int, int]], count: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(corners), count):
        yield corners[start : start + count]
