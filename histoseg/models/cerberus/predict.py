"""Cerberus on a whole image: windows with a margin of context, then objects of every structure.

The published code predicts 144 pixels from windows of 448, so it computes each pixel almost ten times. Larger windows
with the same margin compute the same with less; windows begin on the encoder's grid of 16 pixels, so results agree.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor

from histoseg.errors import DataError
from histoseg.maps.objects import vote_types
from histoseg.maps.windows import MarginWindows, Window, read_windows
from histoseg.models.cerberus.network import STRIDE_PX, Cerberus
from histoseg.models.cerberus.postprocess import separate, within
from histoseg.models.prediction import Prediction, Probabilities
from histoseg.models.tensors import device_of
from histoseg.structures import MPP, Structure, enclosing, structures
from histoseg.types import Image, InstanceMap, SemanticMap

PIXELS_AT_ONCE = 2**20  # A network of the published width takes some gigabytes for as many.


def predict(
    network: Cerberus, image: Image, windows: MarginWindows, chosen: Collection[str] = (), mpp: float = MPP
) -> Prediction:
    """The objects of some structures, as far as the network has decoders for them, and the tissue.

    Where the network also finds what a structure lies within, as glands for lumina, objects outside of it are dropped,
    as in the published code. Arguments are those of `NetworkSpec.predict`.
    """
    rows = [row for row in structures().values() if row.name in network.decoders]
    wanted = [row for row in rows if not chosen or row.name in chosen]
    helpers = [name for row in wanted for name in enclosing(row.name) if name in network.decoders]
    types = [row.type_decoder for row in wanted if row.type_decoder in network.decoders]
    names = dict.fromkeys([*(row.name for row in wanted), *helpers, *types])
    maps, tissue = probabilities(network, image, windows, names)
    # Each map is freed when it has served: of a slide, they are most of what is in memory.
    found = _confine({row.name: _separate(maps.pop(row.name), row, mpp) for row in rows if row.name in maps})
    votes = {row.name: _vote(found[row.name], maps.pop(row.type_decoder, None)) for row in wanted}
    return Prediction(
        instance_maps={row.name: found[row.name] for row in wanted},
        classes={name: vote[0] for name, vote in votes.items()},
        class_probabilities={name: vote[1] for name, vote in votes.items()},
        tissue=tissue,
        tissue_px=network.parts.tissue_cells * STRIDE_PX,
    )


def _separate(probabilities: Probabilities, row: Structure, mpp: float) -> InstanceMap:
    return separate(probabilities, row.name, len(probabilities) == 3, mpp)


def _confine(found: dict[str, InstanceMap]) -> dict[str, InstanceMap]:
    """The maps without what lies outside of the structure that it belongs in, the outermost structures first."""
    for name in sorted(found, key=lambda name: len(enclosing(name))):
        outer = structures()[name].within
        if outer in found:
            found[name] = within(found[name], found[outer])
    return found


def _vote(instance_map: InstanceMap, probabilities: Probabilities | None) -> tuple[np.ndarray, np.ndarray]:
    """Each object's class and its share, by ascending id; zeros without a decoder for classes."""
    if probabilities is None:
        count = int(instance_map.max(initial=0))
        return np.zeros(count, np.uint8), np.zeros(count)
    type_map: SemanticMap = probabilities.argmax(axis=0).astype(np.uint8)
    return vote_types(instance_map, type_map, len(probabilities))


@torch.no_grad()
def probabilities(
    network: Cerberus, image: Image, windows: MarginWindows, decoders: Iterable[str]
) -> tuple[dict[str, Probabilities], Probabilities | None]:
    """Each decoder's probabilities at each pixel; those of tissue for each square, or None without a head for tissue.

    What lies outside of the image is mirrored.
    """
    parts = network.parts
    maps = {name: np.empty((parts.decoders[name], *image.shape[:2]), np.float32) for name in decoders}
    side_px = parts.tissue_cells * STRIDE_PX
    every = windows.over(image, side_px if parts.tissue else STRIDE_PX)
    last = every[-1]  # The squares of tissue in the last row or column may reach beyond the image.
    counts = (last.top + last.height) // side_px, (last.left + last.width) // side_px
    squares = np.empty((parts.tissue, *counts), np.float32)
    for seen, pixels in read_windows(image, every, max(1, PIXELS_AT_ONCE // every[0].num_seen)):
        features = network.encode(torch.from_numpy(pixels).to(device_of(network)))
        for name, whole in maps.items():
            _put_pixels(whole, _decode(network, features, name, seen[0]), seen)
        if parts.tissue:
            _put_squares(squares, _classify(network, features, seen[0]), seen, side_px)
    return maps, squares if parts.tissue else None


def _decode(network: Cerberus, features: list[Tensor], name: str, window: Window) -> Float32[np.ndarray, "B C H W"]:
    """Probabilities of one decoder in the windows of a batch, without their margins."""
    found = network.decode(features, name).float().softmax(dim=1)[:, :, *window.core]
    if not torch.isfinite(found).all():
        raise DataError(f"decoder {name} produced NaN or infinite values; the model weights may be corrupt")
    return found.cpu().numpy()


def _put_pixels(whole: Probabilities, found: Float32[np.ndarray, "B C H W"], seen: Sequence[Window]) -> None:
    for window, part in zip(seen, found, strict=True):
        place = whole[:, *window.place]
        place[...] = part[:, : place.shape[1], : place.shape[2]]  # What lies in the image


def _classify(network: Cerberus, features: list[Tensor], window: Window) -> Float32[np.ndarray, "B K I J"]:
    """Probabilities of tissue in the squares of the windows of a batch.

    A margin that is not a multiple of 16 shifts the squares by up to half a cell: 8 pixels for the published 152.
    """
    first, rows, columns = (side // STRIDE_PX for side in (window.margin_px, window.height, window.width))
    cut = features[-1][:, :, first : first + rows, first : first + columns]
    return network.classify([cut]).float().softmax(dim=1).cpu().numpy()


def _put_squares(
    squares: Probabilities, found: Float32[np.ndarray, "B K I J"], seen: Sequence[Window], side_px: int
) -> None:
    for window, part in zip(seen, found, strict=True):
        row, column = window.top // side_px, window.left // side_px
        squares[:, row : row + part.shape[1], column : column + part.shape[2]] = part


@torch.no_grad()
def classify(network: Cerberus, patches: UInt8[np.ndarray, "B H W 3"]) -> Float64[np.ndarray, "B K"]:
    """The probability of each class of tissue for patches of the size that the network was trained with."""
    logits = network.classify(network.encode(torch.from_numpy(patches).to(device_of(network))))
    return np.asarray(logits.double().softmax(dim=1)[:, :, 0, 0].cpu().numpy())
