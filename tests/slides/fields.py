"""Made-up evidence of a whole slide, and the objects of it that one large region would give."""

import cv2
import numpy as np
from scipy import ndimage

from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.objects import within
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.cerberus.regions import CerberusRegions
from histoseg.slides.grid import Region
from histoseg.slides.settle import FoundObjects, classify
from histoseg.structures import structures


def separator(contour=True, mpp=0.5):
    """What makes objects as a Cerberus with these decoders does; its numbers are never used."""
    count = 3 if contour else 2
    decoders = {"gland": count, "lumen": count, "nuclei": count, "nuclei_type": 4}
    return CerberusRegions(build(CerberusParts(encoder="resnet18", width=4, decoders=decoders), 0), mpp)


def smooth(rng, shape, grain_px):
    """A random field from 0 to 1, smooth over `grain_px` pixels, without equal values."""
    noise = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), grain_px)
    return ((noise - noise.min()) / (noise.max() - noise.min())).astype(np.float32)


def draw_evidence(rng, shape, grains=(9, 5, 2), contour=True):
    """Evidence of glands, lumina and nuclei with classes, of blobs of a size each that mostly do not touch."""
    gland, lumen, nuclei = (smooth(rng, shape, grain) for grain in grains)
    inner = (0.5 + nuclei - np.quantile(nuclei, 0.88)).astype(np.float32)  # An eighth of all pixels are markers.
    types = rng.integers(0, 4, shape).astype(np.uint8)
    return RegionEvidence(
        objects={
            "gland": Evidence(mask=gland > np.quantile(gland, 0.7)),
            "nuclei": Evidence(mask=nuclei > np.quantile(nuclei, 0.8), inner=inner if contour else None, types=types),
            "lumen": Evidence(mask=lumen > np.quantile(lumen, 0.8)),
        }
    )


def cut(evidence: RegionEvidence, region: Region) -> dict[str, Evidence]:
    rows = slice(region.top, region.top + region.height)
    columns = slice(region.left, region.left + region.width)
    return {name: one.crop(rows, columns) for name, one in evidence.objects.items()}


def find_whole(evidence: RegionEvidence, rules: CerberusRegions) -> list[FoundObjects]:
    """The objects of all of it at once, as for an image that fits into memory."""
    found = {}
    for name in rules.structures:
        instance_map = rules.separate(name, evidence.objects[name])
        outer = structures()[name].within
        if outer in found:
            instance_map = within(instance_map, found[outer].instance_map)
        found[name] = classify(name, (0, 0), instance_map, evidence.objects[name])
    return list(found.values())


def list_pixels(found: list[FoundObjects]):
    """Every object as structure, class, its share, and its pixels on the slide; sorted, so that lists compare."""
    objects = []
    for one in found:
        for number, box in enumerate(ndimage.find_objects(one.instance_map), start=1):
            y, x = np.nonzero(one.instance_map[box] == number)
            pixels = np.stack([y + box[0].start + one.top, x + box[1].start + one.left], axis=1)
            kind = int(one.classes[number - 1]), round(float(one.class_probabilities[number - 1]), 9)
            objects.append((one.structure, pixels.tolist(), *kind))
    return sorted(objects)
