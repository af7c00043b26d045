"""What holds for every source: its made-up set is found, read and the same for the same seed."""

import hashlib

import numpy as np
import pytest

from histoseg import catalog
from histoseg.errors import DataError, MissingSourceError
from histoseg.types import IGNORE, KEY_PATTERN

NAMES = catalog.names("histoseg.sources")


@pytest.fixture(scope="module", params=NAMES)
def source(request):
    return catalog.load("histoseg.sources", request.param)


@pytest.fixture(scope="module")
def root(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp(source.TASK.name)
    source.write_demo(folder, np.random.default_rng(0))
    return folder


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_task_has_the_name_of_its_file(source):
    assert source.__name__.rpartition(".")[2] == source.TASK.name
    assert source.TASK.num_classes >= 2


def test_entries_have_unique_keys_and_enough_patients(source, root):
    entries = source.entries(root)
    keys = [entry.key for entry in entries]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)
    assert all(KEY_PATTERN.fullmatch(key) for key in keys)
    # Six patients are the least that can be split into train, val and test with two each.
    assert len({entry.patient for entry in entries}) >= 6


def test_samples_are_whole(source, root):
    seen = set()
    for entry in source.entries(root):
        sample = source.read(entry)
        assert (sample.key, sample.patient) == (entry.key, entry.patient)
        assert sample.image.dtype == sample.semantic_map.dtype == np.uint8
        assert sample.image.shape == (*sample.semantic_map.shape, 3)
        assert sample.mpp == pytest.approx(source.TASK.mpp, rel=0.05)  # MoNuSeg states its own, within 2 %.
        seen |= set(np.unique(sample.semantic_map).tolist())
    # Every class occurs, but the Gleason grade 2 that pathologists no longer give.
    unused = {2} if source.TASK.name == "gleason2019" else set()
    assert seen - {IGNORE} == set(range(source.TASK.num_classes)) - unused


def test_demo_is_the_same_for_the_same_seed(source, root, tmp_path):
    source.write_demo(tmp_path, np.random.default_rng(0))
    assert digests(tmp_path) == digests(root)


def test_demo_differs_for_another_seed(source, root, tmp_path):
    source.write_demo(tmp_path, np.random.default_rng(1))
    assert digests(tmp_path) != digests(root)


def test_found_in_folders_above(source, root, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "unpacked").symlink_to(root, target_is_directory=True)
    assert [entry.key for entry in source.entries(tmp_path)] == [entry.key for entry in source.entries(root)]


def test_missing_source_says_what_was_looked_for(source, tmp_path):
    with pytest.raises(MissingSourceError, match=rf"no {source.TASK.title} found"):
        source.entries(tmp_path)
    with pytest.raises(MissingSourceError, match="is not a folder"):
        source.entries(tmp_path / "nowhere")


def test_image_without_annotation(source, root, tmp_path):
    broken = copy(root, tmp_path)
    entry = source.entries(broken)[0]
    for role, path in entry.files.items():
        if role != "image":
            path.unlink()
    with pytest.raises(DataError, match="without annotation"):
        source.entries(broken)


def test_annotation_without_image(source, root, tmp_path):
    broken = copy(root, tmp_path)
    source.entries(broken)[0].files["image"].unlink()
    with pytest.raises(DataError, match="without image"):
        source.entries(broken)


def test_unreadable_image(source, root, tmp_path):
    broken = copy(root, tmp_path)
    entry = source.entries(broken)[0]
    whole = entry.files["image"].read_bytes()
    entry.files["image"].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"not a readable image .*fetch the file again"):
        source.read(entry)


def copy(root, target):
    for path in sorted(root.rglob("*")):
        if path.is_file():
            (target / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(root)).write_bytes(path.read_bytes())
    return target
