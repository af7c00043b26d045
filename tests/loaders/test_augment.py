import random
from collections import Counter

import albumentations as A
import cv2
import numpy as np
import pytest
from scipy.stats import chisquare, ks_2samp

from histoseg.loaders.augment import AffineCrop, Augment
from histoseg.runs.config import Data

STILL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def coordinates(height, width):
    """An image whose red and green say where a pixel lies: x and y, over 200 steps."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = (np.arange(width) * 200 / width)[None]
    image[..., 1] = (np.arange(height) * 200 / height)[:, None]
    return image


def test_the_same_seed_draws_the_same_patch():
    augment, rng = Augment(Data(patch_px=32)), np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)
    label = rng.integers(0, 3, (60, 70), dtype=np.uint8)
    first, other, again = (augment(image, [label], seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("seed", range(20))
def test_image_and_map_stay_together(seed):
    # Label is a function of the colour, so after the warp it must still be, but for a pixel beside the border.
    image = coordinates(90, 110)
    label = (image[..., 0] > 100).astype(np.uint8)
    patch, (patch_label,) = Augment(Data(patch_px=48, **STILL))(image, [label], seed)
    differs = (patch[..., 0] > 100) != patch_label.astype(bool)
    near = cv2.dilate(cv2.morphologyEx(patch_label, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), None) > 0
    assert not (differs & ~near).any()


def test_without_any_change_a_patch_is_a_cut_of_the_image():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    data = Data(patch_px=48, scale=(1.0, 1.0), rotate_deg=0.0, **STILL)
    patch, _ = Augment(data)(image, [image[..., 0]], 3)
    flips = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    assert any(np.array_equal(patch, flip) for flip in flips)


def test_an_image_smaller_than_the_patch_is_mirrored():
    image = np.full((20, 30, 3), 7, np.uint8)
    patch, (label,) = Augment(Data(patch_px=64, **STILL))(image, [np.ones((20, 30), np.uint8)], 0)
    assert patch.shape == (64, 64, 3)
    assert (label == 1).all()
    assert (patch == 7).all()


def test_patches_come_from_where_the_papers_order_takes_them():
    """Independent implementation: resize, rotate the whole canvas, crop, each by albumentations' own transform."""
    data = Data(patch_px=64, **STILL)
    image = coordinates(100, 120)
    label = np.zeros((100, 120), np.uint8)
    papers = A.Compose(
        [
            A.RandomScale((data.scale[0] - 1, data.scale[1] - 1), p=1.0),
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.Affine(rotate=(-data.rotate_deg, data.rotate_deg), border_mode=cv2.BORDER_REFLECT_101, p=1.0),
            A.RandomCrop(64, 64),
        ],
        seed=0,
    )
    ours = Augment(data)
    drawn_ours = [ours(image, [label], seed)[0] for seed in range(800)]
    drawn_papers = [papers(image=image)["image"] for _ in range(800)]
    for place in ((32, 32), (0, 0), (63, 10)):  # where a pixel of the patch comes from, along x and y
        for channel in (0, 1):
            found = [int(patch[(*place, channel)]) for patch in drawn_ours]
            wanted = [int(patch[(*place, channel)]) for patch in drawn_papers]
            assert ks_2samp(found, wanted).pvalue > 0.001


def shift(by):
    return np.array([[1, 0, by[0]], [0, 1, by[1]], [0, 0, 1]])


@pytest.mark.parametrize("stretch", [False, True])
@pytest.mark.parametrize("shear_deg", [0.0, 5.0])
@pytest.mark.parametrize(
    ("scale", "height", "width"),
    [
        ((0.8, 1.2), 100, 120),
        ((0.8, 1.2), 30, 100),
        ((0.99, 0.99), 48, 49),
    ],  # All larger, or in part smaller; nearly equal
)
def test_the_warp_equals_its_steps_one_by_one(stretch, shear_deg, scale, height, width):
    """Restated: scale, shear and turn about the image's middle, put that in the canvas' middle, cut the patch."""
    data = Data(patch_px=48, scale=scale, rotate_deg=15.0, stretch=stretch, shear_deg=shear_deg)
    for seed in range(5):
        crop, drawn = AffineCrop(data), random.Random(seed)
        crop.set_random_seed(seed)
        across = drawn.uniform(*scale)
        size, factors = np.array([width, height]), np.array([across, drawn.uniform(*scale) if stretch else across])
        angle = np.deg2rad(drawn.uniform(-15, 15))
        lean = np.tan(np.deg2rad(drawn.uniform(-shear_deg, shear_deg))) if shear_deg else 0
        slack = size * factors - 48
        begin = [space * drawn.random() if space > 0 else (drawn.random(), space / 2)[1] for space in slack]
        steps = [
            shift([-0.5, -0.5]),  # OpenCV counts from the centres of pixels.
            shift(-np.array(begin)),
            shift(size * factors / 2),
            np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]]),
            np.array([[1, lean, 0], [0, 1, 0], [0, 0, 1]]),
            np.diag([*factors, 1]),
            shift(-size / 2),
            shift([0.5, 0.5]),
        ]
        found = crop.get_params_dependent_on_data({"shape": (height, width, 3)}, {})["matrix"]
        np.testing.assert_allclose(found, np.linalg.multi_dot(steps)[:2], atol=1e-9)


def test_flips_and_blurs_are_as_frequent_as_stated():
    """Half of all patches are flipped, either way; a third each are blurred by a Gauss, by a median, and made noisy.

    On grey, a lone pixel and blocks of 3 x 3 and 4 x 5 tell them apart: only noise touches plain grey, only a median
    takes the lone pixel away. One of 3 leaves 5 pixels of the square and 16 of the block, one of 5 some of the block (9
    of 25 pixels are no majority). By a Gauss, the pixel grows to 3 or 5 in either direction, or stays.
    """
    image = np.full((48, 48, 3), 100, np.uint8)
    image[12, 12] = image[30:33, 30:33] = image[14:18, 28:33] = 200
    data = Data(patch_px=48, scale=(1.0, 1.0), rotate_deg=0.0, blur=True, **STILL)
    augment, kinds, flips = Augment(data), Counter(), {"x": [], "y": []}
    for seed in range(2700):
        patch, (where,) = augment(image, [(np.arange(48 * 48) == 12 * 49).reshape(48, 48).astype(np.uint8)], seed)
        ((y, x),) = np.argwhere(where)
        flips["x"].append(x == 35)
        flips["y"].append(y == 35)
        near = patch[y - 3 : y + 4, x - 3 : x + 4, 0] != 100
        if near[[0, 0, -1, -1], [0, -1, 0, -1]].any() or (patch[20:28, 20:28] != 100).any():
            kinds["noise"] += 1
        elif not near.any():
            kinds[f"median of {3 if (patch[..., 0] > 150).sum() == 21 else 5}"] += 1
        else:
            kinds[f"{near.any(axis=0).sum()} x {near.any(axis=1).sum()}"] += 1
    # A third of a third for a median of 1, which is as no Gauss at all; the weakest noise is rounded away, too.
    assert kinds["1 x 1"] / 2700 == pytest.approx((1 / 9 + 1 / 3) / 3, abs=0.025)
    assert kinds["noise"] / 2700 == pytest.approx(1 / 3, abs=0.03)
    gauss = [kinds[f"{width} x {height}"] for width in (1, 3, 5) for height in (1, 3, 5)][1:]
    assert chisquare([*gauss, kinds["median of 3"] / 3, kinds["median of 5"] / 3]).pvalue > 0.001
    assert sum(gauss) / 2700 == pytest.approx(8 / 27, abs=0.03)
    assert [np.mean(flips[axis]) for axis in "xy"] == pytest.approx([0.5, 0.5], abs=0.03)


def test_stretch_and_shear_keep_the_middle_and_the_area_of_a_map():
    """A disc in the middle stays there; its area changes by the product of the two factors (shear keeps areas)."""
    label = np.zeros((200, 200), np.uint16)
    cv2.circle(label, (100, 100), 20, 500, -1)
    image = np.zeros((200, 200, 3), np.uint8)
    data = Data(
        patch_px=192, scale=(0.9, 1.1), stretch=True, shear_deg=5.0, rotate_deg=180.0, blur=True, colour_p=0.9, **STILL
    )
    for seed in range(50):
        _, (patch,) = Augment(data)(image, [label], seed)
        assert patch.dtype == np.uint16
        assert set(np.unique(patch)) == {0, 500}
        # 0.9 * 0.9 to 1.1 * 1.1 times the area; the edge of a disc of 20 pixels is good to 3 %.
        assert 0.81 * 0.97 < (patch > 0).sum() / (label > 0).sum() < 1.21 * 1.03


def test_patches_with_one_class_are_turned_by_quarters_only():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 200  # An upright edge: turned by quarters it stays straight.
    data = Data(patch_px=448, tissue_px=48, scale=(1.0, 1.0), rotate_deg=180.0, **STILL)
    augment, turned = Augment(data, whole=True), []
    for seed in range(200):
        patch = augment(image, [], seed)[0][..., 0]
        assert patch.shape == (48, 48)
        upright, lying = (patch == patch[:1]).all(), (patch == patch[:, :1]).all()
        assert upright or lying
        turned.append(lying)
    assert np.mean(turned) == pytest.approx(0.5, abs=0.1)  # By no, one, two or three quarters: each as often.


def test_colours_change_within_the_stated_bounds():
    # A grey image: brightness 0.8 to 1.2 is all that can be seen of the jitter (contrast about its own mean, no hue).
    image = np.full((64, 64, 3), 100, np.uint8)
    augment = Augment(Data(patch_px=32))
    means = [augment(image, [image[..., 0]], seed)[0].mean() for seed in range(200)]
    assert 79 <= min(means) < 84
    assert 116 < max(means) <= 121


def channels_of(**changes):
    """Mean red, green and blue of two halves, (100, 60, 60) and (180, 140, 140), after each of 300 draws."""
    image = np.full((32, 32, 3), (100, 60, 60), np.uint8)
    image[:16] += 80
    augment = Augment(Data(patch_px=32, scale=(1.0, 1.0), rotate_deg=0.0, **(STILL | changes)))
    drawn = (augment(image, [image[..., 0]], seed) for seed in range(300))
    return np.array([[patch[label == red].mean(axis=0) for red in (100, 180)] for patch, (label,) in drawn])


def test_contrast_changes_within_its_bounds():
    # A factor of 0.8 to 1.2 on what the halves differ by, which is 80.
    red = channels_of(contrast=0.2)[..., 0]
    factors = (red[:, 1] - red[:, 0]) / 80
    assert 0.79 <= factors.min() < 0.82
    assert 1.18 < factors.max() <= 1.21


def test_saturation_changes_within_its_bounds():
    # A factor of 0.8 to 1.2 on what red and green differ by, which is 40.
    half = channels_of(saturation=0.2)[:, 0]
    factors = (half[:, 0] - half[:, 1]) / 40
    assert 0.77 <= factors.min() < 0.83
    assert 1.17 < factors.max() <= 1.23


def test_hue_turns_either_way():
    # 0.1 of the circle is 36 of the 60 degrees from red to yellow or magenta: green or blue rises by up to 0.6 of 40.
    half = channels_of(hue=0.1)[:, 0]
    rises = half[:, 1] - half[:, 2]
    assert -26 <= rises.min() < -20
    assert 20 < rises.max() <= 26


def test_colours_change_as_often_as_stated():
    means = channels_of(brightness=0.2, colour_p=0.8)[:, 0, 0]
    assert (means == 100).mean() == pytest.approx(0.2, abs=0.05)
