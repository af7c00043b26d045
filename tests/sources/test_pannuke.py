"""PanNuke: label maps worked by hand, and every fault of its arrays."""

import tracemalloc

import numpy as np
import pytest

from histoseg.errors import ConfigError, DataError
from histoseg.sources import pannuke
from histoseg.types import IGNORE

TYPES = np.array(["Colon", "Breast"])


def pannuke_set(root, masks=None, *, images=None, types=TYPES, fold="fold1"):
    (root / fold).mkdir(parents=True, exist_ok=True)
    masks = np.zeros((2, 4, 5, 6)) if masks is None else masks
    np.save(root / fold / "masks.npy", masks)
    np.save(root / fold / "images.npy", np.full((2, 4, 5, 3), 200.0) if images is None else images)
    if types is not None:
        np.save(root / fold / "types.npy", types)


def nuclei(overlap=False):
    masks = np.zeros((2, 4, 5, 6))
    masks[1, 0, :2, 0], masks[1, 1, :2, 0] = 4, 9
    masks[1, 2, :3, 4] = 4  # The same number in another channel is another nucleus.
    if overlap:
        masks[1, 2, 1:3, 2] = 1
    return masks


def test_pannuke_nuclei_are_numbered_over_all_channels(tmp_path):
    pannuke_set(tmp_path, nuclei())
    first, second = pannuke.entries(tmp_path)
    assert (first.key, second.key, second.fold) == ("fold1_00000", "fold1_00001", "fold1")
    assert not pannuke.read(first).semantic_map.any()
    sample = pannuke.read(second)
    np.testing.assert_array_equal(
        sample.instance_map, [[1, 1, 0, 0, 0], [2, 2, 0, 0, 0], [3, 3, 3, 0, 0], [0, 0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(
        sample.semantic_map, [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [5, 5, 5, 0, 0], [0, 0, 0, 0, 0]]
    )


def test_pannuke_overlaps_are_refused_or_ignored(tmp_path):
    pannuke_set(tmp_path, nuclei(overlap=True))
    with pytest.raises(DataError, match=r"masks.npy: image 1 has 2 pixels in nuclei of two types"):
        pannuke.read(pannuke.entries(tmp_path)[1])
    sample = pannuke.read(pannuke.entries(tmp_path, overlaps="ignore")[1])
    assert sample.semantic_map[2].tolist() == [5, IGNORE, IGNORE, 0, 0]
    assert sample.instance_map[2].tolist() == [3, 0, 0, 0, 0]


def test_pannuke_tissue(tmp_path):
    pannuke_set(tmp_path)
    assert [entry.key for entry in pannuke.entries(tmp_path, tissue="Breast")] == ["fold1_00001"]
    with pytest.raises(ConfigError, match="no tissue 'Lung' in pannuke; choose from all, Breast, Colon"):
        pannuke.entries(tmp_path, tissue="Lung")
    with pytest.raises(ConfigError, match="choose from refuse, ignore"):
        pannuke.entries(tmp_path, overlaps="keep")


def test_pannuke_pickled_types_are_never_unpickled(tmp_path):
    pannuke_set(tmp_path, types=TYPES.astype(object))
    with pytest.raises(DataError, match=r"types.npy: not readable without unpickling .*allow_pickle=True.*tissue=all"):
        pannuke.entries(tmp_path, tissue="Colon")
    assert len(pannuke.entries(tmp_path)) == 2  # All tissues do without.


def test_pannuke_types_faults(tmp_path):
    pannuke_set(tmp_path, types=TYPES[:1])
    with pytest.raises(DataError, match=r"types.npy: shape \(1,\) of <U6; expected 2 names"):
        pannuke.entries(tmp_path, tissue="Colon")
    (tmp_path / "fold1" / "types.npy").unlink()
    with pytest.raises(DataError, match=r"no types.npy of fold1, .*prepare with --option tissue=all"):
        pannuke.entries(tmp_path, tissue="Colon")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"masks": np.zeros((3, 4, 5, 6))}, r"masks.npy: shape \(3, 4, 5, 6\); expected \(2, 4, 5, 6\)"),
        ({"masks": np.zeros((2, 4, 5, 5))}, r"masks.npy: shape \(2, 4, 5, 5\); expected \(2, 4, 5, 6\)"),
        ({"images": np.zeros((2, 4, 5))}, r"images.npy: shape \(2, 4, 5\); expected images x height x width x 3"),
        ({"images": np.full((2, 4, 5, 3), None)}, "images.npy: not a readable NumPy array"),
    ],
)
def test_pannuke_array_faults(tmp_path, arrays, message):
    pannuke_set(tmp_path, **arrays)
    with pytest.raises(DataError, match=message):
        pannuke.entries(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": np.full((2, 4, 5, 3), 256.0)},
            r"images.npy: image 0 has values from 256.0 to 256.0; expected 0 to",
        ),
        ({"images": np.full((2, 4, 5, 3), 0.8)}, r"images.npy: image 0 has values from 0.8 to 0.8; expected 0 to 255"),
        ({"images": np.ones((2, 4, 5, 3), np.uint8)}, r"images.npy: image 0 has values from 1 to 1; expected 0 to 255"),
        ({"images": np.full((2, 4, 5, 3), np.nan)}, r"images.npy: image 0 has values from nan"),
        ({"masks": np.full((2, 4, 5, 6), 0.5)}, r"masks.npy: image 0 has masks that are not whole numbers"),
        ({"masks": np.full((2, 4, 5, 6), -1)}, r"masks.npy: image 0 has masks that are not whole numbers"),
    ],
)
def test_pannuke_pixel_faults(tmp_path, arrays, message):
    pannuke_set(tmp_path, **arrays)
    with pytest.raises(DataError, match=message):
        pannuke.read(pannuke.entries(tmp_path)[0])


def test_pannuke_fold_twice(tmp_path):
    pannuke_set(tmp_path)
    pannuke_set(tmp_path, fold="Fold 1")
    with pytest.raises(DataError, match="keep one of the two copies"):
        pannuke.entries(tmp_path)


def test_pannuke_reads_one_image_of_many(tmp_path):
    pannuke_set(tmp_path, np.zeros((40, 64, 64, 6)), images=np.zeros((40, 64, 64, 3)))
    entry = pannuke.entries(tmp_path)[17]
    tracemalloc.start()
    pannuke.read(entry)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 64 * 64 * 6 * 8 / 5  # All masks are 7.9 MB; one image with masks and copies below 1 MB.
