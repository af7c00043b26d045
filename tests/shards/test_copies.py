"""The same file under several names is found, and its patients are dealt together."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from histoseg.demo.write import write_demo_data
from histoseg.runs.config import Data
from histoseg.shards.copies import find_copies, split_without_copies
from histoseg.shards.index import open_index
from histoseg.shards.splits import split_by_patient
from histoseg.shards.writer import Recipe, write_shards
from histoseg.store.objects import connect
from histoseg.types import SPLITS, Entry


@pytest.fixture
def make(tmp_path):
    """Entries of files with those contents, each of a patient of its own unless named."""

    def make(contents, patients=None):
        entries = []
        for i, content in enumerate(contents):
            path = tmp_path / f"image{i}.png"
            path.write_bytes(content)
            patient = patients[i] if patients else f"patient{i}"
            entries.append(Entry(key=f"image{i}", patient=patient, files={"image": path}))
        return entries

    return make


def keys(groups):
    return [[entry.key for entry in group] for group in groups]


def test_files_with_the_same_bytes_are_copies_and_others_of_their_size_are_not(make):
    long = bytes(20_000)  # Equal in the middle, so that only the whole tells them apart.
    entries = make([b"aaaa", b"bbbb", b"aaaa", long, long[:-1] + b"x", long, b"aaaa"])
    assert keys(find_copies(entries)) == [["image0", "image2", "image6"], ["image3", "image5"]]


def test_images_in_one_file_are_not_copies(make):
    (entry,) = make([b"array of images"])
    second = Entry(key="image1", patient="b", files=entry.files, options={"number": 1})
    assert find_copies([entry, second]) == []


def test_patients_with_the_same_image_share_a_split_also_through_others(make):
    """0 = 9, 9 = 5 (by another image of its patient) join three patients, wherever they would be alone."""
    contents = [bytes([i]) * 50 for i in range(12)]
    contents[9], contents[10] = contents[0], contents[5]
    patients = [f"p{i:02}" for i in range(12)]
    patients[10] = patients[9]
    entries = make(contents, patients)
    splits, (line,) = split_without_copies(entries, "lab")
    assert splits["p00"] == splits["p09"] == splits["p05"]
    assert set(splits.values()) == set(SPLITS)
    assert line.startswith("lab: 2 images are copies of others under another patient, such as ")
    assert "image9.png of " in line


def test_without_copies_splits_are_those_of_before(make):
    entries = make([bytes([i]) for i in range(20)], [f"p{i // 2}" for i in range(20)])
    assert split_without_copies(entries, "lab") == (split_by_patient(entries, "lab"), [])
    same_patient = make([b"a", b"a", b"b"], ["p", "p", "q"])
    assert split_without_copies(same_patient, "lab") == (split_by_patient(same_patient, "lab"), [])


def test_a_copied_image_of_a_source_is_in_one_split(tmp_path, caplog):
    write_demo_data(tmp_path / "demo", sources=["synthetic"])
    folder = tmp_path / "demo" / "synthetic"
    for number in range(20, 26):  # Six more patients with the picture of the first.
        for ending in ("", "_mask"):
            source = folder / f"patient01_image01{ending}.png"
            (folder / f"patient{number}_image{number}{ending}.png").write_bytes(source.read_bytes())
    store = connect(f"file://{tmp_path / 'store'}")
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.WARNING):
        write_shards("synthetic", tmp_path / "demo", store, Recipe(data=Data(patch_px=96)), pool)
    index = open_index(store, "synthetic", "96px")
    found = {
        index.shards[shard].split
        for shard, patient in zip(index.samples.shard, index.samples.patient, strict=True)
        if patient == "patient01" or patient >= "patient20"
    }
    assert len(found) == 1
    assert "synthetic: 6 images are copies of others under another patient" in caplog.text
