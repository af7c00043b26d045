"""Rota-Net on whole images and regions: eroded objects, opened and dilated.

As in the code that its authors published with Graham et al. 2020 (DSF-CNN), where glands have the same classes: a pixel
is inside if that is more probable than 0.55 and a contour is not more probable than 0.5; then holes are filled, the
mask is opened by 5 pixels, pieces below 1500 pixels are dropped and the others dilated. There by diamonds of 5 and 9
pixels, here by ellipses of 5 and of the 11 pixels by which targets are eroded; other structures have their own sizes.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from histoseg.maps.eroded import CONTOUR, INNER
from histoseg.models.cerberus.postprocess import CONTOUR_THRESHOLD
from histoseg.models.opened_regions import OpenedRegions
from histoseg.models.opening import Opening
from histoseg.models.rotanet.network import RotaNet
from histoseg.models.rotanet.targets import CONTOURED, STRIDE_PX
from histoseg.models.tensors import device_of
from histoseg.structures import structure_of_objects

INNER_THRESHOLD = 0.55  # Where contours are a class; the code of DSF-CNN


def regions_of(network: RotaNet, chosen: Collection[str], mpp: float) -> OpenedRegions:
    """What a network finds of some structures, at `mpp` microns per pixel; empty `chosen` means all."""

    def inside(images: UInt8[Tensor, "B H W 3"], names: Collection[str]) -> Mapping[str, Tensor]:
        seen = network.encode(images)
        return {name: uncontoured(network.decode(seen, name).softmax(dim=1)) for name in names}

    openings = {name: opening_of(name, mpp) for name in network.heads}
    return OpenedRegions(
        inside=inside, openings=openings, unit_px=STRIDE_PX, chosen=tuple(chosen), device=device_of(network)
    )


def opening_of(structure: str, mpp: float) -> Opening:
    """How objects of a structure are made."""
    separation = structure_of_objects(structure).separation.at(mpp)
    growth = separation.without_contour
    if structure in CONTOURED:
        growth = replace(growth, threshold=INNER_THRESHOLD)
    return Opening(element_px=max(1, separation.element_px // 2), growth=growth)


def uncontoured(probabilities: Float[Tensor, "B C H W"]) -> Float[Tensor, "B H W"]:
    """How probably each pixel is inside of an eroded object, 0 on contours."""
    inner = probabilities[:, INNER]
    if probabilities.shape[1] == CONTOUR:
        return inner
    return torch.where(probabilities[:, CONTOUR] > CONTOUR_THRESHOLD, 0 * inner, inner)
