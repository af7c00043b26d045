import albumentations as A
import cv2
import numpy as np
import pytest
from scipy.stats import ks_2samp

from histoseg.loaders.augment import Augment
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
    seen = set()
    for seed in range(40):
        patch = Augment(data, whole=True)(image, [], seed)[0][..., 0]
        assert patch.shape == (48, 48)
        upright, lying = (patch == patch[:1]).all(), (patch == patch[:, :1]).all()
        assert upright or lying
        seen.add("upright" if upright else "lying")
    assert seen == {"upright", "lying"}


def test_colours_change_within_the_stated_bounds():
    # A grey image: brightness 0.8 to 1.2 is all that can be seen of the jitter (contrast about its own mean, no hue).
    image = np.full((64, 64, 3), 100, np.uint8)
    augment = Augment(Data(patch_px=32))
    means = [augment(image, [image[..., 0]], seed)[0].mean() for seed in range(200)]
    assert 79 <= min(means) < 84
    assert 116 < max(means) <= 121
