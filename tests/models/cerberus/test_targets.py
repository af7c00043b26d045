import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from jaxtyping import TypeCheckError
from scipy import ndimage

from histoseg.models.cerberus import targets
from histoseg.structures import structures

STRUCTURES = ("gland", "lumen", "nuclei")
ELEMENTS = (3, 11)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def int32(rows):
    return np.array(rows, np.int32)


# Blocks of pixels, so that erosion by three leaves something.
MAPS = st.tuples(
    arrays(np.int32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6), elements=st.integers(0, 3)),
    st.integers(1, 5),
).map(lambda drawn: np.kron(drawn[0], np.ones((drawn[1], drawn[1]), np.int32)))


def draw_ellipses(rng, size_px, count, radii):
    drawn = np.zeros((size_px, size_px), np.int32)
    for label in range(1, count + 1):
        centre = tuple(int(x) for x in rng.integers(0, size_px, 2))
        axes = tuple(int(x) for x in rng.integers(*radii, 2))
        cv2.ellipse(drawn, centre, axes, float(rng.uniform(0, 180)), 0, 360, label, -1)
    return drawn


def by_object(instance_map, element_px):
    """By definition: each object's own mask eroded and dilated; inner and contour merged."""
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (element_px, element_px))
    inner = np.zeros(instance_map.shape, np.uint8)
    contour = np.zeros(instance_map.shape, np.uint8)
    for label in np.unique(instance_map[instance_map > 0]):
        mask = (instance_map == label).astype(np.uint8)
        eroded = cv2.erode(mask, element)
        inner |= eroded
        contour |= cv2.dilate(mask, element) - eroded
    assert not (inner & contour).any()
    return inner, inner + 2 * contour


def weights_by_object(inner, element_px):
    """By definition, in float64: exact distances of each object in its grown box, 1000 elsewhere, the two lowest."""
    labels, count = ndimage.label(inner)
    if count < 2:
        return np.ones(inner.shape)
    distances = np.full((count, *inner.shape), 1000.0)
    for i, (rows, columns) in enumerate(ndimage.find_objects(labels)):
        box = np.s_[
            max(rows.start - 10, 0) : rows.stop + 10,
            max(columns.start - 10, 0) : columns.stop + 10,
        ]
        distances[i][box] = ndimage.distance_transform_edt(labels[box] != i + 1)
    distances.sort(axis=0)
    term = 10 * np.exp(-(((distances[0] + distances[1]) / element_px) ** 2) / 2)
    return 1 + np.where(inner, 0, term)


def pieces_by_object(instance_map):
    pieces, count = np.zeros_like(instance_map), 0
    for label in np.unique(instance_map[instance_map > 0]):
        found, num_found = ndimage.label(instance_map == label)
        pieces[found > 0] = found[found > 0] + count
        count += num_found
    return pieces


def test_the_elements_are_those_of_the_published_code():
    found = {row.name: row.separation.element_px for row in structures().values() if row.kind == "objects"}
    assert found == {"gland": 11, "lumen": 3, "nuclei": 3}
    # The 3 x 3 "ellipse" of OpenCV is a cross of 5 pixels; that of 11 x 11 has 89: a dot above the middle falls away.
    dot = np.zeros((21, 21), np.int32)
    dot[10, 10] = 1
    assert (targets.contour_map(dot, 3) == 2).sum() == 5
    assert (targets.contour_map(dot, 11) == 2).sum() == 89


def test_classes_of_two_touching_rectangles_by_hand():
    # Two objects of 3 x 3 that share an edge: each keeps its middle, but an outside border erodes nothing.
    instance_map = int32([[1, 1, 1, 2, 2, 2]] * 3)
    expected = np.array([[1, 1, 0, 0, 1, 1]] * 3)
    np.testing.assert_array_equal(targets.inner_map(instance_map, 3), expected)
    np.testing.assert_array_equal(targets.contour_map(instance_map, 3), np.where(expected, 1, 2))
    framed = np.pad(instance_map, 2)
    inner = np.zeros((7, 10))
    inner[3, [3, 6]] = 1  # The middle pixels.
    np.testing.assert_array_equal(targets.inner_map(framed, 3), inner)
    contour = np.zeros((7, 10))
    contour[2:5, 1:9] = 2  # The objects and a column on either side ...
    contour[1:6, 2:8] = 2  # ... and a row above and below: the element is a cross.
    contour[inner == 1] = 1
    np.testing.assert_array_equal(targets.contour_map(framed, 3), contour)


@settings(deadline=None, max_examples=150)
@given(instance_map=MAPS, element_px=st.sampled_from(ELEMENTS))
def test_classes_equal_those_made_object_by_object(instance_map, element_px):
    inner, contour = by_object(instance_map, element_px)
    np.testing.assert_array_equal(targets.inner_map(instance_map, element_px), inner)
    np.testing.assert_array_equal(targets.contour_map(instance_map, element_px), contour)


@pytest.mark.parametrize("element_px", ELEMENTS)
def test_classes_of_ellipses_equal_those_made_object_by_object(rng, element_px):
    instance_map = draw_ellipses(rng, 200, 60, (5, 40))
    inner, contour = by_object(instance_map, element_px)
    assert inner.any()
    np.testing.assert_array_equal(targets.inner_map(instance_map, element_px), inner)
    np.testing.assert_array_equal(targets.contour_map(instance_map, element_px), contour)


@pytest.mark.parametrize("low", [0, 1])
def test_ids_beyond_16_bits_are_told_apart(low):
    # 7 and 7 + 2**16 are the same in 16 bits; `low` = 1 leaves no background, whose rank is 0 otherwise.
    instance_map = np.repeat(int32([[low, 7, 7 + 2**16, 7 + 2**17]]), 5, axis=1).repeat(5, axis=0)
    inner, contour = by_object(instance_map, 3)
    np.testing.assert_array_equal(targets.inner_map(instance_map, 3), inner)
    np.testing.assert_array_equal(targets.contour_map(instance_map, 3), contour)


def test_weights_between_two_rectangles_in_closed_form():
    # Columns 0-4 and 9-13 are two eroded objects. On column 4 + k the distances are k and 5 - k: their sum is 5.
    inner = np.zeros((6, 14), np.uint8)
    inner[:, :5] = inner[:, 9:] = 1
    expected = np.ones((6, 14))
    expected[:, 5:9] = 1 + 10 * np.exp(-((5 / 3) ** 2) / 2)
    assert targets.weight_map(inner, 3) == pytest.approx(expected, rel=1e-6)


def test_weights_between_two_discs_in_closed_form():
    # On the line through the centres, the distances to two discs 7 px apart add up to 7.
    inner = np.zeros((41, 60), np.uint8)
    for x in (16, 43):
        cv2.circle(inner, (x, 20), 10, 1, -1)  # Columns 6 to 26, and 33 to 53.
    weights = targets.weight_map(inner, 11)
    assert weights[20, 27:33] == pytest.approx(1 + 10 * np.exp(-((7 / 11) ** 2) / 2), rel=1e-6)
    assert weights[20, 6:27] == pytest.approx(1.0)
    # 3 px left of the first disc and 30 px left of the other: beyond that one's reach.
    assert weights[20, 3] == pytest.approx(1.0)


def test_distances_end_ten_pixels_around_an_object():
    # Two columns 21 px apart share no pixel of their boxes; 20 px apart, one. The weights of that: 1 + 10 exp(-50/9).
    apart, near = np.zeros((3, 40), np.uint8), np.zeros((3, 40), np.uint8)
    apart[:, [5, 26]] = 1
    near[:, [5, 25]] = 1
    assert (targets.weight_map(apart, 11) == 1).all()
    expected = np.ones((3, 40))
    expected[:, 15] = 1 + 10 * np.exp(-((20 / 11) ** 2) / 2)
    assert targets.weight_map(near, 11) == pytest.approx(expected, rel=1e-6)


def test_distances_become_roots_of_whole_numbers_again():
    # OpenCV's last bits differ from call to call; squares of distances between pixels are whole numbers.
    roots = np.sqrt(np.arange(500, dtype=np.float32))[None]
    distances = roots * np.float32(1 + 3e-7)
    targets._make_exact(distances)
    np.testing.assert_array_equal(distances, roots)


@settings(deadline=None, max_examples=150)
@given(inner=MAPS, element_px=st.sampled_from(ELEMENTS))
def test_weights_equal_their_definition(inner, element_px):
    inner = (inner > 1).astype(np.uint8)
    np.testing.assert_allclose(
        targets.weight_map(inner, element_px), weights_by_object(inner, element_px), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(("element_px", "radii", "count"), [(3, (4, 9), 60), (11, (15, 50), 8)])
def test_weights_of_ellipses_equal_their_definition(rng, element_px, radii, count):
    inner = targets.inner_map(draw_ellipses(rng, 200, count, radii), element_px)
    weights = targets.weight_map(inner, element_px)
    assert weights.max() > 2
    np.testing.assert_allclose(weights, weights_by_object(inner, element_px), rtol=1e-5, atol=0)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("contour", [False, True])
def test_target_of_no_object_and_of_one(structure, contour):
    empty = targets.instance_target(np.zeros((50, 60), np.int32), structure, contour)
    assert not empty.classes.any()
    assert (empty.weights == 1).all()
    one = np.zeros((50, 60), np.int32)
    one[10:40, 10:40] = 9
    target = targets.instance_target(one, structure, contour)
    assert (target.weights == 1).all()
    assert target.classes.max() == 1 + contour
    everything = targets.instance_target(np.ones((50, 60), np.int32), structure, contour)
    assert (everything.classes == 1).all()


@settings(deadline=None, max_examples=50)
@given(instance_map=MAPS, names=st.permutations([5, 70000, 3]), structure=st.sampled_from(STRUCTURES))
def test_renaming_objects_changes_no_target(instance_map, names, structure):
    renamed = int32([0, *names])[instance_map]
    for contour in (False, True):
        one = targets.instance_target(instance_map, structure, contour)
        other = targets.instance_target(renamed, structure, contour)
        np.testing.assert_array_equal(one.classes, other.classes)
        np.testing.assert_array_equal(one.weights, other.weights)


@settings(deadline=None, max_examples=50)
@given(instance_map=MAPS, structure=st.sampled_from(STRUCTURES))
def test_splitting_pieces_changes_no_target(instance_map, structure):
    for contour in (False, True):
        one = targets.instance_target(instance_map, structure, contour)
        other = targets.instance_target(pieces_by_object(instance_map), structure, contour)
        np.testing.assert_array_equal(one.classes, other.classes)
        np.testing.assert_array_equal(one.weights, other.weights)


def test_an_unknown_structure_is_refused():
    with pytest.raises(ValueError, match="no objects in 'tissue'; choose from gland, lumen, nuclei"):
        targets.instance_target(np.zeros((4, 4), np.int32), "tissue", contour=False)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.int64), np.zeros((4, 4, 1), np.int32)])
def test_another_dtype_or_rank_is_refused(wrong):
    with pytest.raises(TypeCheckError):
        targets.instance_target(wrong, "lumen", contour=True)
    with pytest.raises(TypeCheckError):
        targets.weight_map(wrong, 3)


def test_a_target_of_two_shapes_is_refused():
    with pytest.raises(TypeCheckError):
        targets.Target(classes=np.zeros((4, 4), np.uint8), weights=np.zeros((4, 5), np.float32))
