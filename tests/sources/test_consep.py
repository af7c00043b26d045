"""CoNSeP: types of nuclei in the two editions, and every fault of its label files."""

import numpy as np
import pytest
import scipy.io

from histoseg.errors import ConfigError, DataError
from histoseg.files.notes import collect
from histoseg.sources import consep
from histoseg.types import IGNORE
from tests.sources.raw_files import grey, save, write


def consep_set(root, *type_maps):
    for i, type_map in enumerate(type_maps):
        save(root / "CoNSeP" / "Train" / "Images" / f"train_{i}.png", grey(*np.shape(type_map)))
        path = root / "CoNSeP" / "Train" / "Labels" / f"train_{i}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"type_map": np.array(type_map, float), "inst_type": np.unique(type_map).astype(float)[:, None]}
        inst_map = np.arange(np.size(type_map)).reshape(np.shape(type_map)) * (np.array(type_map) > 0)
        scipy.io.savemat(path, {**content, "inst_map": inst_map.astype(float)})


def test_consep_published_types_are_merged(tmp_path):
    consep_set(tmp_path, [[0, 1, 2, 3], [4, 5, 6, 7]])
    sample = consep.read(consep.entries(tmp_path)[0])
    # Graham et al. 2019: 3 and 4 are epithelial (3); 5, 6 and 7 spindle-shaped (4).
    np.testing.assert_array_equal(sample.semantic_map, [[0, 1, 2, 3], [3, 4, 4, 4]])
    np.testing.assert_array_equal(sample.instance_map, [[0, 1, 2, 3], [4, 5, 6, 7]])  # As in the file.


def test_consep_nuclei_without_a_type_are_not_labelled_and_counted(tmp_path):
    consep_set(tmp_path, [[0, 1, 2, 0, 3]])
    path = tmp_path / "CoNSeP" / "Train" / "Labels" / "train_0.mat"
    scipy.io.savemat(path, {"type_map": np.array([[0, 1, 2, 0, 3]]), "inst_map": np.array([[1, 1, 0, 4, 5]])})
    with collect() as notes:
        sample = consep.read(consep.entries(tmp_path, types="merged")[0])
    # Nucleus 1 has a type in one of its two pixels, nucleus 4 in none; the third pixel has a type alone.
    assert sample.semantic_map.tolist() == [[IGNORE, 1, 2, IGNORE, 3]]
    assert sample.instance_map.tolist() == [[1, 1, 0, 4, 5]]
    assert notes == {
        "nuclei without a type kept, their class is not labelled": 1,
        "pixels of a nucleus without a type, not labelled": 2,
        "pixels with a type but outside of any nucleus kept": 1,
    }


@pytest.mark.parametrize(
    ("types", "instances", "what"),
    [
        ([0, 1, 0], [3, 1, 2], "nuclei without a type"),
        ([1, 1, 2], [0, 0, 1], "pixels with a type but outside of any nucleus"),
    ],
)
def test_consep_whose_types_and_nuclei_hardly_meet_is_refused(tmp_path, types, instances, what):
    consep_set(tmp_path, [[0, 1, 2]])
    path = tmp_path / "CoNSeP" / "Train" / "Labels" / "train_0.mat"
    scipy.io.savemat(path, {"type_map": np.array([types]), "inst_map": np.array([instances])})
    with pytest.raises(DataError, match=rf"train_0.mat: 2 of 3 are {what}"):
        consep.read(consep.entries(tmp_path, types="merged")[0])


def test_consep_types_are_told_by_the_whole_folder(tmp_path):
    consep_set(tmp_path, [[0, 4]], [[0, 5]])
    assert consep.read(consep.entries(tmp_path)[0]).semantic_map[0, 1] == 3  # The other file's 5 says: published.


def test_consep_merged_types_stay_and_can_be_overruled(tmp_path):
    consep_set(tmp_path, [[0, 1, 2, 3, 4]])
    merged = consep.read(consep.entries(tmp_path)[0]).semantic_map
    np.testing.assert_array_equal(merged, [[0, 1, 2, 3, 4]])
    published = consep.read(consep.entries(tmp_path, types="published")[0]).semantic_map
    np.testing.assert_array_equal(published, [[0, 1, 2, 3, 3]])


@pytest.mark.parametrize("type_map", [[[0, 8]], [[0, 2.5]]])
def test_consep_type_out_of_range(tmp_path, type_map):
    consep_set(tmp_path, type_map)
    with pytest.raises(DataError, match="expected two axes and types 0 to 7"):
        consep.read(consep.entries(tmp_path, types="published")[0])


def test_consep_damaged_label_file(tmp_path):
    """It costs its image, and not the list of images, for which the types in all files are compared."""
    consep_set(tmp_path, [[0, 1]])
    write(tmp_path / "CoNSeP" / "Train" / "Labels" / "train_0.mat", "this is no MATLAB file" * 20)
    (entry,) = consep.entries(tmp_path)
    with pytest.raises(DataError, match=r"train_0\.mat: not a readable MATLAB file"):
        consep.read(entry)


def test_consep_unknown_types(tmp_path):
    with pytest.raises(ConfigError, match="choose from auto, published, merged"):
        consep.entries(tmp_path, types="seven")
