"""The sources of Cerberus: label maps worked by hand, and every fault of raw files that a reader must name."""

import tracemalloc

import numpy as np
import pytest
import scipy.io
from PIL import Image

from histoseg.errors import ConfigError, DataError, MissingSourceError
from histoseg.sources import (
    _mat,
    _mucosa,
    _tissue,
    _tissue_drawing,
    cerberus_gland,
    cerberus_lumen,
    cerberus_nuclei,
    crag,
    crc_tp,
    kather5k,
    lizard,
    nct_crc_he,
    pannuke,
)
from histoseg.types import EXTERNAL, IGNORE

OBJECTS = {"inst_map": [[0, 7], [3, 3]], "id": [[7], [3]], "class": [[1], [2]]}


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def grey(height=2, width=2):
    return np.full((height, width, 3), 200, np.uint8)


def save_mat(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {name: np.array(values) for name, values in content.items()})
    return path


# CRAG


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


# Label files


def test_classes_are_found_through_id_and_not_by_order(tmp_path):
    # Object 7 is named first: its class is 1 although 3 is the lower number.
    instance_map, semantic_map = _mat.read_objects(save_mat(tmp_path / "a.mat", **OBJECTS), 7)
    np.testing.assert_array_equal(instance_map, [[0, 7], [3, 3]])
    np.testing.assert_array_equal(semantic_map, [[0, 1], [2, 2]])


def test_floats_and_rows_will_do_and_objects_without_a_pixel_too(tmp_path):
    path = save_mat(tmp_path / "a.mat", inst_map=[[0.0, 7.0]], id=[[7.0, 8.0]], **{"class": [[4.0, 5.0]]})
    instance_map, semantic_map = _mat.read_objects(path, 7)
    assert instance_map.dtype == np.int32
    np.testing.assert_array_equal(semantic_map, [[0, 4]])


def test_image_without_objects(tmp_path):
    nothing = {"inst_map": np.zeros((2, 3)), "id": np.zeros((0, 1)), "class": np.zeros((0, 1))}
    instance_map, semantic_map = _mat.read_objects(save_mat(tmp_path / "a.mat", **nothing), 7)
    assert not instance_map.any()
    assert not semantic_map.any()


def test_written_objects_come_back(tmp_path):
    rng = np.random.default_rng(0)
    instance_map = rng.integers(0, 9, (6, 7)).astype(np.int32)
    semantic_map = np.array([0, 1, 2, 3, 4, 5, 6, 1, 2], np.uint8)[instance_map]
    _mat.write_objects(tmp_path / "a.mat", instance_map, semantic_map, rng)
    for written, back in zip((instance_map, semantic_map), _mat.read_objects(tmp_path / "a.mat", 7), strict=True):
        np.testing.assert_array_equal(written, back)


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
        _mat.read_objects(save_mat(tmp_path / "a.mat", **content), 7)


def test_label_file_of_version_7_3(tmp_path):
    # What MATLAB writes before the HDF5 part: a text of 116 bytes, 8 of offset, version 2.0 and the order of bytes.
    heading = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b"\0" * 8 + b"\0\2" + b"IM"
    (tmp_path / "a.mat").write_bytes(heading + b"\x89HDF\r\n\x1a\n" + b"\0" * 400)
    with pytest.raises(DataError, match=r"a.mat: a MATLAB 7.3 \(HDF5\) file, .*save it with -v7"):
        _mat.read_objects(tmp_path / "a.mat", 7)


def test_label_file_cut_short(tmp_path):
    path = save_mat(tmp_path / "a.mat", **OBJECTS)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="not a readable MATLAB file"):
        _mat.read_objects(path, 7)


# Lizard


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
    table.write_bytes(b"Filename,Source,Split\nglas_1,\xff\xfe,1\n")
    with pytest.raises(DataError, match=r"info.csv: not a readable table"):
        lizard.entries(tmp_path)
    table.unlink()
    with pytest.raises(DataError, match=r"info.csv: not found; it alone tells which fold an image is in"):
        lizard.entries(tmp_path)


def test_lizard_label_of_another_size(tmp_path):
    lizard_set(tmp_path)
    save(tmp_path / "lizard_images2" / "Lizard_Images2" / "glas_1.png", grey(2, 3))
    with pytest.raises(DataError, match=r"glas_1.mat: 2x2 px, but its image glas_1.png has 3x2 px"):
        lizard.read(lizard.entries(tmp_path)[0])


# PanNuke

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
    with pytest.raises(DataError, match=r"no types.npy of fold1, .*prepare tissue=all"):
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


# Tiles of tissue


def tiles(root, folders, name="{folder}-A.tif"):
    for folder in folders:
        save(root / folder / name.format(folder=folder), grey(3, 4))


KATHER = (*_tissue.KATHER5K, "03_COMPLEX")
KATHER_NAME = "1A11_CRC-Prim-HE-07_022.tif_Row_601_Col_151 {folder}.tif"


def classes_of(source, entries):
    return {source.TASK.classes[source.read(entry).semantic_map[0, 0]] for entry in entries}


@pytest.mark.parametrize(
    ("table", "size"),
    [(_tissue.KATHER5K, 7), (_tissue.NCT_CRC_HE, 9), (_tissue.CRC_TP, 6)],
    ids=["5k", "nct", "crc-tp"],
)
def test_harmonised_classes_exist_and_are_given_once(table, size):
    assert set(table.values()) <= set(_tissue.CLASSES)
    assert len(set(table.values())) == len(table) == size


def test_kather5k_complex_stroma_is_left_out_and_counted(tmp_path, caplog):
    tiles(tmp_path / "Kather_texture_2016_image_tiles_5000", KATHER, KATHER_NAME)
    with caplog.at_level("INFO"):
        entries = kather5k.entries(tmp_path)
    assert "Kather 5K: 1 tiles of complex stroma left out" in caplog.text
    assert len(entries) == 7
    assert {entry.patient for entry in entries} == {"CRC-Prim-HE-07"}
    assert classes_of(kather5k, entries) == set(_tissue.KATHER5K.values())
    assert len(kather5k.entries(tmp_path, complex_stroma="stroma")) == 8
    with pytest.raises(ConfigError, match="choose from leave-out, stroma"):
        kather5k.entries(tmp_path, complex_stroma="tumour")


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("10647_CRC-Prim-HE-10c.tif_Row_1_Col_1.tif", "CRC-Prim-HE-10"),  # Both are published names.
        ("10062_CRC-Prim-HE-02_003b.tif_Row_1_Col_301.tif", "CRC-Prim-HE-02"),
        ("17.tif", "17"),
    ],
)
def test_kather5k_patient_is_the_slide(tmp_path, name, patient):
    tiles(tmp_path, KATHER, "other {folder}.tif")
    save(tmp_path / "01_TUMOR" / name, grey())
    assert patient in {entry.patient for entry in kather5k.entries(tmp_path)}


@pytest.mark.parametrize(
    ("source", "folder", "table"),
    [
        (kather5k, "Kather_texture_2016_image_tiles_5000", _tissue.KATHER5K),
        (nct_crc_he, "NCT-CRC-HE-100K", _tissue.NCT_CRC_HE),
        (nct_crc_he, "CRC-VAL-HE-7K", _tissue.NCT_CRC_HE),
        (crc_tp, "Fold2/Training", _tissue.CRC_TP),
    ],
)
def test_missing_or_empty_class_folder(tmp_path, source, folder, table):
    *rest, last = table
    tiles(tmp_path / folder, rest)
    with pytest.raises(DataError, match=rf"no folder {last}; {source.TASK.title} has one per class"):
        source.entries(tmp_path)
    (tmp_path / folder / last).mkdir()
    with pytest.raises(DataError, match=rf"{last}: a class without image"):
        source.entries(tmp_path)


def test_nct_parts(tmp_path):
    tiles(tmp_path / "NCT-CRC-HE-100K-NONORM" / "NCT-CRC-HE-100K-NONORM", _tissue.NCT_CRC_HE)
    tiles(tmp_path / "CRC-VAL-HE-7K", _tissue.NCT_CRC_HE, "{folder}-TCGA-A.tif")
    entries = nct_crc_he.entries(tmp_path)
    assert [(entry.key, entry.fold) for entry in entries[:2]] == [("ADI-A", None), ("ADI-TCGA-A", EXTERNAL)]
    assert {entry.fold for entry in nct_crc_he.entries(tmp_path, part="7k")} == {EXTERNAL}
    assert {entry.fold for entry in nct_crc_he.entries(tmp_path, part="100k")} == {None}
    assert classes_of(nct_crc_he, entries) == set(_tissue.CLASSES)
    with pytest.raises(ConfigError, match="choose from 100k, 7k, all"):
        nct_crc_he.entries(tmp_path, part="107k")


def test_nct_100k_twice(tmp_path):
    for folder in ("NCT-CRC-HE-100K-NONORM", "NCT-CRC-HE-100K"):
        tiles(tmp_path / folder, _tissue.NCT_CRC_HE)
    with pytest.raises(DataError, match=r"NONORM: the same 100,000 tiles as .*NCT-CRC-HE-100K; keep one"):
        nct_crc_he.entries(tmp_path)


def test_nct_part_that_is_not_there(tmp_path):
    tiles(tmp_path / "CRC-VAL-HE-7K", _tissue.NCT_CRC_HE)
    with pytest.raises(
        MissingSourceError, match="for NCT-CRC-HE-100K or NCT-CRC-HE-100K-NONORM with a folder per class"
    ):
        nct_crc_he.entries(tmp_path, part="100k")


def test_crc_tp_divisions_hold_the_same_tiles(tmp_path):
    for folder in ("Fold1/Training", "Fold2/Training", "Fold2/Testing"):
        tiles(tmp_path / folder, (*_tissue.CRC_TP, "Complex"))
    assert len(crc_tp.entries(tmp_path)) == 12
    assert len(crc_tp.entries(tmp_path, complex_stroma="stroma")) == 14
    assert crc_tp.entries(tmp_path, division="1")[0].key == "Training_Benign_Benign-A"
    with pytest.raises(ConfigError, match="choose from 2, 1"):
        crc_tp.entries(tmp_path, division="3")


def test_made_up_tissues_differ():
    # A rule of thumb with mean colours alone must tell most pairs apart, else a network could not learn from few tiles.
    rng = np.random.default_rng(0)
    colours = {
        name: np.mean([_tissue_drawing.draw_tissue(name, 96, rng).mean(axis=(0, 1)) for _ in range(4)], axis=0)
        for name in _tissue.CLASSES
    }
    pairs = [(a, b) for a in _tissue.CLASSES for b in _tissue.CLASSES if a < b]
    distances = [np.linalg.norm(colours[a] - colours[b]) for a, b in pairs]
    assert np.mean(np.array(distances) > 15) > 0.7


# A lab's own data


def native(root, structure, table=None, names=("a", "b"), **objects):
    folder = root / "lab" / "cerberus_native" / structure
    for name in names:
        save(folder / "Images" / f"{name}.png", grey())
        save_mat(folder / "Labels" / f"{name}.mat", **(objects or OBJECTS))
    if table is not None:
        (folder / "split.csv").write_text(table)


def test_native_table(tmp_path):
    table = "Filename,Split,Patient,MPP\na,1,Case 4,0.25\na,1,Case 4,0.25\nb.png,External,,\nabsent,2,,\n"
    native(tmp_path, "nuclei", table)
    first, second = cerberus_nuclei.entries(tmp_path)
    assert (first.fold, first.patient, cerberus_nuclei.read(first).mpp) == ("fold1", "Case-4", 0.25)
    assert (second.fold, second.patient, cerberus_nuclei.read(second).mpp) == (EXTERNAL, "b", 0.5)
    np.testing.assert_array_equal(cerberus_nuclei.read(first).semantic_map, [[0, 1], [2, 2]])


def test_native_without_table_is_free_to_go_into_any_fold(tmp_path):
    native(tmp_path, "gland")
    assert [(entry.fold, entry.patient) for entry in cerberus_gland.entries(tmp_path)] == [(None, "a"), (None, "b")]


@pytest.mark.parametrize("source", [cerberus_gland, cerberus_lumen])
def test_native_glands_and_lumina_may_lack_classes(tmp_path, source):
    native(tmp_path, source.TASK.structure, inst_map=[[0, 5], [6, 6]])
    sample = source.read(source.entries(tmp_path)[0])
    np.testing.assert_array_equal(sample.semantic_map, [[0, 1], [1, 1]])
    np.testing.assert_array_equal(sample.instance_map, [[0, 5], [6, 6]])


def test_native_nuclei_must_have_classes(tmp_path):
    native(tmp_path, "nuclei", inst_map=[[0, 5], [6, 6]])
    with pytest.raises(DataError, match="has no id"):
        cerberus_nuclei.read(cerberus_nuclei.entries(tmp_path)[0])


def test_native_image_of_two_structures_is_the_same_tissue(tmp_path):
    native(tmp_path, "gland", names=("a b", "c"))
    native(tmp_path, "lumen", names=("a b",))
    native(tmp_path / "other", "nuclei", names=("c",))  # Another laboratory's.
    assert [entry.same_as for entry in cerberus_gland.entries(tmp_path)] == [("cerberus_lumen/a-b",), ()]
    assert cerberus_nuclei.entries(tmp_path)[0].same_as == ()


def test_native_patients_are_the_same_people_in_every_structure(tmp_path):
    """One laboratory's number 7 is one person; another laboratory's is another."""
    for structure, name in (("gland", "a"), ("nuclei", "b")):
        native(tmp_path, structure, f"Filename,Split,Patient\n{name}.png,1,7\n", names=(name,))
    native(tmp_path / "other", "lumen", "Filename,Split,Patient\nc.png,1,7\n", names=("c",))
    sources = (cerberus_gland, cerberus_nuclei, cerberus_lumen)
    people = [source.entries(tmp_path)[0].person for source in sources]
    assert people[0] == people[1] != people[2]


def test_native_structures_do_not_mix(tmp_path):
    native(tmp_path, "gland")
    with pytest.raises(MissingSourceError, match="no Cerberus lumina found"):
        cerberus_lumen.entries(tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("Filename,Patient\na,1\nb,1\n", "expected Filename and Split"),
        ("Filename,Split\na,1\n", "has no row for b"),
        ("Filename,Split\na,1\nb,test\n", "Split of b is 'test'; expected 1, 2, 3, external"),
        ("Filename,Split,MPP\na,1,0.5\nb,1,0\n", "MPP of b is '0'; expected a positive number"),
        ("Filename,Split,MPP\na,1,-0.5\nb,1,\n", "MPP of a is '-0.5'; expected a positive number"),
        ("Filename,Split,MPP\na,1,20x\nb,1,\n", "MPP of a is '20x'; expected a positive number"),
        ("Filename,Split,MPP\na,1,inf\nb,1,\n", "MPP of a is 'inf'; expected a positive number"),
        ("Filename,Split,MPP\na,1,nan\nb,1,\n", "MPP of a is 'nan'; expected a positive number"),
        ("Filename,Split,MPP\na,1,0.5\nb,1,\na,1,0.25\n", "MPP of a is '0.5' and '0.25'; remove one of the rows"),
        ("Filename,Split,Patient\na,1,p\nb,1,p\na,1,q\n", "Patient of a is 'p' and 'q'; remove one of the rows"),
        ("Filename,Split,Patient\na,1,p\nb,2,p\n", "patient p is in fold1 and in fold2"),
    ],
)
def test_native_table_faults(tmp_path, table, message):
    native(tmp_path, "lumen", table)
    with pytest.raises(DataError, match=message):
        cerberus_lumen.entries(tmp_path)


# Made-up mucosa


@pytest.mark.parametrize("seed", range(3))
def test_mucosa_is_of_real_sizes(seed):
    drawn = _mucosa.draw_mucosa(np.random.default_rng(seed), has_surface=True)
    areas = np.bincount(drawn.glands.instance_map.ravel())[1:]
    assert areas[areas > 0].min() >= 1500  # Cerberus drops smaller glands.
    inside = drawn.lumina.instance_map > 0
    assert (drawn.glands.semantic_map[inside] == _mucosa.GLAND).all()  # Lumina lie in glands.
    assert np.bincount(drawn.lumina.instance_map.ravel())[1:].max() >= 150
    # Radii of 3 to 5 px: areas of pi*9 to pi*25, some cut by the border or by a later nucleus.
    nuclei = np.bincount(drawn.nuclei.instance_map.ravel())[1:]
    assert 25 < np.median(nuclei[nuclei > 0]) < 80
