"""What HoVer-Net learns of nuclei: distances worked by hand, and by their definition."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from histoseg.errors import ConfigError
from histoseg.models.hovernet import HoVerNetSpec
from histoseg.models.hovernet.targets import distance_maps, distance_target
from tests.models.drawn_nuclei import draw_nuclei


def test_distances_of_a_bar_worked_by_hand():
    """Five pixels in a row: the middle one is 0, the ends are -1 and 1; there is no height to speak of."""
    bar = np.zeros((3, 7), np.int32)
    bar[1, 1:6] = 4
    across, down = distance_maps(bar)
    np.testing.assert_allclose(across[1], [0, -1, -0.5, 0, 0.5, 1, 0])
    assert not across[[0, 2]].any()
    assert not down.any()


def test_both_sides_of_the_centre_of_mass_reach_one():
    """An L of 4 + 1 pixels, at columns 0 to 3 and 0: their mean is 6 / 5, so the sides are 1.2 and 1.8 wide."""
    letter = np.zeros((2, 4), np.int32)
    letter[0] = letter[1, 0] = 1
    across, down = distance_maps(letter)
    np.testing.assert_allclose(across[0], [-1, -0.2 / 1.2, 0.8 / 1.8, 1], rtol=1e-6)
    np.testing.assert_allclose(across[1], [-1, 0, 0, 0])
    np.testing.assert_allclose(down, [[-1, -1, -1, -1], [1, 0, 0, 0]])


def by_definition(instance_map):
    """One nucleus after the other, over all pixels."""
    found = np.zeros((2, *instance_map.shape))
    for number in np.unique(instance_map[instance_map > 0]):
        mask = instance_map == number
        for which, places in enumerate(np.nonzero(mask)[::-1]):
            distances = places - places.mean()
            for sign in (-1, 1):
                is_side = sign * distances > 0
                if is_side.any():
                    distances[is_side] /= abs(distances[is_side]).max()
            found[which][mask] = distances
    return found


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_those_of_the_definition(seed):
    drawn = draw_nuclei(seed, 120, 8)
    drawn[drawn == 5] = 0  # Ids may be missing
    found = distance_maps(drawn)
    np.testing.assert_allclose(found, by_definition(drawn), atol=1e-5)
    assert (found.min(), found.max()) == (-1, 1)
    assert not found[:, drawn == 0].any()


def test_ids_do_not_matter():
    drawn = draw_nuclei(0, 80, 6)
    shuffled = np.random.default_rng(1).permutation(200)[drawn].astype(np.int32) + 1
    np.testing.assert_array_equal(distance_maps(np.where(drawn, shuffled, 0).astype(np.int32)), distance_maps(drawn))


def test_a_target_is_of_the_middle_but_knows_all_of_each_nucleus():
    drawn = draw_nuclei(2, 144, 6)
    target = HoVerNetSpec(mode="fast").target(drawn, "nuclei", 0.5)
    middle = np.s_[46:98, 46:98]
    np.testing.assert_array_equal(target.classes, drawn[middle] > 0)
    assert (target.weights == 1).all()
    shown = np.bincount(drawn[middle].ravel(), minlength=drawn.max() + 1)
    kept = (shown >= 30)[drawn] * drawn  # The published code's least number of pixels
    np.testing.assert_allclose(target.maps, by_definition(kept.astype(np.int32))[:, *middle], atol=1e-5)


def test_pieces_of_one_id_are_nuclei_of_their_own():
    """A patch that mirrors its image shows a nucleus twice."""
    twice = np.zeros((40, 80), np.int32)
    twice[10:20, 10:20] = twice[10:20, 60:70] = 1
    target = distance_target(twice, 0)
    np.testing.assert_allclose(target.maps[0, 10, 10:20], np.arange(-4.5, 5) / 4.5, rtol=1e-6)
    np.testing.assert_array_equal(target.maps[:, :, 60:70], target.maps[:, :, 10:20])


def test_a_patch_without_nuclei_teaches_background():
    target = HoVerNetSpec(mode="original").target(np.zeros((270, 270), np.int32), "nuclei", 0.25)
    assert (target.classes.shape, target.maps.shape) == ((80, 80), (2, 80, 80))
    assert not target.classes.any()
    assert not target.maps.any()


def test_a_patch_that_the_mode_cannot_take_is_refused():
    with pytest.raises(ConfigError, match="'original' takes no patches of 256 pixels"):
        HoVerNetSpec(mode="original").target(np.zeros((256, 256), np.int32), "nuclei", 0.25)


@pytest.mark.parametrize("wrong", [np.zeros((3, 3), np.int64), np.zeros((3, 3, 1), np.int32)])
def test_other_shapes_and_types_are_refused(wrong):
    with pytest.raises(TypeCheckError):
        distance_maps(wrong)
