import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from scipy import ndimage
from skimage.segmentation import watershed

from histoseg.maps import objects
from histoseg.metrics.panoptic import count_panoptic
from histoseg.models.cerberus import postprocess
from histoseg.models.cerberus.postprocess import separate
from histoseg.models.cerberus.targets import instance_target

STRUCTURES = ("gland", "lumen", "nuclei")
# Restated from the definition: threshold, least pixels, element, for (structure, contour).
GROWTH = {
    ("gland", False): (0.5, 1500, 11),
    ("lumen", False): (0.5, 150, 3),
    ("nuclei", False): (0.5, 8, 3),
    ("gland", True): (0.55, 1000, 10),
    ("lumen", True): (0.5, 150, 2),
}
BOTH = [(structure, contour) for structure in STRUCTURES for contour in (False, True)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def ellipse_element(size_px):
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px))


def close_gaps(instance_map):
    closed = np.zeros(instance_map.shape, np.int32)
    for i, label in enumerate(np.unique(instance_map[instance_map > 0])):
        closed[instance_map == label] = i + 1
    return closed


def without_small(mask, min_px):
    labels, _ = ndimage.label(mask)
    return mask & (np.bincount(labels.ravel())[labels] >= min_px)


def separate_by_definition(probabilities, structure, contour):
    """On the whole map, object by object, with scipy."""
    inner = probabilities[1]
    if contour and structure == "nuclei":
        return flood_by_definition(inner, probabilities[2])
    threshold, min_px, element_px = GROWTH[structure, contour]
    is_inner = (inner - (probabilities[2] > 0.5) if contour else inner) > threshold
    labels, count = ndimage.label(without_small(is_inner, min_px))
    grown = np.zeros(labels.shape, np.int32)
    for label in range(1, count + 1):
        mask = cv2.dilate((labels == label).astype(np.uint8), ellipse_element(element_px))
        grown[ndimage.binary_fill_holes(mask)] = label
    return grown


def flood_by_definition(inner, contour):
    eroded = cv2.erode((inner + contour > 0.5).astype(np.uint8), ellipse_element(3)) > 0
    seeds = ndimage.binary_fill_holes(without_small(inner > 0.5, 4))
    return watershed(-inner, ndimage.label(seeds)[0], mask=without_small(eroded, 8))


def draw_probabilities(rng, contour, size_px=160, grain_px=9):
    """Smooth noise through a softmax: pieces of all sizes, with holes, touching each other and the border."""
    num_channels = 3 if contour else 2
    coarse = rng.normal(0, 3, (size_px // grain_px + 2, size_px // grain_px + 2, num_channels)).astype(np.float32)
    coarse[..., 1] -= 1  # Less than half is inner, or all of it would hang together.
    logits = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)
    odds = np.exp(logits + rng.normal(0, 0.3, logits.shape))
    return (odds / odds.sum(axis=0)).astype(np.float32)


def one_hot(classes, num_channels):
    return (np.arange(num_channels)[:, None, None] == classes).astype(np.float32)


def draw_ellipses(radii, spacing_px, num_rows=3, gap_px=0):
    """Tilted ellipses on a grid, `gap_px` = 0 being free and negative letting neighbours in a row overlap."""
    rng = np.random.default_rng(1)
    size_px = num_rows * spacing_px
    drawn = np.zeros((size_px, size_px), np.int32)
    for row in range(num_rows):
        for column in range(num_rows):
            centre = tuple(int(spacing_px * (i + 0.5)) + gap_px * (i % 2) for i in (column, row))
            axes = tuple(int(x) for x in rng.integers(*radii, 2))
            cv2.ellipse(drawn, centre, axes, float(rng.uniform(0, 180)), 0, 360, int(rng.integers(10**6)), -1)
    return drawn


@pytest.mark.parametrize(("structure", "contour"), BOTH)
def test_what_targets_take_away_comes_back(structure, contour):
    radii, spacing = {"gland": ((45, 60), 150), "lumen": ((45, 60), 150), "nuclei": ((9, 14), 30)}[structure]
    instance_map = draw_ellipses(radii, spacing)
    classes = instance_target(instance_map, structure, contour).classes
    found = postprocess.separate(one_hot(classes, 3 if contour else 2), structure, contour)
    counts = count_panoptic(instance_map, found)
    assert (counts.tp, counts.fp, counts.fn) == (9, 0, 0)
    assert counts.pq >= 0.97


@pytest.mark.parametrize(("structure", "contour"), BOTH)
def test_touching_objects_come_apart(structure, contour):
    instance_map = np.zeros((140, 200), np.int32)
    instance_map[20:120, 10:100] = 1
    instance_map[20:120, 100:190] = 2
    classes = instance_target(instance_map, structure, contour).classes
    counts = count_panoptic(instance_map, postprocess.separate(one_hot(classes, 2 + contour), structure, contour))
    # Corners are rounded by the element and the edge between the two is shared out, so not quite 1.
    assert (counts.tp, counts.fp, counts.fn) == (2, 0, 0)
    assert counts.pq >= 0.95


@pytest.mark.parametrize(("structure", "contour"), BOTH)
@pytest.mark.parametrize("seed", range(4))
def test_objects_equal_those_made_one_by_one_on_the_whole_map(structure, contour, seed):
    grain_px = 5 if structure == "nuclei" else 25
    probabilities = draw_probabilities(np.random.default_rng(seed), contour, 300, grain_px)
    expected = separate_by_definition(probabilities, structure, contour)
    assert expected.max() > 1
    found = postprocess.separate(probabilities, structure, contour)
    np.testing.assert_array_equal(found, close_gaps(expected))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [0, 4, 64])
def test_nuclei_with_several_markers_equal_a_watershed_of_everything(seed, levels):
    """With few levels many probabilities are equal, and the order in which scikit-image takes them decides."""
    rng = np.random.default_rng(seed)
    inner, contour = (cv2.GaussianBlur(rng.normal(0, 1, (200, 200)), (0, 0), 1.5).astype(np.float32) for _ in range(2))
    inner, contour = (0.3 + inner).clip(0, 1), (0.1 + contour).clip(0, 1)
    if levels:
        inner = (np.round(inner * levels) / levels).astype(np.float32)
    probabilities = np.stack([1 - inner, inner, contour])
    expected = flood_by_definition(inner, contour)
    _, num_pieces = ndimage.label(expected)
    assert num_pieces < 0.9 * len(np.unique(expected))  # Many touch.
    np.testing.assert_array_equal(postprocess.separate(probabilities, "nuclei", contour=True), close_gaps(expected))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 40), width=st.integers(1, 40), contour=st.booleans())
def test_small_maps_equal_those_made_one_by_one(seed, height, width, contour):
    rng = np.random.default_rng(seed)
    probabilities = draw_probabilities(rng, contour, 40, int(rng.integers(1, 8)))[:, :height, :width].copy()
    expected = separate_by_definition(probabilities, "nuclei", contour)  # Only nuclei are small enough.
    np.testing.assert_array_equal(separate(probabilities, "nuclei", contour), close_gaps(expected))


@pytest.mark.parametrize("contour", [False, True])
@pytest.mark.parametrize("structure", ["gland", "lumen", "nuclei"])
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_a_map_without_pixels_has_no_objects(structure, contour, shape):
    found = postprocess.separate(np.zeros((2 + contour, *shape), np.float32), structure, contour)
    assert (found.shape, found.dtype) == (shape, np.int32)


def test_the_least_size_is_kept_and_one_pixel_less_is_not():
    for (structure, contour), (_, min_px, _) in GROWTH.items():
        probabilities = np.zeros((2 + contour, 3, min_px + 2), np.float32)
        probabilities[1, 1, 1:-1] = 1
        assert postprocess.separate(probabilities, structure, contour).max() == 1
        probabilities[1, 1, 1] = 0
        assert postprocess.separate(probabilities, structure, contour).max() == 0


@pytest.mark.parametrize(("structure", "contour"), GROWTH)
def test_a_probability_must_exceed_the_threshold(structure, contour):
    threshold = np.float32(GROWTH[structure, contour][0])
    probabilities = np.zeros((2 + contour, 60, 60), np.float32)
    probabilities[1] = threshold
    assert not postprocess.separate(probabilities, structure, contour).any()
    probabilities[1] += 0.02
    assert (postprocess.separate(probabilities, structure, contour) == 1).all()


def test_a_nucleus_with_contours_is_more_than_half_inner_or_contour():
    # A marker of 2 x 2 pixels floods what is nucleus around it, which erosion by a cross has made one pixel smaller.
    inner, contour = np.zeros((12, 12), np.float32), np.zeros((12, 12), np.float32)
    inner[5:7, 5:7] = 0.52
    for around, size in ((0.25, 0), (0.27, 8)):
        inner[2:10, 2:10] = np.maximum(inner[2:10, 2:10], around)
        contour[2:10, 2:10] = 0.25  # 0.25 + 0.25 is a half, which is not enough.
        found = postprocess.separate(np.stack([1 - inner - contour, inner, contour]), "nuclei", contour=True)
        assert (found == 1).sum() == max(0, size - 2) ** 2


@pytest.mark.parametrize(("num_px", "marker_px", "expected"), [(8, 4, 1), (7, 4, 0), (8, 3, 0)])
def test_the_least_nucleus_with_contours(num_px, marker_px, expected):
    # A bar that erosion by a cross leaves `num_px` long and one high, with a marker along it.
    inner, contour = np.zeros((5, 12), np.float32), np.zeros((5, 12), np.float32)
    contour[1:4, 1 : num_px + 3] = 0.9
    inner[2, 2 : 2 + marker_px] = 0.6
    found = postprocess.separate(np.stack([1 - inner, inner, contour]), "nuclei", contour=True)
    assert found.max() == expected
    assert (found > 0).sum() == expected * num_px


def test_a_marker_must_exceed_a_half():
    for probability, expected in ((0.5, 0), (0.52, 1)):
        probabilities = np.zeros((3, 20, 20), np.float32)
        probabilities[1, 5:15, 5:15] = probability
        probabilities[2, 5:15, 5:15] = 0.3
        assert postprocess.separate(probabilities, "nuclei", contour=True).max() == expected


def test_a_contour_must_exceed_a_half_to_part_lumina():
    probabilities = np.zeros((3, 40, 41), np.float32)
    probabilities[1] = 1
    for probability, expected in ((0.5, 1), (0.52, 2)):
        probabilities[2, :, 20] = probability
        assert postprocess.separate(probabilities, "lumen", contour=True).max() == expected


def test_a_gland_with_contours_needs_more_than_55_percent():
    probabilities = np.full((3, 40, 40), 0.2, np.float32)
    probabilities[1] = 0.54
    assert not postprocess.separate(probabilities, "gland", contour=True).any()
    probabilities[1] = 0.56
    assert (postprocess.separate(probabilities, "gland", contour=True) == 1).all()
    probabilities[2] = 0.51  # Where a contour is likely, nothing is inner.
    assert not postprocess.separate(probabilities, "gland", contour=True).any()


def test_a_gland_at_the_border_grows_to_it():
    # 5 px from the border: the published code cuts the gland's box out without a margin there, and it does not grow.
    probabilities = np.zeros((2, 100, 100), np.float32)
    probabilities[1, 5:60, 5:60] = 1
    found = postprocess.separate(probabilities, "gland", contour=False)
    assert found[0, 30] == found[30, 0] == found[64, 30] == 1
    assert found[65, 30] == 0


def test_a_later_object_covers_an_earlier_one():
    # A ring, and a nucleus within it that comes later in the map: filling the ring does not cover it.
    probabilities = np.zeros((2, 30, 30), np.float32)
    cv2.circle(probabilities[1], (14, 14), 11, 1, 2)
    probabilities[1, 13:16, 13:16] = 1
    found = postprocess.separate(probabilities, "nuclei", contour=False)
    assert found.max() == 2
    assert (found[13:16, 13:16] == 2).all()
    assert found[14, 8] == 1


def test_the_id_of_a_gland_that_is_covered_goes_to_the_next():
    probabilities = np.zeros((2, 60, 620), np.float32)
    probabilities[1, 0:3, 10:610] = 1  # A strip at the border, and a wider one below: dilated, it reaches row 0.
    probabilities[1, 4:8, 5:615] = 1
    probabilities[1, 30:50, 5:615] = 1
    found = postprocess.separate(probabilities, "gland", contour=False)
    assert np.unique(found).tolist() == [0, 1, 2]
    assert (found[:8, 10:610] == 1).all()


def test_the_id_of_a_marker_without_a_nucleus_goes_to_the_next():
    probabilities = np.zeros((3, 20, 20), np.float32)
    probabilities[1, 1:3, 1:3] = 1  # Four pixels: enough for a marker, but erosion leaves nothing to flood.
    probabilities[1, 8:16, 8:16] = 1
    found = postprocess.separate(probabilities, "nuclei", contour=True)
    assert np.unique(found).tolist() == [0, 1]
    assert found[12, 12] == 1


@pytest.mark.parametrize(("structure", "contour"), BOTH)
def test_nothing_predicted_is_no_object(structure, contour):
    found = postprocess.separate(np.zeros((2 + contour, 50, 60), np.float32), structure, contour)
    assert found.shape == (50, 60)
    assert not found.any()


def test_lumina_count_only_within_glands():
    lumina = np.array([[5, 5, 0, 8, 9]], np.int32)
    glands = np.array([[0, 2, 2, 0, 1]], np.int32)
    assert objects.within(lumina, glands).tolist() == [[0, 1, 0, 0, 2]]


def test_unknown_structures_and_wrong_channels_are_refused():
    two = np.zeros((2, 8, 8), np.float32)
    with pytest.raises(ValueError, match="no objects in 'tissue'; choose from gland, lumen, nuclei"):
        postprocess.separate(two, "tissue", contour=False)
    with pytest.raises(ValueError, match="2 channels; with contour = True there are 3"):
        postprocess.separate(two, "nuclei", contour=True)


@pytest.mark.parametrize("wrong", [np.zeros((2, 8, 8)), np.zeros((8, 8), np.float32)])
def test_another_dtype_or_rank_is_refused(wrong):
    with pytest.raises(TypeCheckError):
        postprocess.separate(wrong, "nuclei", contour=False)
    with pytest.raises(TypeCheckError):
        objects.within(np.zeros((3, 4), np.int32), np.zeros((3, 5), np.int32))
