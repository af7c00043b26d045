"""Names as people write them."""

import errno
import unicodedata
from pathlib import Path

import pytest

from histoseg.errors import DataError
from histoseg.files.folders import (
    LOSSLESS,
    beside,
    by_image_name,
    by_name,
    make_key,
    pair,
    plain,
    scan,
    spelt_as,
    without_ending,
)
from histoseg.types import KEY_PATTERN

COMPOSED = unicodedata.normalize("NFC", "Größe é")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return scan(root)


def test_either_normal_form_is_the_same_name(tmp_path):
    assert DECOMPOSED != COMPOSED
    images = by_name(touch(tmp_path, f"{DECOMPOSED}.png"), r".+\.png")
    assert list(images) == [COMPOSED]
    assert make_key(DECOMPOSED) == make_key(COMPOSED) == "Gr-e"
    assert plain(DECOMPOSED) == plain(COMPOSED)
    assert without_ending(f"{DECOMPOSED}.PNG") == COMPOSED


@pytest.mark.parametrize("name", ["患者", "患者1", "样本1", "пациент", "###", "é"])
def test_names_without_a_latin_letter_have_keys_of_their_own(name):
    key = make_key(name)
    assert KEY_PATTERN.fullmatch(key)
    assert key == make_key(name)
    assert key != make_key(f"{name}患")


def test_keys_of_different_scripts_differ():
    names = ["患者1", "样本1", "1", "患者", "样本", "пациент 1"]
    assert len({make_key(name) for name in names}) == len(names)
    assert make_key("患者1").startswith("1-")


@pytest.mark.parametrize(("name", "key"), [("17", "17"), ("7_Region 1", "7_Region-1"), ("a.b", "a-b"), ("3-4", "3-4")])
def test_keys_of_other_names_are_as_ever(name, key):
    assert make_key(name) == key


@pytest.mark.parametrize(
    ("text", "name"),
    [("a.PNG", "a"), (" a.tif ", "a"), ("a", "a"), ("a.b", "a.b"), ("v1.5.svs", "v1.5"), ("a.mat", "a"), ("", "")],
)
def test_names_in_tables(text, name):
    assert without_ending(text) == name


def test_names_in_another_case_fit_unless_one_is_equal():
    assert spelt_as(["Train_1", "b"], {"train_1": 1, "B": 2, "c": 3}) == {"Train_1": 1, "b": 2, "c": 3}
    assert spelt_as(["a", "A"], {"a": 1, "A": 2}) == {"a": 1, "A": 2}
    assert spelt_as(["a"], {"A": 1, "a": 2}) == {"A": 1, "a": 2}


def test_pairs_in_another_case(tmp_path):
    folders = touch(tmp_path, "Train_1.BMP", "train_1.xml")
    images, labels = by_name(folders, r".+\.bmp"), by_name(folders, r".+\.xml")
    pairs = pair(tmp_path, "Set", "anything", images, labels)
    assert {name: files["annotation"].name for name, files in pairs.items()} == {"Train_1": "train_1.xml"}


def test_the_published_format_counts_where_there_are_several(tmp_path):
    folders = touch(tmp_path, "a.tif", "a.png", "b.PNG", "c.jpg")
    images = by_image_name(folders, ".+", ("tiff?", LOSSLESS))
    assert {name: path.name for name, path in images.items()} == {"a": "a.tif", "b": "b.PNG"}


def test_two_converted_copies_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a.png: the same image name as .*a.bmp; keep one"):
        by_image_name(touch(tmp_path, "a.bmp", "a.png"), ".+", ("tiff?", LOSSLESS))


def test_links_are_no_copies(tmp_path):
    """A folder may link to one above it, or to another of the same data."""
    touch(tmp_path, "raw/set/a.bmp", "raw/b.bmp")
    (tmp_path / "raw" / "set" / "loop").symlink_to("..")
    (tmp_path / "raw" / "latest").symlink_to("set")
    (tmp_path / "raw" / "self").symlink_to("self")
    folders = scan(tmp_path / "raw")
    assert [folder.relative_to(tmp_path).as_posix() for folder in folders] == ["raw", "raw/latest", "raw/set"]
    found = by_image_name(folders, ".+", ("bmp",))
    assert {name: path.resolve() for name, path in found.items()} == {
        "a": tmp_path / "raw" / "set" / "a.bmp",
        "b": tmp_path / "raw" / "b.bmp",
    }


def test_a_folder_that_may_not_be_read_costs_itself_alone(tmp_path, monkeypatch, caplog):
    """As `lost+found` on a disk of data. A test may run as root, who may read all."""
    touch(tmp_path, "a.png", "lost+found/b.png", "set/c.png")
    iterdir = Path.iterdir

    def refuse(folder):
        if folder.name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    for _ in range(2):
        assert sorted(by_name(scan(tmp_path), r".+\.png")) == ["a", "c"]
    (record,) = caplog.records
    assert f"{tmp_path / 'lost+found'}: cannot be read (Permission denied)" in record.getMessage()


def test_files_beside(tmp_path):
    folders = touch(tmp_path, "grade.CSV", "b/Grade.csv")
    assert beside(folders, tmp_path, "Grade.csv") == tmp_path / "grade.CSV"
    assert beside(folders, tmp_path / "b", "Grade.csv") == tmp_path / "b" / "Grade.csv"
    assert (
        beside(folders, tmp_path / "c", "Grade.csv") == tmp_path / "c" / "Grade.csv"
    )  # For the message that it lacks.
