"""MILD-Net on whole images and regions: objects less their contours, and where it is uncertain."""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from histoseg.errors import ConfigError
from histoseg.maps.windows import MarginWindows, read_windows
from histoseg.models.mildnet.network import MildNet
from histoseg.models.mildnet.sampling import mean_and_variance
from histoseg.models.mildnet.targets import STRIDE_PX
from histoseg.models.opened_regions import OpenedRegions
from histoseg.models.opening import Opening
from histoseg.models.tensors import device_of, to_device
from histoseg.models.window_maps import PIXELS_AT_ONCE, put, require_finite
from histoseg.structures import structure_of_objects
from histoseg.types import Image

CONTOUR_THRESHOLD = 0.5  # The paper has 0.5 for all probabilities (p. 11).
LARGEST_VARIANCE = 0.25  # Of numbers between 0 and 1


def regions_of(network: MildNet, chosen: Collection[str], mpp: float, transformations: int) -> OpenedRegions:
    """What a network finds of some structures, at `mpp` microns per pixel; empty `chosen` means all."""

    def inside(images: UInt8[Tensor, "B H W 3"], names: Collection[str]) -> Mapping[str, Tensor]:
        return uncontoured(network, images, names, transformations)

    openings = {name: opening_of(name, mpp) for name in network.heads}
    return OpenedRegions(
        inside=inside, openings=openings, unit_px=STRIDE_PX, chosen=tuple(chosen), device=device_of(network)
    )


def opening_of(structure: str, mpp: float) -> Opening:
    """How objects of a structure are made.

    The paper opens by a disk of radius 5 (p. 11), as large as the element of glands; here each structure has its
    own element. Small pieces are dropped and the others dilated as for networks that learn eroded objects.
    """
    separation = structure_of_objects(structure).separation.at(mpp)
    return Opening(element_px=separation.element_px, growth=separation.without_contour)


def uncontoured(
    network: MildNet, images: UInt8[Tensor, "B H W 3"], names: Collection[str], transformations: int
) -> dict[str, Float[Tensor, "B H W"]]:
    """How probably each pixel is in an object, 0 on contours; both are means over transformations, if there are any."""
    mean, _ = mean_and_variance(lambda seen: probabilities(network, seen, names), images, transformations)
    found = {}
    for name, both in zip(names, mean.chunk(len(names)), strict=True):
        objects, contours = both.chunk(2)
        found[name] = torch.where(contours > CONTOUR_THRESHOLD, 0 * objects, objects)
    return found


def probabilities(network: MildNet, images: UInt8[Tensor, "B H W 3"], names: Collection[str]) -> Float[Tensor, "N H W"]:
    """Of one structure after the other how probably each pixel of all images is in an object, then on a contour."""
    seen, _ = network.encode(images)
    found = [logits.softmax(dim=1)[:, 1] for name in names for logits in network.decode(seen, name)]
    return torch.cat(found)


@torch.inference_mode()
def uncertainty(
    network: MildNet, image: Image, windows: MarginWindows, structure: str, transformations: int
) -> Float32[np.ndarray, "H W"]:
    """The variance of the probability of objects over transformations, as a share of the largest that there can be.

    Raises:
        ConfigError: If there are fewer than two transformations, or the network has no head for the structure.
    """
    if transformations < 2:
        raise ConfigError(
            f"network.transformations = {transformations}: the difficulty of MILD-Net is a variance over two or more "
            "transformations; choose regions at random, or train with network.transformations=10"
        )
    if structure not in network.heads:
        raise ConfigError(f"the network has no head for {structure}; choose from {', '.join(network.heads)}")
    found = np.zeros(image.shape[:2], np.float32)
    shown = windows.over(image, STRIDE_PX)
    for seen, pixels in read_windows(image, shown, max(1, PIXELS_AT_ONCE // shown[0].num_seen)):
        images = to_device(pixels, device_of(network))
        _, variance = mean_and_variance(
            lambda x: probabilities(network, x, [structure])[: len(x)], images, transformations
        )
        put(found, (require_finite(variance, structure) / LARGEST_VARIANCE).float().cpu().numpy(), seen)
    return found
