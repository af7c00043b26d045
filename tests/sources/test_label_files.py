"""Numbers of objects in label files, of CRAG and Lizard, and every fault that a reader must name."""

import numpy as np
import pytest

from histoseg.demo import files, mucosa
from histoseg.errors import DataError, MissingSourceError
from histoseg.files.mat import read_objects
from histoseg.files.notes import collect
from histoseg.sources import crag, lizard
from histoseg.types import EXTERNAL
from tests.sources.raw_files import OBJECTS, grey, save, save_mat


@pytest.mark.parametrize(("part", "folder"), [("valid", "Annotation"), ("test", "Annotations")])
def test_crag_spellings(tmp_path, part, folder):
    save(tmp_path / "CRAG" / part / "Images" / "test_1.png", grey())
    save(tmp_path / "CRAG" / part / "Overlay" / "test_1.png", grey())
    save(tmp_path / "CRAG" / part / folder / "test_1.png", [[0, 4], [9, 9]])
    (entry,) = crag.entries(tmp_path)
    sample = crag.read(entry)
    np.testing.assert_array_equal(sample.instance_map, [[0, 4], [9, 9]])
    np.testing.assert_array_equal(sample.semantic_map, [[0, 1], [1, 1]])


def test_images_in_the_same_folders_of_another_set_are_left_alone(tmp_path):
    save(tmp_path / "above" / "CoNSeP" / "Train" / "Images" / "train_1.png", grey())
    with pytest.raises(MissingSourceError, match="no CRAG found"):
        crag.entries(tmp_path / "above")


def test_classes_are_found_through_id_and_not_by_order(tmp_path):
    # Object 7 is named first: its class is 1 although 3 is the lower number.
    instance_map, semantic_map = read_objects(save_mat(tmp_path / "a.mat", **OBJECTS), 7)
    np.testing.assert_array_equal(instance_map, [[0, 7], [3, 3]])
    np.testing.assert_array_equal(semantic_map, [[0, 1], [2, 2]])


def test_floats_and_rows_will_do_and_objects_without_a_pixel_too(tmp_path):
    path = save_mat(tmp_path / "a.mat", inst_map=[[0.0, 7.0]], id=[[7.0, 8.0]], **{"class": [[4.0, 5.0]]})
    instance_map, semantic_map = read_objects(path, 7)
    assert instance_map.dtype == np.int32
    np.testing.assert_array_equal(semantic_map, [[0, 4]])


def test_image_without_objects(tmp_path):
    nothing = {"inst_map": np.zeros((2, 3)), "id": np.zeros((0, 1)), "class": np.zeros((0, 1))}
    instance_map, semantic_map = read_objects(save_mat(tmp_path / "a.mat", **nothing), 7)
    assert not instance_map.any()
    assert not semantic_map.any()


def test_written_objects_come_back(tmp_path):
    rng = np.random.default_rng(0)
    instance_map = rng.integers(0, 9, (6, 7)).astype(np.int32)
    semantic_map = np.array([0, 1, 2, 3, 4, 5, 6, 1, 2], np.uint8)[instance_map]
    files.write_objects(tmp_path / "a.mat", instance_map, semantic_map, rng)
    for written, back in zip((instance_map, semantic_map), read_objects(tmp_path / "a.mat", 7), strict=True):
        np.testing.assert_array_equal(written, back)


def test_pieces_become_objects_and_keep_their_class(tmp_path):
    content = {"inst_map": [[7, 0, 7], [0, 3, 3]], "id": [[7], [3]], "class": [[1], [2]]}
    instance_map, semantic_map = read_objects(save_mat(tmp_path / "a.mat", **content), 7, instances="components")
    # By rising numbers: 3 is piece 1; the two of 7 do not touch.
    np.testing.assert_array_equal(instance_map, [[2, 0, 3], [0, 1, 1]])
    np.testing.assert_array_equal(semantic_map, [[1, 0, 1], [0, 2, 2]])


def test_objects_that_the_map_lacks_are_noted_and_refused_if_most(tmp_path):
    content = {"inst_map": [[0, 1, 2, 3]], "id": [[1], [2], [3], [4]], "class": [[1]] * 4}
    with collect() as notes:
        read_objects(save_mat(tmp_path / "a.mat", **content), 7)
    assert notes == {"objects that id names but inst_map lacks left out": 1}
    with pytest.raises(DataError, match=r"a.mat: 3 of 4 are objects that id names but inst_map lacks"):
        read_objects(save_mat(tmp_path / "a.mat", **{**content, "inst_map": [[0, 1]]}), 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inst_map": None}, "a.mat: has no inst_map; expected inst_map, id and class"),
        ({"id": None}, "a.mat: has no id"),
        ({"class": None}, "a.mat: has no class"),
        ({"class": [[1], [2], [2]]}, "id names 2 objects but class has 3"),
        ({"class": [[0], [2]]}, "class has values from 0 to 2; expected 1 to 6"),
        ({"class": [[1], [7]]}, "class has values from 1 to 7; expected 1 to 6"),
        ({"class": [[1], [1.5]]}, r"class has values from 1.0 to 1.5; expected whole numbers"),
        ({"class": [["a"], ["b"]]}, r"class has type <U1; expected whole numbers"),
        ({"id": [[7], [4]]}, "1 objects of inst_map, such as 3, that id does not name"),
        ({"id": [[7], [7]], "inst_map": [[0, 7]]}, "id names object 7 more than once"),
        (
            {"inst_map": np.zeros((2, 2, 2))},
            r"inst_map of shape \(2, 2, 2\) and values from 0.0 to 0.0; expected two axes",
        ),
        ({"inst_map": [[0, -7], [3, 3]]}, "values from -7 to 3"),
        ({"inst_map": [[0, 7], [3, 3.5]]}, "values from 0.0 to 7.0"),
        ({"inst_map": [[0, 7], [3, np.nan]]}, "values from nan to nan"),
        ({"inst_map": [[0, 2.0**31]]}, "values from 0.0 to 2147483648.0"),
        ({"inst_map": [[0, 1 + 2j]]}, "type complex128"),
    ],
)
def test_label_file_faults(tmp_path, change, message):
    content = {name: values for name, values in {**OBJECTS, **change}.items() if values is not None}
    with pytest.raises(DataError, match=message):
        read_objects(save_mat(tmp_path / "a.mat", **content), 7)


def test_label_file_of_version_7_3(tmp_path):
    # What MATLAB writes before the HDF5 part: a text of 116 bytes, 8 of offset, version 2.0 and the order of bytes.
    heading = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b"\0" * 8 + b"\0\2" + b"IM"
    (tmp_path / "a.mat").write_bytes(heading + b"\x89HDF\r\n\x1a\n" + b"\0" * 400)
    with pytest.raises(DataError, match=r"a.mat: a MATLAB 7.3 \(HDF5\) file, .*save it with -v7"):
        read_objects(tmp_path / "a.mat", 7)


def test_label_file_cut_short(tmp_path):
    path = save_mat(tmp_path / "a.mat", **OBJECTS)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="not a readable MATLAB file"):
        read_objects(path, 7)


def lizard_set(root, rows="glas_1,glas,2\n", header="Filename,Source,Split\n"):
    save(root / "lizard_images2" / "Lizard_Images2" / "glas_1.png", grey())
    save_mat(root / "lizard_labels" / "Lizard_Labels" / "Labels" / "glas_1.mat", **OBJECTS)
    (root / "lizard_labels" / "Lizard_Labels" / "info.csv").write_text(header + rows)


def test_lizard_folds_and_classes(tmp_path):
    lizard_set(tmp_path, header="\ufeffFilename, Source ,Split\n")  # As spreadsheets save it.
    (entry,) = lizard.entries(tmp_path)
    assert (entry.fold, entry.patient, entry.same_as) == ("fold2", "glas_1", ())
    np.testing.assert_array_equal(lizard.read(entry).semantic_map, [[0, 1], [2, 2]])


def test_lizard_images_of_tcga_are_external(tmp_path):
    lizard_set(tmp_path, "glas_1,TCGA,1\n")
    assert lizard.entries(tmp_path)[0].fold == EXTERNAL


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ("glas_2,glas,1\n", "Filename,Source,Split\n", r"info.csv: has no row for glas_1 \(1 images lack one\)"),
        ("glas_1,glas,4\n", "Filename,Source,Split\n", "Split of glas_1 is '4'; expected 1, 2, 3, external"),
        ("glas_1,glas\n", "Filename,Source,Split\n", "Split of glas_1 is ''; expected 1, 2, 3, external"),
        ("glas_1,glas,1\nglas_1,glas,2\n", "Filename,Source,Split\n", "Split of glas_1 is '1' and '2'; remove one"),
        ("glas_1,1\n", "Filename,Split\n", "expected Filename and Source and Split"),
    ],
)
def test_lizard_table_faults(tmp_path, rows, header, message):
    lizard_set(tmp_path, rows, header)
    with pytest.raises(DataError, match=message):
        lizard.entries(tmp_path)


def test_lizard_needs_its_table(tmp_path):
    lizard_set(tmp_path)
    table = tmp_path / "lizard_labels" / "Lizard_Labels" / "info.csv"
    table.write_bytes(b"Filename,Source,Split\nglas_1,\xc3\x81\x81,1\n")
    with pytest.raises(DataError, match=r"info.csv: not a readable table"):
        lizard.entries(tmp_path)
    table.unlink()
    with pytest.raises(DataError, match=r"info.csv: not found; only this file states which fold an image is in"):
        lizard.entries(tmp_path)


def test_lizard_label_of_another_size(tmp_path):
    lizard_set(tmp_path)
    save(tmp_path / "lizard_images2" / "Lizard_Images2" / "glas_1.png", grey(2, 3))
    with pytest.raises(DataError, match=r"glas_1.mat: 2x2 px, but its image glas_1.png has 3x2 px"):
        lizard.read(lizard.entries(tmp_path)[0])


@pytest.mark.parametrize("seed", range(3))
def test_mucosa_is_of_real_sizes(seed):
    drawn = mucosa.draw_mucosa(np.random.default_rng(seed), has_surface=True)
    areas = np.bincount(drawn.glands.instance_map.ravel())[1:]
    assert areas[areas > 0].min() >= 1500  # Cerberus drops smaller glands.
    inside = drawn.lumina.instance_map > 0
    assert (drawn.glands.semantic_map[inside] == mucosa.GLAND).all()  # Lumina lie in glands.
    assert np.bincount(drawn.lumina.instance_map.ravel())[1:].max() >= 150
    # Radii of 3 to 5 px: areas of pi*9 to pi*25, some cut by the border or by a later nucleus.
    nuclei = np.bincount(drawn.nuclei.instance_map.ravel())[1:]
    assert 25 < np.median(nuclei[nuclei > 0]) < 80
