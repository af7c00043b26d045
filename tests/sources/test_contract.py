"""What holds for every source: its made-up data set is found, read and the same for the same seed."""

import hashlib

import numpy as np
import pytest
import scipy.ndimage

from histoseg.demo.write import find_demo
from histoseg.errors import DataError, MissingSourceError
from histoseg.runs import catalog
from histoseg.types import EXTERNAL, FOLDS, IGNORE, KEY_PATTERN

NAMES = catalog.names("histoseg.sources")
# Classes that no file of a source has: the Gleason grade 2 is no longer given; of the nine tissues of Cerberus,
# Kather 5K lacks muscle and mucous, CRC-TP background, mucous and adipose.
UNUSED = {"gleason2019": {2}, "kather5k": {4, 7}, "crc_tp": {0, 7, 8}}


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def source(name):
    return catalog.load("histoseg.sources", name)


@pytest.fixture(scope="module")
def write_demo(name):
    found = find_demo(name)
    if found is None:
        pytest.skip(f"{name} has no write_demo, whose made-up data set these tests would read")
    return found


@pytest.fixture(scope="module")
def root(name, write_demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp(name)
    write_demo(folder, np.random.default_rng(0))
    return folder


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_task_has_the_name_of_its_file(name, source):
    assert source.TASK.name == name
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
    assert seen - {IGNORE} == set(range(source.TASK.num_classes)) - UNUSED.get(source.TASK.name, set())


def test_maps_are_what_the_kind_says(source, root):
    checks = {"semantic": check_no_objects, "instance": check_objects, "patch": check_one_class}
    check = checks.get(source.TASK.kind, check_no_objects)
    for entry in source.entries(root):
        sample = source.read(entry)
        check(sample.instance_map, sample.semantic_map)
        assert (sample.boxes is not None) == (source.TASK.kind == "boxes")


def check_no_objects(instance_map, semantic_map):
    assert instance_map is None


def check_one_class(instance_map, semantic_map):
    assert instance_map is None
    assert len(np.unique(semantic_map)) == 1


def check_objects(instance_map, semantic_map):
    """Every object has a number of its own and one class; what is no object is background."""
    assert instance_map.dtype == np.int32
    assert instance_map.shape == semantic_map.shape
    inside, known = instance_map > 0, semantic_map != IGNORE
    np.testing.assert_array_equal(inside[known], (semantic_map > 0)[known])
    pairs = np.unique(np.stack([instance_map[inside], semantic_map[inside]]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1]
    # What does not touch is not one object: there are no fewer numbers than connected regions.
    assert pairs.shape[1] >= scipy.ndimage.label(inside, np.ones((3, 3)))[1] > 0


def test_published_folds(source, root):
    entries = source.entries(root)
    patients = {fold: {entry.patient for entry in entries if entry.fold == fold} for fold in (None, *FOLDS, EXTERNAL)}
    assert sum(map(len, patients.values())) == len(set.union(*patients.values()))  # Nobody is in two.
    sizes = [len(patients[fold]) for fold in FOLDS]
    assert min(sizes) >= 3 or max(sizes) == 0  # All three are published, or none.


def test_structure_fits_the_kind(source):
    fitting = {"semantic": {""}, "boxes": {""}, "instance": {"gland", "lumen", "nuclei"}, "patch": {"tissue"}}
    assert source.TASK.structure in fitting[source.TASK.kind]


def test_demo_is_the_same_for_the_same_seed(write_demo, root, tmp_path):
    write_demo(tmp_path, np.random.default_rng(0))
    assert digests(tmp_path) == digests(root)


def test_demo_differs_for_another_seed(write_demo, root, tmp_path):
    write_demo(tmp_path, np.random.default_rng(1))
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
    if source.TASK.kind == "patch":
        pytest.skip("the folder a tile lies in is its annotation")
    broken = copy(root, tmp_path)
    entry = source.entries(broken)[0]
    for role, path in entry.files.items():
        if role != "image":
            path.unlink()
    with pytest.raises(DataError, match="without annotation"):
        source.entries(broken)


def test_annotation_without_image(source, root, tmp_path):
    broken = copy(root, tmp_path)
    image = source.entries(broken)[0].files["image"]
    for path in list(image.parent.iterdir()) if source.TASK.kind == "patch" else [image]:
        path.unlink()  # A class folder is the annotation of all its tiles.
    with pytest.raises(DataError, match="without image"):
        source.entries(broken)


def test_unreadable_image(source, root, tmp_path):
    broken = copy(root, tmp_path)
    entry = source.entries(broken)[0]
    whole = entry.files["image"].read_bytes()
    entry.files["image"].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"not a readable (image|NumPy array) .*fetch the file again"):
        source.read(entry)


def copy(root, target):
    for path in sorted(root.rglob("*")):
        if path.is_file():
            (target / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(root)).write_bytes(path.read_bytes())
    return target
