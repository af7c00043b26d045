import numpy as np
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from histoseg.maps.runs import find_runs

MAPS = arrays.arrays(np.int32, st.tuples(st.integers(0, 9), st.integers(0, 9)), elements=st.integers(0, 5))


@settings(deadline=None)
@given(label_map=MAPS)
def test_boxes_and_areas_are_those_of_each_label_by_itself(label_map):
    runs = find_runs(label_map)
    assert runs.count_pixels(6).tolist() == [int((label_map == label).sum()) for label in range(6)]
    boxes = runs.find_boxes(6).tolist()
    assert boxes[0] == [0, 0, 0, 0]
    for box, slices in zip(boxes[1:], scipy.ndimage.find_objects(label_map, 5), strict=True):
        found = slices or (slice(0, 0), slice(0, 0))
        assert box == [found[0].start, found[1].start, found[0].stop, found[1].stop]


def test_runs_end_with_their_row():
    runs = find_runs(np.array([[0, 3], [3, 3]], np.int32))
    assert runs.labels.tolist() == [0, 3, 3]
    assert runs.starts.tolist() == [0, 1, 2]
    assert runs.lengths.tolist() == [1, 1, 2]
