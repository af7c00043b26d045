"""A Cerberus with random weights whose features have the size of a trained one's, and made-up tissue for it."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from histoseg.demo.drawing import draw_stain
from histoseg.demo.mucosa import draw_field
from histoseg.engines.eager import Forward
from histoseg.models.cerberus.network import Cerberus, CerberusParts, build
from histoseg.models.cerberus.regions import CerberusRegions
from histoseg.types import Image

DECODERS = {"gland": 3, "lumen": 3, "nuclei": 3, "nuclei_type": 7, "gland_type": 3}  # And tissue: six heads
MPP = 0.5
FIELD_PX = 512
GLAND, LUMEN, NUCLEUS = 180, 215, 125  # Of 255: what is darker, brighter, darker
SETTLING = 5  # Batches whose statistics become those of the network


@cache
def draw_mucosa(side_px: int) -> Image:
    """A square of tissue with glands and nuclei."""
    rng = np.random.default_rng(0)
    field = draw_field((FIELD_PX, FIELD_PX), draw_stain(rng), rng)
    count = -(-side_px // FIELD_PX)
    return np.tile(field.image, (count, count, 1))[:side_px, :side_px]


def settled_network(width: int, encoder: str = "resnet34") -> Cerberus:
    """The published network in another width, after batches of tissue: else numbers grow from layer to layer."""
    network = build(CerberusParts(encoder=encoder, width=width, decoders=DECODERS, tissue=9), 0)
    rng, image = np.random.default_rng(0), draw_mucosa(512)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # The mean of all batches
    network.train()
    with torch.no_grad():
        for _ in range(SETTLING):
            tops, lefts = rng.integers(0, 512 - 144, (2, 2))
            patches = [image[top : top + 144, left : left + 144] for top, left in zip(tops, lefts, strict=True)]
            network(torch.from_numpy(np.stack(patches)))
    return network.eval()


class ColourRegions(CerberusRegions):
    """The network's time with other results: nuclei, glands and lumina by their colour.

    Random weights find specks in any number, and would make the time of post-processing anything.
    """

    def _step(self, forward: Forward, images: Tensor) -> list[Tensor]:
        logits = forward(images)
        return super()._step(lambda _: self.by_colour(logits, images), images)

    def by_colour(self, logits: Sequence[Tensor], images: Tensor) -> tuple[Tensor, ...]:
        """The logits, those of objects replaced by what colours show in the middle of each image.

        Lumina are bright pixels that dark ones surround, as a trained network takes no empty glass for a lumen.
        """
        margin = (images.shape[1] - logits[0].shape[2]) // 2
        inner = images[:, margin : images.shape[1] - margin, margin : images.shape[2] - margin]
        grey = inner.numpy().mean(axis=3, dtype=np.float32)
        gland = _blur(grey, 23) < GLAND
        marks = {
            "gland": gland,
            "lumen": (_blur(grey, 9) > LUMEN) & np.stack([fill_holes(each) for each in gland]),
            "nuclei": _blur(grey, 5) < NUCLEUS,
        }
        found = list(logits)
        for place, name in enumerate(self.decoders):
            if name in marks:
                sign = torch.from_numpy(marks[name].astype(np.float32) * 2 - 1)[:, None]
                found[place] = torch.cat([-4 * sign, 4 * sign, torch.full_like(sign, -8)], dim=1)
        return tuple(found)


def fill_holes(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The mask with everything that it surrounds."""
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED).view(bool)


def _blur(grey: Float32[np.ndarray, "B H W"], side: int) -> Float32[np.ndarray, "B H W"]:
    return np.stack([cv2.blur(each, (side, side)) for each in grey])
