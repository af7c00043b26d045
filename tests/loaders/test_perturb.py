"""Each change of a patch against the formula of the published code, over thousands of draws."""

import itertools
from collections import Counter

import cv2
import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from histoseg.experiments._cerberus import AUGMENTATION
from histoseg.experiments.table1 import SCALES as METAHISTOSEG
from histoseg.loaders.augment import Augment
from histoseg.loaders.perturb import BlurOrNoise, ShiftColours, add_noise, blur
from histoseg.runs.config import Data

STILL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
LEAST_P = 1e-3  # A right distribution fails a test at these seeds with that probability; they do not change.


def white_noise(side_px=200):
    """Grey, with noise of a standard deviation of 20 in each channel on its own."""
    return np.random.default_rng(0).normal(128, 20, (side_px, side_px, 3)).round().astype(np.uint8)


def drawn(image, count, **changes):
    """An image of 32 x 32 after `count` draws of an augmentation that changes nothing else."""
    still = {"scale": (1.0, 1.0), "rotate_deg": 0.0, "additive": True, **STILL}
    augment = Augment(Data(patch_px=32, **(still | changes)))
    return [augment(image, [image[..., 0]], seed)[0] for seed in range(count)]


# What a Gauss leaves of white noise's variance in one direction: the sum of its squared weights, which are
# (1, 2, 1) / 4 and (1, 4, 6, 4, 1) / 16. By the rule for the deviation, 0.3 ((k - 1) / 2 - 1) + 0.8, it would be 0.387
# and 0.266.
LEFT = {1: 1.0, 3: 6 / 16, 5: 70 / 256}


@pytest.mark.parametrize("size_px", list(itertools.product((1, 3, 5), repeat=2)))
def test_a_gauss_leaves_as_much_of_white_noise_as_published(size_px):
    image = white_noise()
    left = blur(image, size_px).astype(float).var() / image.astype(float).var()
    assert left == pytest.approx(LEFT[size_px[0]] * LEFT[size_px[1]], rel=0.03)


@pytest.mark.parametrize(("size_px", "deviation"), [(3, 0.8), (5, 1.1)])
def test_the_deviation_of_a_gauss_follows_from_its_kernel(size_px, deviation):
    """A lone bright pixel shows the kernel, whose weights are those of a normal density to within 0.03."""
    image = np.zeros((9, 9, 3), np.uint8)
    image[4, 4] = 255
    found = blur(image, (size_px, 1))[4, :, 0] / 255
    density = np.exp(-((np.arange(9) - 4) ** 2) / (2 * deviation**2)) * (found > 0)
    np.testing.assert_allclose(found, density / density.sum(), atol=0.03)
    assert (found > 0).sum() == size_px


def test_a_third_each_is_blurred_by_a_gauss_by_a_median_and_made_noisy():
    """A Gauss leaves 0.302 of the variance on average (the square of a third of 1 + 6/16 + 70/256).

    Of the patches that it changes it leaves (9 x 0.302 - 1) / 8 = 0.215.
    """
    image, change = white_noise(64), BlurOrNoise()
    change.set_random_seed(0)
    kinds, left = Counter(), {}
    for _ in range(3000):
        found = change.get_params()["change"]
        kind = getattr(found, "func", found).__name__
        kinds[kind] += 1
        left.setdefault(kind, []).append(found(image).astype(float).var() / image.astype(float).var())
    assert set(kinds) == {"blur", "medianBlur", "add_noise"}
    assert chisquare(list(kinds.values())).pvalue > LEAST_P
    assert np.mean(left["blur"]) == pytest.approx(0.302, abs=0.03)
    changed = [share for share in left["blur"] if share < 1]
    assert np.mean(changed) == pytest.approx(0.215, abs=0.02)
    assert len(changed) / kinds["blur"] == pytest.approx(8 / 9, abs=0.03)
    # Beside a median of 1, which changes nothing: of 3 it leaves 0.17, of 5 0.06 (Justusson 1981: about pi / (2 n)).
    medians = [
        [low < share < high for share in left["medianBlur"]] for low, high in ((0, 0.1), (0.1, 0.3), (0.99, 1.1))
    ]
    assert chisquare(np.sum(medians, axis=1)).pvalue > LEAST_P


def test_kernels_are_drawn_for_each_direction():
    change = BlurOrNoise()
    change.set_random_seed(0)
    found = [change.get_params()["change"] for _ in range(3000)]
    sizes = Counter(one.keywords["size_px"] for one in found if one.func is blur)
    assert set(sizes) == set(itertools.product((1, 3, 5), repeat=2))
    assert chisquare(list(sizes.values())).pvalue > LEAST_P


def test_noise_is_as_strong_as_published_and_of_each_channel_in_half_of_the_cases():
    """Deviations are uniform from 0 to 12.75; the mean stays. Rounding adds a variance of 1/12."""
    image, change = np.full((64, 64, 3), 128, np.uint8), BlurOrNoise()
    change.set_random_seed(1)
    found = [change.get_params()["change"] for _ in range(3000)]
    patches = np.stack([one(image) for one in found if one.func is add_noise]).astype(float)
    is_shared = (patches == patches[..., :1]).all(axis=(1, 2, 3))
    assert is_shared.mean() == pytest.approx(0.5, abs=0.05)  # 1000 draws: 3 standard errors
    # The weakest noise is rounded away, and then looks shared.
    deviations = np.sqrt(np.maximum(0, patches[..., 0].var(axis=(1, 2)) - 1 / 12))
    assert kstest(deviations, "uniform", (0, 12.75)).pvalue > LEAST_P
    assert patches.mean() == pytest.approx(128, abs=0.03)
    independent = patches[~is_shared] - 128
    strong = independent[independent.std(axis=(1, 2, 3)) > 3]
    correlation = np.mean(strong[..., 0] * strong[..., 1]) / strong.var()
    assert abs(correlation) < 0.01


def test_brightness_adds_the_same_at_every_level():
    image = np.full((32, 32, 3), 200, np.uint8)
    image[:16], image[:8] = 120, 40  # Dark as nuclei, pink, bright as stroma
    patches = [np.sort(np.unique(patch)) for patch in drawn(image, 2000, brightness=26 / 255)]
    shifts = np.array([patch.astype(int) - (40, 120, 200) for patch in patches])
    assert (shifts == shifts[:, :1]).all()
    assert (shifts.min(), shifts.max()) == (-26, 26)
    # Rounded to whole levels, which moves the distribution function by up to 1/104.
    assert kstest(shifts[:, 0], "uniform", (-26, 52)).statistic < 1 / 104 + 1.95 / np.sqrt(2000)


def test_brightness_stays_within_a_byte():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:16] = 255
    for patch in drawn(image, 50, brightness=26 / 255):
        assert patch.max() - patch.min() >= 229


def test_brightness_of_metahistoseg_is_a_factor():
    """MetaHistoSeg, Sec. 3.1, jitters as torchvision does: 0.2 of each level, so dark levels change less."""
    image = np.full((32, 32, 3), 200, np.uint8)
    image[:16] = 40
    shifts = []
    for patch in drawn(image, 500, brightness=0.2, additive=False):
        dark, bright = np.sort(np.unique(patch)).astype(int)
        assert abs((bright - 200) - 5 * (dark - 40)) <= 5  # The dark level is rounded.
        shifts.append(bright - 200)
    assert (min(shifts), max(shifts)) == pytest.approx((-40, 40), abs=1)
    assert not any(sizes.data.additive or sizes.data.blur for sizes in METAHISTOSEG.values())


def test_contrast_changes_about_the_mean_of_each_channel():
    """Halves of (100, 60, 30) and (180, 140, 110): their difference times 0.75 to 1.25, the means where they were."""
    image = np.full((32, 32, 3), (100, 60, 30), np.uint8)
    image[:16] += 80
    patches = np.stack(drawn(image, 2000, contrast=0.25)).astype(float)
    # Halves are rounded on their own.
    np.testing.assert_allclose(patches.mean(axis=(1, 2)), np.tile((140, 100, 70), (2000, 1)), atol=0.51)
    factors = np.ptp(patches[..., 0], axis=(1, 2)) / 80
    assert kstest(factors, "uniform", (0.75, 0.5)).statistic < 1 / 40 + 1.95 / np.sqrt(2000)
    assert (factors.min(), factors.max()) == pytest.approx((0.75, 1.25), abs=0.01)


def test_saturation_changes_about_each_pixels_grey():
    """(180, 100, 140) has a grey of 0.299 x 180 + 0.587 x 100 + 0.114 x 140 = 128.5, which stays; 80 is red's lead."""
    image = np.full((32, 32, 3), (180, 100, 140), np.uint8)
    colours = np.stack([patch[0, 0] for patch in drawn(image, 2000, saturation=0.2)]).astype(float)
    np.testing.assert_allclose(colours @ (0.299, 0.587, 0.114), 128.5, atol=1.2)
    factors = (colours[:, 0] - colours[:, 1]) / 80
    assert kstest(factors, "uniform", (0.8, 0.4)).statistic < 1 / 32 + 1.95 / np.sqrt(2000)
    assert (factors.min(), factors.max()) == pytest.approx((0.8, 1.2), abs=0.02)


def test_hue_turns_by_up_to_eight_of_opencvs_steps():
    """Of red, whose hue is 0: green rises by 255 x 2 x 8 / 60 at 8 steps of 2 degrees, or blue at -8."""
    image = np.full((32, 32, 3), (255, 0, 0), np.uint8)
    colours = np.stack([patch[0, 0] for patch in drawn(image, 2000, hue=8 / 180)]).astype(float)
    steps = np.rint((colours[:, 1] - colours[:, 2]) * 60 / (255 * 2))
    assert (colours[:, 0] == 255).all()
    counts = Counter(steps.astype(int).tolist())
    assert set(counts) == set(range(-8, 9))
    expected = [2000 / 16 / (2 if abs(step) == 8 else 1) for step in sorted(counts)]  # The ends are half as wide.
    assert chisquare([counts[step] for step in sorted(counts)], expected).pvalue > LEAST_P


def test_colours_change_in_every_order():
    change = ShiftColours(AUGMENTATION)
    change.set_random_seed(0)
    orders = Counter(tuple(one.func.__name__ for one in change.get_params()["changes"]) for _ in range(4800))
    assert set(orders) == set(itertools.permutations(("turn_hue", "saturate", "brighten", "spread")))
    assert chisquare(list(orders.values())).pvalue > LEAST_P


def test_the_augmentation_of_cerberus_is_the_published_one():
    """All at once: a tenth of the patches keep their colours; no level moves by more than brightness and contrast."""
    data = AUGMENTATION
    assert (data.blur, data.additive, data.colour_p) == (True, True, 0.9)
    shares = (data.brightness * 255, data.contrast, data.saturation, data.hue * 180)
    assert shares == pytest.approx((26, 0.25, 0.2, 8))
    image = np.full((32, 32, 3), (180, 100, 140), np.uint8)  # One colour: only noise changes it besides.
    still = {"blur": False, "brightness": data.brightness, "colour_p": data.colour_p}
    means = np.array([patch.mean(axis=(0, 1)) for patch in drawn(image, 2000, **still)])
    assert (means == (180, 100, 140)).all(axis=1).mean() == pytest.approx(0.9 / 53 + 0.1, abs=0.02)


def test_what_a_change_gets_stays_as_it_was():
    image = white_noise(40)
    before = image.copy()
    for seed in range(60):
        Augment(Data(patch_px=32, blur=True, additive=True))(image, [image[..., 0]], seed)
    np.testing.assert_array_equal(image, before)


def test_noise_of_a_seed_is_the_same_whatever_was_drawn_before():
    image = np.full((16, 16, 3), 128, np.uint8)
    first = add_noise(image, 9.0, is_shared=False, seed=5)
    cv2.randn(np.empty((3, 3)), 0, 1)
    np.testing.assert_array_equal(add_noise(image, 9.0, is_shared=False, seed=5), first)
    assert not np.array_equal(add_noise(image, 9.0, is_shared=False, seed=6), first)
