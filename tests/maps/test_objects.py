import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from jaxtyping import TypeCheckError

from histoseg.maps import objects
from histoseg.maps.objects import find_objects, renumber, vote_types
from histoseg.types import IGNORE


def int32(rows):
    return np.array(rows, np.int32)


def uint8(rows):
    return np.array(rows, np.uint8)


@st.composite
def maps_with_types(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12))
    instance_map = draw(arrays(np.int32, shape, elements=st.sampled_from([0, 1, 2, 5, 2**31 - 1])))
    return instance_map, draw(arrays(np.uint8, shape, elements=st.integers(0, 3)))


def found_by_definition(instance_map, type_map):
    """Object by object on the whole map: box, centroid, area, class and its share."""
    for label in np.unique(instance_map[instance_map > 0]):
        mask = instance_map == label
        rows, columns = np.nonzero(mask)
        box = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        votes = [int((type_map[mask] == i).sum()) for i in range(4)]
        winner = votes.index(max(votes[1:]), 1) if any(votes[1:]) else 0
        yield label, box, (columns.mean(), rows.mean()), mask.sum(), winner, votes[winner] / mask.sum()


def test_objects_of_a_map_by_hand():
    instance_map = int32(
        [
            [0, 9, 9, 9, 0],
            [0, 9, 9, 9, 0],
            [4, 0, 0, 0, 4],
        ]
    )
    type_map = uint8([[0, 0, 0, 0, 0], [0, 0, 2, 1, 0], [3, 0, 0, 0, 0]])
    found = objects.find_objects(instance_map)
    classes, shares = vote_types(instance_map, type_map, 4)
    assert len(found.ids) == 2
    assert found.ids.tolist() == [4, 9]
    assert found.boxes.tolist() == [[2, 0, 3, 5], [0, 1, 2, 4]]
    assert found.centroids.tolist() == [[2.0, 2.0], [2.0, 0.5]]
    assert found.areas.tolist() == [2, 6]
    # Object 4 has a pixel of class 3 and one of background; 9 has one of class 1, one of class 2, four of background.
    assert classes.tolist() == [3, 1]
    assert shares == pytest.approx([1 / 2, 1 / 6])


@settings(deadline=None, max_examples=200)
@given(maps=maps_with_types())
def test_objects_equal_those_found_one_by_one(maps):
    found = find_objects(maps[0])
    classes, shares = vote_types(*maps, 4)
    expected = list(found_by_definition(*maps))
    assert found.ids.tolist() == [label for label, *_ in expected]
    for i, (_, box, centroid, area, winner, share) in enumerate(expected):
        assert tuple(found.boxes[i]) == box
        assert found.centroids[i] == pytest.approx(centroid)
        assert (found.areas[i], classes[i]) == (area, winner)
        assert shares[i] == pytest.approx(share)


def test_every_object_is_kept():
    # Pixel, line and pair of corners: the published code drops all three.
    instance_map = int32([[1, 0, 2, 2, 2], [0, 0, 0, 0, 0], [3, 0, 0, 0, 0], [0, 3, 0, 0, 0]])
    found = objects.find_objects(instance_map)
    assert found.ids.tolist() == [1, 2, 3]
    assert found.areas.tolist() == [1, 3, 2]


def test_a_map_without_background_keeps_its_first_object():
    assert objects.find_objects(int32([[1, 1], [2, 2]])).ids.tolist() == [1, 2]


@pytest.mark.parametrize("shape", [(0, 5), (4, 5)])
def test_objects_of_an_empty_map(shape):
    found = objects.find_objects(np.zeros(shape, np.int32))
    assert len(found.ids) == 0
    assert found.boxes.shape == (0, 4)
    assert objects.renumber(np.zeros(shape, np.int32)).shape == shape


def test_a_tie_goes_to_the_lowest_class_and_background_wins_only_alone():
    instance_map = int32([[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]])
    type_map = uint8([[2, 1, 1, 2], [0, 0, 0, 3], [0, 0, 0, 0]])
    classes, shares = objects.vote_types(instance_map, type_map, 4)
    assert classes.tolist() == [1, 3, 0]
    assert shares.tolist() == [0.5, 0.25, 1.0]


@settings(deadline=None)
@given(maps=maps_with_types())
def test_renumbering_keeps_objects_and_their_order(maps):
    instance_map, _ = maps
    ids = np.unique(instance_map[instance_map > 0])
    expected = np.zeros_like(instance_map)
    for i, label in enumerate(ids):
        expected[instance_map == label] = i + 1
    np.testing.assert_array_equal(renumber(instance_map), expected)


@settings(deadline=None)
@given(maps=maps_with_types())
def test_pieces_are_those_of_each_object_by_itself(maps):
    instance_map, _ = maps
    pieces, counts = objects.number_pieces(instance_map), objects.count_pieces(instance_map)
    expected, before = np.zeros_like(instance_map), 0
    ids = np.unique(instance_map[instance_map > 0])
    for label, count in zip(ids, counts, strict=True):
        labels, found = scipy.ndimage.label(instance_map == label, np.ones((3, 3)))
        assert count == found
        expected[labels > 0] = labels[labels > 0] + before
        before += found
    assert np.unique(pieces[pieces > 0]).tolist() == list(range(1, before + 1))
    pairs = np.unique(np.stack([pieces.ravel(), expected.ravel()]), axis=1)  # The same pieces, numbered in any order
    assert len(pairs.T) == len(np.unique(pieces)) == len(np.unique(expected))
    owners = [np.unique(instance_map[pieces == number]).tolist() for number in range(1, before + 1)]
    assert owners == [[label] for label, count in zip(ids.tolist(), counts, strict=True) for _ in range(count)]


def test_pieces_touch_by_sides_and_corners():
    instance_map = int32([[5, 0, 5, 2], [0, 5, 0, 2], [0, 0, 0, 0], [5, 0, 2, 2]])
    pieces = objects.number_pieces(instance_map)
    assert objects.count_pieces(instance_map).tolist() == [2, 2]
    assert sorted({tuple(np.argwhere(pieces == number)[0]) for number in (1, 2)}) == [(0, 3), (3, 2)]
    assert sorted({tuple(np.argwhere(pieces == number)[0]) for number in (3, 4)}) == [(0, 0), (3, 0)]


def test_what_is_known_are_labelled_pixels_and_all_objects():
    semantic_map = uint8([[0, 1, IGNORE, IGNORE]])
    assert objects.is_known(semantic_map, int32([[0, 0, 0, 1]])).tolist() == [[True, True, False, True]]


def test_renumbering_a_view_that_is_not_contiguous():
    instance_map = int32([[0, 8, 0, 3], [9, 8, 0, 3]])
    assert objects.renumber(instance_map.T[::-1]).tolist() == [[1, 1], [0, 0], [2, 2], [0, 3]]


def test_renaming_objects_changes_only_their_order():
    rng = np.random.default_rng(0)
    instance_map = np.kron(rng.integers(0, 6, (8, 8), dtype=np.int32), np.ones((4, 4), np.int32))
    type_map = rng.integers(0, 4, instance_map.shape, dtype=np.uint8)
    order = rng.permutation(5)
    renamed = int32([0, *(order + 1)])[instance_map]
    before, after = objects.find_objects(instance_map), objects.find_objects(renamed)
    for name in ("boxes", "centroids", "areas"):
        np.testing.assert_array_equal(getattr(after, name)[order], getattr(before, name))
    for new, old in zip(vote_types(renamed, type_map, 4), vote_types(instance_map, type_map, 4), strict=True):
        np.testing.assert_array_equal(new[order], old)


def test_bad_ids_and_types_are_refused():
    with pytest.raises(ValueError, match="id -1 is negative"):
        objects.find_objects(int32([[0, -1]]))
    with pytest.raises(ValueError, match="type_map holds 4; types are 0 to 3"):
        objects.vote_types(int32([[0, 1]]), uint8([[0, 4]]), 4)
    with pytest.raises(ValueError, match="num_types = 0"):
        objects.vote_types(int32([[0, 1]]), uint8([[0, 0]]), 0)


def test_there_are_1_to_256_types():
    one = int32([[0, 1]])
    assert objects.vote_types(one, uint8([[0, 255]]), 256)[0].tolist() == [255]
    assert objects.vote_types(one, uint8([[0, 0]]), 1)[0].tolist() == [0]
    for num_types in (0, 257):
        with pytest.raises(ValueError, match=f"num_types = {num_types}: must be within 1 and 256"):
            objects.vote_types(one, uint8([[0, 0]]), num_types)


def test_another_shape_or_dtype_is_refused():
    right = np.zeros((3, 4), np.int32)
    for wrong in (right.astype(np.int64), right[0]):
        for call in (objects.find_objects, objects.renumber):
            with pytest.raises(TypeCheckError):
                call(wrong)
    for wrong in (np.zeros((3, 5), np.uint8), np.zeros((3, 4), np.int32)):
        with pytest.raises((TypeCheckError, ValueError)):
            objects.vote_types(right, wrong, 4)
