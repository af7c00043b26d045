"""Boxes in shards: read back exactly, whole in each tile that they touch, and once in the whole image."""

import json
import tarfile

import numpy as np
import pytest

from histoseg.errors import DataError
from histoseg.runs.config import Data, Select
from histoseg.shards.in_memory import put_source
from histoseg.shards.index import open_index
from histoseg.shards.reader import MetaDataset
from histoseg.shards.resample import resample
from histoseg.shards.stored import ShardColumns
from histoseg.shards.tar import checked
from histoseg.shards.tiles import smallest_tile_px
from histoseg.shards.verify import verify_source
from histoseg.store.keys import index_key, shard_key
from histoseg.types import Boxes, Entry, Sample, Task

TASK = Task(name="lab", title="Lab", classes=("background", "cell"), mpp=0.5, licence="ours", kind="boxes")
DATA = Data(patch_px=16)
ENTRY = Entry(key="a", patient="p", files={})


def boxes(*rows, classes=None):
    return Boxes(
        corners=np.array(rows, np.float32).reshape(-1, 4),
        classes=np.array([1] * len(rows) if classes is None else classes, np.uint8),
    )


def sample(found, key="a", height=60, width=100):
    image = np.random.default_rng(len(key)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    made = Sample(
        key=key,
        patient="p",
        image=image,
        semantic_map=np.zeros((height, width), np.uint8),
        mpp=0.5,
        boxes=found,
    )
    return checked(TASK, Entry(key=key, patient="p", files={}), made)


FOUND = boxes([0.1, 0.7, 8.3, 9.9], [44.4, 20, 57.7, 31], [88, 50, 100, 60])


@pytest.fixture
def dataset(store, tmp_path):
    put_source(store, TASK, DATA, {"train": [sample(FOUND), sample(boxes(), key="empty")], "test": []})
    return MetaDataset.open(store, ["lab"], DATA.layout, tmp_path / "cache")


def test_whole_images_have_their_boxes_exactly(dataset):
    index = dataset.sources["lab"]
    assert index.tile_px == smallest_tile_px(DATA) < 30  # So an image of 60 x 100 lies in several tiles.
    assert len(index.samples.key) > 4
    found = {one.key: one for one in dataset.whole_images("lab", "train")}
    order = np.lexsort(found["a"].boxes.corners.T[::-1])
    np.testing.assert_array_equal(found["a"].boxes.corners[order], FOUND.corners)
    assert found["a"].boxes.classes.tolist() == [1, 1, 1]
    assert len(found["empty"].boxes.classes) == 0
    np.testing.assert_array_equal(found["a"].semantic_map, sample(FOUND).semantic_map)
    pixels = int(found["a"].semantic_map.sum())
    assert index.class_pixels().tolist() == [2 * 6000 - pixels, pixels]


def test_a_tile_has_whole_what_it_cuts_in_pixels_of_its_own(dataset):
    samples = dataset.sources["lab"].samples
    seen = [row for row in range(len(samples.key)) if samples.image[row] == "a"]
    middle = [row for row in seen if any(box[0] == np.float32(44.4) for box in samples.boxes[row])]
    assert len(middle) > 1  # The box lies across the border of tiles.
    assert sum(samples.num_objects[row] for row in seen) == 3  # Each counts once.
    for row in middle:
        own = dataset.read_boxes("lab", row).corners
        expected = FOUND.corners[1] - np.array([samples.left[row], samples.top[row]] * 2, np.float32)
        assert any(np.array_equal(box, expected) for box in own)


def test_the_tar_alone_says_what_its_index_does(dataset, store, tmp_path):
    index = dataset.sources["lab"]
    path = tmp_path / "shard.tar"
    store.download(shard_key("lab", index.layout, index.shards[0].name), path)
    with tarfile.open(path) as tar:
        told = {m.name: json.load(tar.extractfile(m)) for m in tar if m.name.endswith(".json")}
        assert not [m.name for m in tar if "map" in m.name]
    for key, found in zip(index.samples.key, index.samples.boxes, strict=True):
        assert told[f"{key}.json"]["boxes"] == [list(box) for box in found]
    assert list(verify_source(store, "lab", index.layout)) == []


def test_images_without_objects_can_be_left_out_and_draws_differ(store, tmp_path):
    filled = [sample(FOUND, key=f"cells{i}", width=100 + i) for i in range(9)]
    put_source(store, TASK, DATA, {"train": [*filled, sample(boxes(), key="empty")]})
    dataset = MetaDataset.open(store, ["lab"], DATA.layout, tmp_path / "cache")
    names = np.asarray(dataset.sources["lab"].samples.image)

    def images(**how):
        return set(names[dataset.select(Select(sources=("lab",), **how), 0).training_rows("lab")])

    assert images() - images(with_objects=True) == {"empty"}
    draws = [frozenset(images(shots=4, draw=i, with_objects=True)) for i in range(6)]
    assert {len(draw) for draw in draws} == {4}
    assert len(set(draws)) > 3
    assert draws[2] == images(shots=4, draw=2, with_objects=True)


def test_sources_without_boxes_are_stored_as_before():
    """Their columns have no boxes, so their parts and indexes have the bytes they had."""
    columns = {name: [] for name in ShardColumns.model_fields if name != "boxes"}
    assert "boxes" not in ShardColumns(**columns).model_dump(exclude_defaults=True)


def test_an_index_whose_boxes_lack_rows_is_refused(dataset, store):
    key = index_key("lab", DATA.layout)
    content = json.loads(store.get(key))
    content["samples"]["boxes"].pop()
    store.put(key, json.dumps(content).encode())
    with pytest.raises(DataError, match="columns differ in length"):
        open_index(store, "lab", DATA.layout)


def test_boxes_are_resampled_with_their_image():
    halved = resample(sample(boxes([10, 20, 31, 41])), 1.0)
    assert halved.image.shape == (30, 50, 3)
    assert halved.boxes.corners.tolist() == [[5, 10, 15.5, 20.5]]
    # The middles of columns 5 to 14 and of rows 10 to 19 lie in it; those of 15 and 20 lie on its border.
    assert int(halved.semantic_map.sum()) == 100
    uneven = resample(sample(boxes([0, 0, 100, 60])), 0.7)
    assert uneven.boxes.corners.tolist() == [[0, 0, uneven.image.shape[1], uneven.image.shape[0]]]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "lacks its boxes"),
        (boxes([0, 0, 4, 0]), r"a box \[0.0, 0.0, 4.0, 0.0\]"),
        (boxes([90, 0, 101, 4]), r"in an image of 100x60 px"),
        (boxes([float("nan"), 0, 4, 4]), "must lie in it"),
        (boxes([0, 0, 4, 4], classes=[2]), "a box of class 2; expected 1 to 1"),
        (boxes([0, 0, 4, 4], classes=[0]), "a box of class 0"),
    ],
)
def test_bad_boxes_are_refused(found, message):
    with pytest.raises(DataError, match=f"lab: a.*{message}"):
        sample(found)


def test_boxes_of_another_form_are_refused():
    made = sample(boxes(*FOUND.corners.tolist()))
    object.__setattr__(made.boxes, "classes", np.array([1, 1], np.uint8))
    with pytest.raises(DataError, match=r"`read` must give float32 \(N, 4\) and uint8 \(N,\)"):
        checked(TASK, ENTRY, made)


def test_other_kinds_have_no_boxes():
    made = sample(FOUND)
    other = Task(name="lab", title="Lab", classes=("background", "cell"), mpp=0.5, licence="ours")
    with pytest.raises(DataError, match="has boxes, but its task is of kind 'semantic'"):
        checked(other, ENTRY, made)
