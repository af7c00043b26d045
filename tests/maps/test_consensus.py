"""STAPLE against SimpleITK, and both ways of consensus on maps worked by hand."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from histoseg.maps.consensus import majority, staple
from histoseg.types import IGNORE


def itk_staple(maps):
    sitk = pytest.importorskip("SimpleITK", reason="install histoseg[dev] to compare with SimpleITK")
    staple_filter = sitk.MultiLabelSTAPLEImageFilter()
    staple_filter.SetLabelForUndecidedPixels(IGNORE)
    return sitk.GetArrayFromImage(staple_filter.Execute([sitk.GetImageFromArray(labels) for labels in maps]))


def noisy_maps(rng, num_raters, num_classes, side):
    truth = rng.integers(0, num_classes, (side, side), dtype=np.uint8)
    agree = rng.random()
    guess = rng.integers(0, num_classes, (num_raters, side, side), dtype=np.uint8)
    return list(np.where(rng.random(guess.shape) < agree, truth, guess))


def mirrored(maps, num_classes):
    """Maps beside themselves with labels reversed: first and last label are then equally likely somewhere."""
    return [np.concatenate([labels, (num_classes - 1 - labels).astype(np.uint8)]) for labels in maps]


@pytest.mark.parametrize("seed", range(60))
def test_staple_gives_the_labels_of_simpleitk(seed):
    rng = np.random.default_rng(seed)
    num_raters, num_classes = (int(count) for count in rng.integers(1, 7, 2))
    maps = noisy_maps(rng, num_raters, num_classes, int(rng.integers(2, 30)))
    if seed % 3 == 0:
        maps = mirrored(maps, num_classes)
    np.testing.assert_array_equal(staple(maps, num_classes), itk_staple(maps))


def test_staple_leaves_ties_undecided_as_simpleitk_does():
    # Two raters of opposite opinion about every pixel, four classes: SimpleITK decides some and not others.
    rng = np.random.default_rng(8)
    first = rng.integers(0, 4, (20, 20), dtype=np.uint8)
    maps = [first, (3 - first).astype(np.uint8)]
    expected = itk_staple(maps)
    assert (expected == IGNORE).any()
    np.testing.assert_array_equal(staple(maps, 4), expected)


def test_staple_with_more_classes_than_labels_seen_changes_nothing():
    # An unseen label has prior 0, so no weight anywhere; SimpleITK knows only the labels it sees.
    maps = noisy_maps(np.random.default_rng(3), 4, 3, 16)
    np.testing.assert_array_equal(staple(maps, 9), itk_staple(maps))


def test_staple_with_more_patterns_than_fit_the_table():
    # 20 classes and 6 raters: 20**6 = 64 million possible patterns, so unseen ones must be dropped on the way.
    maps = noisy_maps(np.random.default_rng(5), 6, 20, 24)
    np.testing.assert_array_equal(staple(maps, 20), itk_staple(maps))


def test_staple_of_one_rater_is_his_map():
    labels = np.array([[0, 1], [2, 1]], np.uint8)
    np.testing.assert_array_equal(staple([labels], 3), labels)


def test_staple_trusts_the_reliable_raters():
    # Three raters agree everywhere, the fourth says 1 everywhere: by hand, the three are right.
    truth = (np.arange(64).reshape(8, 8) % 2).astype(np.uint8)
    np.testing.assert_array_equal(staple([truth, truth, truth, np.ones_like(truth)], 2), truth)


def test_majority_by_hand():
    # Pixel by pixel: 0,0,1 -> 0;  1,2,1 -> 1;  0,1,2 -> one vote each, undecided;  2,2,2 -> 2.
    votes = np.array([[[0, 1, 0, 2]], [[0, 2, 1, 2]], [[1, 1, 2, 2]]], np.uint8)
    np.testing.assert_array_equal(majority(list(votes), 3), [[0, 1, IGNORE, 2]])


def test_majority_of_a_tall_map_and_of_an_empty_one():
    # Votes are counted by blocks of rows; each label here is in one block only.
    tall = np.repeat(np.arange(6, dtype=np.uint8), 100)[:, None]
    np.testing.assert_array_equal(majority([tall, tall], 6), tall)
    assert majority([tall[:0]], 6).shape == (0, 1)


def test_order_of_pixels_does_not_matter():
    # A property: the consensus of shuffled maps is the shuffled consensus.
    rng = np.random.default_rng(1)
    maps = noisy_maps(rng, 5, 4, 20)
    order = rng.permutation(400)
    shuffled = [labels.ravel()[order].reshape(20, 20) for labels in maps]
    np.testing.assert_array_equal(staple(shuffled, 4), staple(maps, 4).ravel()[order].reshape(20, 20))


@pytest.mark.parametrize("unite", [staple, majority])
@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([], "no maps given"),
        ([np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)], "must be of one size"),
        ([np.zeros((2, 2), np.uint8), np.full((2, 2), 3, np.uint8)], "a map has label 3; labels must be below .* = 3"),
    ],
)
def test_refuses_maps_that_cannot_be_united(unite, maps, message):
    with pytest.raises(ValueError, match=message):
        unite(maps, 3)


@pytest.mark.parametrize("unite", [staple, majority])
def test_there_are_1_to_255_classes(unite):
    last = np.full((2, 2), 254, np.uint8)
    assert (unite([last, last], 255) == 254).all()
    assert (unite([last - 254, last - 254], 1) == 0).all()
    for num_classes in (0, 256):
        with pytest.raises(ValueError, match=f"num_classes is {num_classes}; it must be within 1 and 255"):
            unite([last], num_classes)


def test_refuses_wrong_dtype_and_shape():
    with pytest.raises(TypeCheckError):
        staple([np.zeros((2, 2), np.int64)], 2)
    with pytest.raises(TypeCheckError):
        staple([np.zeros((2, 2, 2), np.uint8)], 2)
