import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from jaxtyping import TypeCheckError

from histoseg.metrics import panoptic
from histoseg.metrics.panoptic import count_panoptic, count_panoptic_by_class, match


def int32(rows):
    return np.array(rows, np.int32)


def uint8(values):
    return np.array(values, np.uint8)


@st.composite
def pairs_of_maps(draw):
    """Blocks of objects and, where the prediction agrees, the same blocks under other names."""
    shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9))
    true = draw(arrays(np.int32, shape, elements=st.sampled_from([0, 1, 2, 7, 2**31 - 1])))
    noise = draw(arrays(np.int32, shape, elements=st.sampled_from([0, 3, 5])))
    names = dict(zip([0, 1, 2, 7, 2**31 - 1], draw(st.permutations([0, 3, 5, 2**31 - 1, 9])), strict=True))
    renamed = np.vectorize(names.get, otypes=[np.int32])(true) if true.size else true
    is_right = draw(arrays(bool, shape, elements=st.sampled_from([True, True, True, False])))
    return true, np.where(is_right, renamed, noise).astype(np.int32)


def ids_of(instance_map):
    return np.unique(instance_map[instance_map > 0]).tolist()


def ious_by_definition(true, pred):
    """Of each pair of objects, by boolean masks."""
    return {
        (t, p): ((true == t) & (pred == p)).sum() / ((true == t) | (pred == p)).sum()
        for t in ids_of(true)
        for p in ids_of(pred)
    }


def counts_by_definition(true, pred):
    matched = [iou for iou in ious_by_definition(true, pred).values() if iou > 0.5]
    return len(matched), len(ids_of(pred)) - len(matched), len(ids_of(true)) - len(matched), sum(matched)


def pq_by_definition(true, pred):
    """Detection quality times segmentation quality."""
    tp, fp, fn, sum_iou = counts_by_definition(true, pred)
    if tp + fp + fn == 0:
        return np.nan
    return tp / (tp + 0.5 * fp + 0.5 * fn) * (sum_iou / tp if tp else 0)


def aji_by_definition(true, pred):
    """Kumar et al. 2017, Algorithm 1, but a predicted object may be taken twice."""
    shared = union = 0
    taken, ious = set(), ious_by_definition(true, pred)
    for t in ids_of(true):
        best = max(ids_of(pred), key=lambda p: ious[t, p], default=0)
        is_hit = best and ious[t, best] > 0
        shared += ((true == t) & (pred == best)).sum() if is_hit else 0
        union += ((true == t) | (pred == best)).sum() if is_hit else (true == t).sum()
        taken |= {best} if is_hit else set()
    union += sum((pred == p).sum() for p in ids_of(pred) if p not in taken)
    return shared / union if union else np.nan


def as_tuple(counts):
    return counts.tp, counts.fp, counts.fn, pytest.approx(counts.sum_iou, abs=1e-9)


# One image worked by hand. True object 5 has 4 pixels, of which predicted 2 has 3 and one of its own: IoU 3/5.
# True 6 has 2 pixels, predicted 9 one of them: IoU 1/2, not more. Predicted 1 meets nothing.
TRUE = int32([[5, 5, 0, 6, 6], [5, 5, 0, 0, 0]])
PRED = int32([[2, 2, 2, 9, 0], [2, 0, 0, 0, 1]])


def test_matching_by_hand():
    found = panoptic.match(TRUE, PRED)
    assert found.true_ids.tolist() == [5, 6]
    assert found.pred_ids.tolist() == [1, 2, 9]
    assert found.pairs.tolist() == [[0, 1]]
    assert found.ious == pytest.approx([3 / 5])


def test_scores_by_hand():
    counts = panoptic.count_panoptic(TRUE, PRED)
    assert as_tuple(counts) == (1, 2, 1, 3 / 5)
    assert counts.dq == pytest.approx(1 / 2.5)
    assert counts.sq == pytest.approx(3 / 5)
    assert counts.pq == pytest.approx(3 / 5 / 2.5)
    # AJI: 5 with 2 shares 3 of 5; 6 with 9 shares 1 of 2; 1 is in no pair and has 1 pixel.
    assert panoptic.aji(TRUE, PRED) == pytest.approx((3 + 1) / (5 + 2 + 1))


@settings(deadline=None, max_examples=300)
@given(maps=pairs_of_maps())
def test_scores_equal_their_definitions(maps):
    counts = panoptic.count_panoptic(*maps)
    assert as_tuple(counts) == counts_by_definition(*maps)
    assert counts.pq == pytest.approx(pq_by_definition(*maps), abs=1e-9, nan_ok=True)
    assert panoptic.aji(*maps) == pytest.approx(aji_by_definition(*maps), abs=1e-9, nan_ok=True)


@settings(deadline=None)
@given(maps=pairs_of_maps())
def test_matches_equal_their_definition(maps):
    found = match(*maps)
    assert found.true_ids.tolist() == ids_of(maps[0])
    assert found.pred_ids.tolist() == ids_of(maps[1])
    pairs = zip(found.true_ids[found.pairs[:, 0]], found.pred_ids[found.pairs[:, 1]], strict=True)
    expected = {pair: iou for pair, iou in ious_by_definition(*maps).items() if iou > 0.5}
    assert dict(zip(pairs, found.ious, strict=True)) == pytest.approx(expected)


def test_scores_of_many_nuclei_equal_their_definitions():
    rng = np.random.default_rng(0)
    true, pred = (np.zeros((200, 200), np.int32) for _ in range(2))
    for i in range(1, 40):
        x, y = (int(z) for z in rng.integers(0, 200, 2))
        cv2.circle(true, (x, y), 9, i, -1)
        cv2.circle(pred, (x + 2, y - 1), 8, 100 - i, -1)
    counts = panoptic.count_panoptic(true, pred)
    assert counts.tp > 10
    assert as_tuple(counts) == counts_by_definition(true, pred)
    assert panoptic.aji(true, pred) == pytest.approx(aji_by_definition(true, pred), abs=1e-9)


@settings(deadline=None)
@given(maps=pairs_of_maps(), classes=st.lists(st.integers(0, 2), min_size=10, max_size=10))
def test_counts_by_class_are_those_of_maps_with_one_class(maps, classes):
    true, pred = maps
    classes_of = [uint8(classes[: len(ids_of(true))]), uint8(classes[10 - len(ids_of(pred)) :])]
    found = count_panoptic_by_class(true, classes_of[0], pred, classes_of[1], 4)
    assert len(found) == 3
    for label in (1, 2, 3):
        kept = [
            np.where(np.isin(m, np.array(ids_of(m), np.int32)[c == label]), m, 0).astype(np.int32)
            for m, c in zip(maps, classes_of, strict=True)
        ]
        expected = count_panoptic(*kept)
        assert as_tuple(found[label - 1]) == (expected.tp, expected.fp, expected.fn, expected.sum_iou)


def test_counts_by_class_by_hand():
    # Of the objects above, 5 and its match 2 are of class 1, the others of class 2, in which nothing matches.
    found = panoptic.count_panoptic_by_class(TRUE, uint8([1, 2]), PRED, uint8([2, 1, 2]), 3)
    assert [as_tuple(counts) for counts in found] == [(1, 0, 0, 3 / 5), (0, 2, 1, 0)]


def test_background_alone_has_no_counts():
    none = np.zeros_like(TRUE)
    assert panoptic.count_panoptic_by_class(none, uint8([]), none, uint8([]), 1) == ()


def test_an_object_of_another_class_is_one_miss_and_one_false_alarm():
    found = panoptic.count_panoptic_by_class(TRUE, uint8([1, 2]), TRUE, uint8([2, 2]), 4)
    assert [as_tuple(counts) for counts in found] == [(0, 0, 1, 0), (1, 1, 0, 1), (0, 0, 0, 0)]


@settings(deadline=None)
@given(maps=pairs_of_maps(), names=st.permutations(range(1, 6)))
def test_renaming_objects_changes_no_score(maps, names):
    true, pred = maps
    renamed = np.zeros_like(true)
    for label, name in zip(ids_of(true), names, strict=False):
        renamed[true == label] = name
    assert panoptic.count_panoptic(renamed, pred).pq == pytest.approx(
        panoptic.count_panoptic(true, pred).pq, nan_ok=True
    )
    assert panoptic.aji(renamed, pred) == pytest.approx(panoptic.aji(true, pred), nan_ok=True)


def test_identical_maps_score_1():
    counts = panoptic.count_panoptic(TRUE, TRUE)
    assert (counts.dq, counts.sq, counts.pq) == (1, 1, 1)
    assert panoptic.aji(TRUE, TRUE) == 1
    by_class = panoptic.count_panoptic_by_class(TRUE, uint8([1, 2]), TRUE, uint8([1, 2]), 4)
    for average in (panoptic.mpq, panoptic.mpq_plus):
        assert average([by_class, by_class]) == pytest.approx(1.0)


def test_empty_maps():
    none = np.zeros_like(TRUE)
    for empty in (none, np.zeros((0, 4), np.int32)):
        counts = panoptic.count_panoptic(empty, empty)
        assert as_tuple(counts) == (0, 0, 0, 0)
        assert np.isnan([counts.dq, counts.sq, counts.pq, panoptic.aji(empty, empty)]).all()
    assert as_tuple(panoptic.count_panoptic(TRUE, none)) == (0, 0, 2, 0)
    assert as_tuple(panoptic.count_panoptic(none, TRUE)) == (0, 2, 0, 0)
    for maps in ((TRUE, none), (none, TRUE)):
        assert panoptic.count_panoptic(*maps).pq == 0
        assert np.isnan(panoptic.count_panoptic(*maps).sq)
        assert panoptic.aji(*maps) == 0


def test_an_object_that_fills_the_image():
    # There is no pixel of background, and the lowest of all ids.
    full, none = np.ones_like(TRUE), np.zeros_like(TRUE)
    assert as_tuple(panoptic.count_panoptic(full, full)) == (1, 0, 0, 1)
    assert as_tuple(panoptic.count_panoptic(none, full)) == (0, 1, 0, 0)
    assert as_tuple(panoptic.count_panoptic(full, none)) == (0, 0, 1, 0)


# Three images of two classes, as (tp, fp, fn, sum of IoU).
# Class 1: PQ 0.8 / 1.5 in image 0, a false alarm without truth in image 1, 0.6 in image 2; pooled 1.4 / 3.
# Class 2: 0 in image 0, 0.9 in image 1, nowhere in image 2; pooled 0.9 / 1.5.
IMAGES = [[(1, 0, 1, 0.8), (0, 0, 1, 0.0)], [(0, 1, 0, 0.0), (1, 0, 0, 0.9)], [(1, 0, 0, 0.6), (0, 0, 0, 0.0)]]


def images_of():
    names = ("tp", "fp", "fn", "sum_iou")
    return [[panoptic.PanopticCounts(**dict(zip(names, c, strict=True))) for c in image] for image in IMAGES]


def test_averages_by_hand():
    images = images_of()
    assert panoptic.mpq(images) == pytest.approx(((0.8 / 1.5 + 0.6) / 2 + (0 + 0.9) / 2) / 2)
    assert panoptic.mpq_plus(images) == pytest.approx((1.4 / 3 + 0.9 / 1.5) / 2)
    # Class 1 alone: a false alarm in an image without truth is a PQ of 0. Class 2 has no PQ in image 2.
    assert panoptic.pq_per_image_mean(image[0] for image in images) == pytest.approx((0.8 / 1.5 + 0 + 0.6) / 3)
    assert panoptic.pq_per_image_mean(image[1] for image in images) == pytest.approx((0 + 0.9) / 2)


@pytest.mark.parametrize(
    ("first", "left_out", "expected"),
    [
        ("images", "no truth", ((0.8 / 1.5 + 0.6) / 2 + (0 + 0.9) / 2) / 2),
        ("images", "no object", ((0.8 / 1.5 + 0 + 0.6) / 3 + (0 + 0.9) / 2) / 2),
        ("images", "none", ((0.8 / 1.5 + 0 + 0.6) / 3 + (0 + 0.9 + 0) / 3) / 2),
        ("classes", "no truth", ((0.8 / 1.5 + 0) / 2 + 0.9 + 0.6) / 3),
        ("classes", "no object", ((0.8 / 1.5 + 0) / 2 + (0 + 0.9) / 2 + 0.6) / 3),
        ("classes", "none", ((0.8 / 1.5 + 0) / 2 + (0 + 0.9) / 2 + (0.6 + 0) / 2) / 3),
    ],
)
def test_every_reading_of_mpq_by_hand(first, left_out, expected):
    assert panoptic.mpq(images_of(), left_out=left_out, first=first) == pytest.approx(expected)


def test_readings_of_what_is_absent_by_hand():
    """A third class that is nowhere, and then one that is predicted only; a fourth image without any object."""
    nothing, alarm, images = panoptic.PanopticCounts(), panoptic.PanopticCounts(fp=3), images_of()
    pooled = {"class 1": 1.4 / 3, "class 2": 0.9 / 1.5}
    for extra, expected in (
        (nothing, {"no truth": 1 / 2, "no object": 1 / 2, "none": 1 / 3}),
        (alarm, {"no truth": 1 / 2, "no object": 1 / 3, "none": 1 / 3}),
    ):
        more = [[*image, extra] for image in images]
        for left_out, share in expected.items():
            assert panoptic.mpq_plus(more, left_out=left_out) == pytest.approx(sum(pooled.values()) * share)
    # Binary: PQ 0.8 / 1.5 and 0.6 in the images with truth, a false alarm in the third, nothing in the fourth.
    binary = [*(image[0] for image in images), nothing]
    for left_out, count in {"no truth": 2, "no object": 3, "none": 4}.items():
        found = panoptic.pq_per_image_mean(binary, left_out=left_out)
        assert found == pytest.approx((0.8 / 1.5 + 0.6) / count)
    assert panoptic.mpq([[nothing] * 2] * 3, left_out="none") == panoptic.mpq_plus([[nothing]], left_out="none") == 0


def test_an_image_with_one_class_differs_by_what_is_averaged_first():
    """Two images of class 1 score 1, one of class 2 scores 0: a half by classes, two thirds by images."""
    right, wrong = panoptic.PanopticCounts(tp=1, sum_iou=1.0), panoptic.PanopticCounts(fn=1)
    images = [[right, panoptic.PanopticCounts()]] * 2 + [[panoptic.PanopticCounts(), wrong]]
    assert panoptic.mpq(images) == pytest.approx(1 / 2)
    assert panoptic.mpq(images, first="classes") == pytest.approx(2 / 3)


def test_a_class_without_truth_is_left_out_of_mpq_but_its_false_alarms_lower_mpq_plus():
    nothing, alarm = panoptic.PanopticCounts(), panoptic.PanopticCounts(fp=3)
    images = images_of()
    for extra, share in ((nothing, 1), (alarm, 2 / 3)):
        more = [[*image, extra] for image in images]
        assert panoptic.mpq(more) == pytest.approx(panoptic.mpq(images))
        assert panoptic.mpq_plus(more) == pytest.approx(share * panoptic.mpq_plus(images))


def test_averages_of_nothing_are_nan():
    for images in ([], [[panoptic.PanopticCounts()] * 2] * 3):
        assert np.isnan(panoptic.mpq(images))
        assert np.isnan(panoptic.mpq_plus(images))
        assert np.isnan(panoptic.pq_per_image_mean(counts for image in images for counts in image))


def test_images_with_other_numbers_of_classes_are_refused():
    images = images_of()
    for average in (panoptic.mpq, panoptic.mpq_plus):
        with pytest.raises(ValueError, match="zip"):
            average([images[0], images[1][:1]])


def test_bad_ids_and_classes_are_refused():
    for maps in ((np.minimum(TRUE - 1, 0), PRED), (TRUE, np.minimum(PRED - 1, 0))):
        with pytest.raises(ValueError, match="id -1 is negative"):
            panoptic.match(*maps)
    right = (TRUE, uint8([1, 2]), PRED, uint8([1, 1, 1]))
    for position, classes, message in (
        (1, [1], "true_classes has 1 entries, but the map has 2 objects"),
        (3, [1, 1, 3], "pred_classes holds class 3; classes are 0 to 2"),
    ):
        wrong = [*right[:position], uint8(classes), *right[position + 1 :]]
        with pytest.raises(ValueError, match=message):
            panoptic.count_panoptic_by_class(*wrong, 3)


def test_other_shapes_are_refused_without_the_checks_of_tests():
    with pytest.raises(ValueError, match=r"truth is \(2, 5\) but prediction \(1, 5\)"):
        panoptic._overlaps.__wrapped__(TRUE, PRED[:1])


@pytest.mark.parametrize("wrong", [PRED.astype(np.int64), PRED[..., None], PRED[:1], PRED.astype(np.uint16)])
def test_another_dtype_or_shape_is_refused(wrong):
    for score in (panoptic.match, panoptic.count_panoptic, panoptic.aji):
        with pytest.raises(TypeCheckError):
            score(TRUE, wrong)
