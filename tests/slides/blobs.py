"""A model that needs no training: what is dark is of nuclei, what is stained of glands, and what is bright of lumina.

It computes with whole numbers of the pixels around each, so what it says does not depend on windows; the inner
probability of nuclei has hardly two equal values, as a watershed treats those in an order that depends on all.
Objects are made by Cerberus' rules.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.windows import read_windows
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.cerberus.published import PUBLISHED_CLASSES
from histoseg.models.cerberus.regions import CerberusRegions
from histoseg.models.weights import Model

DECODERS = {"gland": 3, "lumen": 3, "nuclei": 3, "nuclei_type": 7, "gland_type": 3}
SQUARE_PX = 32
KINDS = {"inner": np.float32, "types": np.uint8}


@dataclass(frozen=True)
class BlobRegions(CerberusRegions):
    """What the model says about regions."""

    def evidence(self, image, windows, size_px):
        names = [*self.structures, "inner"]
        names += ["types"] if any(self.num_types(name) for name in self.structures) else []
        maps = {name: np.zeros(size_px, KINDS.get(name, bool)) for name in names}
        tissue = np.zeros((9, *(-(-side // SQUARE_PX) for side in size_px)), np.float32)
        for seen, pixels in read_windows(image, windows, 1, is_padded=image.shape[:2] != size_px):
            window, found = seen[0], look(pixels[0])
            for name, whole in maps.items():
                there = whole[window.place]
                there[...] = found[name][window.core][: there.shape[0], : there.shape[1]]
            kinds = found["types"][window.core][::SQUARE_PX, ::SQUARE_PX] % 9
            row, column = window.top // SQUARE_PX, window.left // SQUARE_PX
            there = tissue[:, row : row + kinds.shape[0], column : column + kinds.shape[1]]
            there[...] = (np.arange(9)[:, None, None] == kinds)[:, : there.shape[1], : there.shape[2]]
        objects = {
            name: Evidence(
                mask=maps[name],
                inner=maps["inner"] if name == "nuclei" else None,
                types=maps["types"] % self.num_types(name) if self.num_types(name) else None,
            )
            for name in self.structures
        }
        return RegionEvidence(objects=objects, tissue=tissue)


def look(pixels):
    """What lies within 12 pixels of each decides."""
    grey = cv2.transform(pixels.astype(np.uint16), np.ones((1, 3), np.float32))  # Up to 765
    small, medium, large = (add(grey, side) for side in (3, 7, 23))
    inner = (560 - small / 9) / 300 + 0.2 + large / 23**2 * 1e-4 + medium / 7**2 * 1e-6
    return {
        "inner": np.clip(inner, 0, 1).astype(np.float32),
        "nuclei": inner > 0.4,
        "gland": large < 540 * 23**2,
        "lumen": (medium > 640 * 7**2) & (large < 715 * 23**2),
        "types": (large // (8 * 23**2) % 251).astype(np.uint8),
    }


def add(values, side):
    """The sum over the square around each pixel."""
    return cv2.boxFilter(values, cv2.CV_32S, (side, side), normalize=False)


@dataclass(frozen=True, kw_only=True)
class BlobSpec(CerberusSpec):
    """The model's settings."""

    def regions(self, network, *, heads=(), mpp=0.5, execution=None):
        return BlobRegions(network, mpp, tuple(heads))

    def difficulty(self, network, image, windows, structure):
        """The darker, the more difficult."""
        return 1 - image.mean(axis=2, dtype=np.float32) / 255


def draw_model(sha256="0" * 64):
    parts = CerberusParts(encoder="unet", width=4, decoders=DECODERS, tissue=9, tissue_cells=SQUARE_PX // 16)
    spec = BlobSpec(encoder="unet", width=4, contour=True)
    return Model(
        spec=spec, network=build(parts, 0).eval(), classes=PUBLISHED_CLASSES, mpp=0.5, origin="blobs", sha256=sha256
    )
