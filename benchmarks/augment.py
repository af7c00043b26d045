"""Augmenting a 1000² image to a patch of 768²: ours against albumentations in the order that the paper tells.

    python benchmarks/augment.py

MetaHistoSeg, Sec. 3.1, resizes, jitters colours, flips, rotates and crops; written down like that, every step works on
the whole image. "crop first" is what one gets by moving the colours behind the crop. That a patch comes from the same
places in ours and in the paper's order is tested in tests/loaders/test_augment.py; here colours are compared.
"""

from collections.abc import Callable

import albumentations as A  # noqa: N812  # the name its documentation uses
import cv2
import numpy as np
from _timing import Finding, compare, interleaved, one_thread, print_times, table
from _tissue import draw_tissue

from histoseg.loaders.augment import AffineCrop, Augment
from histoseg.runs.config import Data
from histoseg.types import Image, SemanticMap

DATA = Data()
NUM_ROUNDS, NUM_COLOURS = 15, 60
GOAL = 2.0


def run() -> list[Finding]:
    """Ours against the paper's order; the parts of ours are printed."""
    image, semantic_map = draw_tissue(np.random.default_rng(0))
    naive = A.Compose([scale(), jitter(), *flips(), rotate(), crop()], seed=0)
    crop_first = A.Compose([scale(), *flips(), rotate(), crop(), jitter()], seed=0)
    ours = Augment(DATA)
    check_colours(lambda seed: ours(image, [semantic_map], seed)[0], lambda _: naive(image=image)["image"])
    times = interleaved(
        {
            "histoseg": numbered(lambda seed: ours(image, [semantic_map], seed)),
            "albumentations, the paper's order": lambda: naive(image=image, mask=semantic_map),
            "albumentations, crop first": lambda: crop_first(image=image, mask=semantic_map),
        },
        NUM_ROUNDS,
    )
    print("one patch of 768x768 from 1000x1000; colours of both distributed alike")
    print_times(times)
    print_parts(image, semantic_map)
    return compare(times, "augmentation 1000² → 768²", {"albumentations, the paper's order": GOAL})


def scale() -> A.BasicTransform:
    return A.RandomScale((DATA.scale[0] - 1, DATA.scale[1] - 1), p=1.0)


def flips() -> list[A.BasicTransform]:
    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]


def rotate() -> A.BasicTransform:
    return A.Affine(rotate=(-DATA.rotate_deg, DATA.rotate_deg), border_mode=cv2.BORDER_REFLECT_101, p=1.0)


def crop() -> A.BasicTransform:
    """The least scale gives 800², so a crop of 768² always fits."""
    return A.RandomCrop(DATA.patch_px, DATA.patch_px)


def jitter() -> A.BasicTransform:
    near_one = {name: (1 - getattr(DATA, name), 1 + getattr(DATA, name)) for name in ("brightness", "contrast")}
    saturation = (1 - DATA.saturation, 1 + DATA.saturation)
    return A.ColorJitter(**near_one, saturation=saturation, hue=(-DATA.hue, DATA.hue), p=1.0)


def numbered(call: Callable[[int], object]) -> Callable[[], object]:
    """The call with another number each time."""
    numbers = iter(range(10**9))
    return lambda: call(next(numbers))


def colours(draw: Callable[[int], Image]) -> np.ndarray:
    """Mean red, green and blue of some patches."""
    return np.stack([draw(seed).mean(axis=(0, 1)) for seed in range(NUM_COLOURS)])


def check_colours(ours: Callable[[int], Image], papers: Callable[[int], Image]) -> None:
    """Stop unless mean colours differ by no more than chance allows: four standard errors of the difference."""
    found, wanted = colours(ours), colours(papers)
    difference = np.abs(found.mean(axis=0) - wanted.mean(axis=0))
    allowed = 4 * np.sqrt((found.var(axis=0) + wanted.var(axis=0)) / NUM_COLOURS)
    if (difference > allowed).any():
        raise SystemExit(f"mean colours differ by {difference.round(1)}, chance allows {allowed.round(1)}")


def print_parts(image: Image, semantic_map: SemanticMap) -> None:
    """What each part of ours takes alone."""
    geometry = AffineCrop(DATA)
    patch = geometry(image=image)["image"]
    parts = {
        "warp of the image": (geometry, {"image": image}),
        "warp of image and map": (geometry, {"image": image, "mask": semantic_map}),
        "both flips of the patch": (A.Compose([A.HorizontalFlip(p=1), A.VerticalFlip(p=1)]), {"image": patch}),
        "all colours": (jitter(), {"image": patch}),
        "brightness alone": (colour(brightness=0.2), {"image": patch}),
        "contrast alone": (colour(contrast=0.2), {"image": patch}),
        "saturation alone": (colour(saturation=0.1), {"image": patch}),
        "hue alone": (colour(hue=0.1), {"image": patch}),
    }
    calls = {name: (lambda part=part, inputs=inputs: part(**inputs)) for name, (part, inputs) in parts.items()}
    print("parts of ours, each alone")
    print_times(interleaved(calls, NUM_ROUNDS))


def colour(**changes: float) -> A.BasicTransform:
    """A jitter of one property; albumentations leaves out the others if they cannot change."""
    still = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
    return A.ColorJitter(**{**still, **changes}, p=1.0)


if __name__ == "__main__":
    one_thread()
    print(table(run()))
