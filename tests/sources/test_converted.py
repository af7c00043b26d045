"""Sets that people converted or renamed: another lossless format, another case, tables by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoseg.demo.write import find_demo
from histoseg.errors import DataError
from histoseg.runs import catalog
from histoseg.sources import cerberus_gland, glas, lizard
from tests.sources.raw_files import OBJECTS, grey, save, save_mat

IMAGES = [
    name
    for name in catalog.names("histoseg.sources")
    if name != "pannuke"  # Its images lie in one array.
]


@pytest.fixture(scope="module", params=IMAGES)
def source(request):
    return catalog.load_source(request.param)


@pytest.fixture(scope="module")
def root(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp(source.TASK.name)
    find_demo(source.TASK.name)(folder, np.random.default_rng(0))
    return folder


def first_of(source, root):
    entry = source.entries(root)[0]
    return entry, source.read(entry)


def test_another_lossless_format_of_images_and_masks(source, root):
    entry, published = first_of(source, root)
    for path in {*entry.files.values()}:
        if path.suffix.lower() in (".png", ".bmp", ".tif", ".jpg", ".jpeg"):
            with Image.open(path) as image:
                image.save(path.with_suffix(".tif" if path.suffix.lower() == ".png" else ".png"))
            path.unlink()
    converted, sample = first_of(source, root)
    assert (converted.key, converted.patient) == (entry.key, entry.patient)
    assert converted.files["image"].suffix != entry.files["image"].suffix
    np.testing.assert_array_equal(sample.image, published.image)
    np.testing.assert_array_equal(sample.semantic_map, published.semantic_map)


def test_endings_in_another_case(source, root):
    entry, published = first_of(source, root)
    for path in {*entry.files.values()}:
        path.rename(path.with_suffix(path.suffix.upper()))
    renamed, sample = first_of(source, root)
    assert (renamed.key, renamed.patient) == (entry.key, entry.patient)
    np.testing.assert_array_equal(sample.semantic_map, published.semantic_map)


def glas_set(root, table, name="train_1", table_name="Grade.csv"):
    save(root / f"{name}.bmp", grey(9, 9))
    save(root / f"{name}_anno.bmp", np.zeros((9, 9)))
    (root / table_name).write_bytes(table.encode("utf-8"))


def test_glas_table_by_hand(tmp_path):
    glas_set(tmp_path, "Name;Patient ID;grade\r\nTRAIN_1.BMP;7;benign\r\n;;\r\n", table_name="grade.csv")
    assert [entry.patient for entry in glas.entries(tmp_path)] == ["patient7"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,patient ID\ntrain_1,\n", r"Grade.csv: line 2 lacks a name or a patient ID; complete or remove it"),
        ("name,patient ID\ntrain_2,3\n", r"Grade.csv: .*no row for train_1 \(1 images lack one\); add it"),
    ],
)
def test_glas_table_faults(tmp_path, table, message):
    glas_set(tmp_path, table)
    with pytest.raises(DataError, match=message):
        glas.entries(tmp_path)


def test_glas_masks_as_jpeg_are_found_and_refused(tmp_path):
    glas_set(tmp_path, "name,patient ID\ntrain_1,7\n")
    (tmp_path / "train_1_anno.bmp").unlink()
    save(tmp_path / "train_1_anno.jpg", np.zeros((9, 9)))
    with pytest.raises(DataError, match=r"train_1_anno.jpg: labels in a lossy format"):
        glas.read(glas.entries(tmp_path)[0])


def test_glas_glands_beyond_255(tmp_path):
    glas_set(tmp_path, "name,patient ID\ntrain_1,7\n")
    (tmp_path / "train_1_anno.bmp").unlink()
    numbers = np.zeros((9, 9), np.uint16)
    numbers[2:4, 2:4], numbers[6:8, 6:8] = 300, 301
    Image.fromarray(numbers).save(tmp_path / "train_1_anno.png")
    np.testing.assert_array_equal(glas.read(glas.entries(tmp_path)[0]).instance_map, numbers)


def native(root, table, names=("a",)):
    folder = root / "cerberus_native" / "gland"
    for name in names:
        save(folder / "Images" / f"{name}.png", grey())
        save_mat(folder / "Labels" / f"{name}.mat", **OBJECTS)
    (folder / "Split.csv").write_bytes(table)


def test_native_table_by_hand(tmp_path):
    table = "filename;split;patient;mpp\r\nPatiënt A.PNG;1;P 1;0,25\r\n;;;\r\n".encode("utf-16")
    native(tmp_path, table, ["patiënt a"])
    (entry,) = cerberus_gland.entries(tmp_path)
    assert (entry.fold, entry.patient, cerberus_gland.read(entry).mpp) == ("fold1", "P-1", 0.25)


def test_native_names_without_a_latin_letter(tmp_path):
    native(tmp_path, "Filename,Split\n患者1,1\n样本1.png,2\n".encode(), ["患者1", "样本1"])
    entries = cerberus_gland.entries(tmp_path)
    assert len({entry.key for entry in entries}) == len({entry.patient for entry in entries}) == 2
    assert {entry.fold for entry in entries} == {"fold1", "fold2"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("Filename,Split\na,1\n,2\n", r"Split.csv: line 3: Filename is empty; name the image, or remove the row"),
        ("Filename,Split\na,4\n", r"Split of a is '4'; expected 1, 2, 3, external; correct line 2"),
        ("Filename,Split\na,1\nA.png,1\na,2\n", r"Split of a is '1' and '2'; remove one of the rows, lines 2 and 4"),
        (
            "Filename,Split,MPP\na,1,250\n",
            r"Split.csv: line 2: MPP of a is '250'; .*between 0.05 and 5 microns per pixel",
        ),
    ],
)
def test_native_table_faults_name_the_line(tmp_path, table, message):
    native(tmp_path, table.encode())
    with pytest.raises(DataError, match=message):
        cerberus_gland.entries(tmp_path)


def test_lizard_table_by_hand(tmp_path):
    save(tmp_path / "Lizard_Images1" / "Glas_1.tif", grey())
    save_mat(tmp_path / "Lizard_Labels" / "Labels" / "glas_1.mat", **OBJECTS)
    Path(tmp_path / "Lizard_Labels" / "INFO.csv").write_text("Filename\tSource\tSplit\nglas_1.PNG\tglas\t2\n")
    (entry,) = lizard.entries(tmp_path)
    assert (entry.key, entry.fold) == ("Glas_1", "fold2")
