"""What a reader gives, before it is stored: anything but what `Sample` promises would be read back as garbage."""

from dataclasses import replace

import numpy as np
import pytest

from histoseg.errors import ConfigError, DataError
from histoseg.shards.tar import checked
from histoseg.types import Entry, Sample, Task

ENTRY = Entry(key="a", patient="p", files={})
TASK = Task(name="lab", title="Lab", classes=("background", "gland"), mpp=0.5, licence="ours")
OBJECTS = replace(TASK, kind="instance")


def make_sample(**changes):
    """A sample with fields that its own annotations would refuse in tests, as they do not elsewhere."""
    sample = Sample(
        key="a", patient="p", image=np.zeros((4, 6, 3), np.uint8), semantic_map=np.zeros((4, 6), np.uint8), mpp=0.5
    )
    for name, value in changes.items():
        object.__setattr__(sample, name, value)
    return sample


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kind", "semantik", "task lab: kind is 'semantik'; choose from 'semantic', 'instance', 'patch', 'boxes'"),
        ("structure", "tumour", "task lab: structure is 'tumour'; choose from '', 'gland'"),
        ("classes", "background", "task lab: classes is 'background'; it must be a tuple of 2 to 255 different names"),
        ("classes", ("gland",), "must be a tuple of 2"),
        ("classes", ("gland", "gland"), "different names"),
        ("classes", (0, 1), "different names"),
    ],
)
def test_a_task_that_cannot_be_is_refused(field, value, message):
    task = replace(TASK)
    object.__setattr__(task, field, value)  # Its annotations would refuse it in tests, as they do not elsewhere.
    with pytest.raises(ConfigError, match=message):
        task.__post_init__()


def test_a_whole_sample_is_taken():
    assert checked(TASK, ENTRY, make_sample()).key == "a"
    numbered = np.array([[0, 7, 7, 3, 3, 0]] * 4, np.int32)
    found = checked(OBJECTS, ENTRY, make_sample(instance_map=numbered)).instance_map
    assert found[0].tolist() == [0, 2, 2, 1, 1, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"semantic_map": np.zeros((4, 6), np.int64)}, r"lab: a: semantic_map is int64 of shape \(4, 6\).* give uint8"),
        ({"semantic_map": np.zeros((4, 6), bool)}, "semantic_map is bool"),
        (
            {"semantic_map": np.zeros((4, 6, 1), np.uint8)},
            r"of shape \(4, 6, 1\); `read` must give uint8 of \(hei",
        ),
        ({"image": np.zeros((4, 6, 3), np.float32)}, "image is float32"),
        ({"image": np.zeros((4, 6), np.uint8)}, r"image is uint8 of shape \(4, 6\).*\(height, width, 3\)"),
        ({"image": np.zeros((4, 6, 4), np.uint8)}, r"image is uint8 of shape \(4, 6, 4\)"),
        ({"image": [[0]]}, "image is list; `read` must give a NumPy array"),
        ({"image": np.zeros((0, 6, 3), np.uint8), "semantic_map": np.zeros((0, 6), np.uint8)}, "empty image"),
        ({"semantic_map": np.zeros((4, 5), np.uint8)}, r"semantic_map is \(4, 5\) but the image \(4, 6\)"),
        ({"semantic_map": np.full((4, 6), 2, np.uint8)}, r"has class 2; expected 0 to 1, or 255 for not .*correct the"),
        ({"key": "b"}, r"read with key and patient \('b', 'p'\); `read` must give those of the entry"),
        ({"patient": None}, r"\('a', None\)"),
        ({"mpp": "0.5"}, "has '0.5' microns per pixel"),
        ({"mpp": 0.0}, "has 0.0 microns per pixel"),
        ({"mpp": 0.049}, r"has 0.049 microns per pixel; `read` must give a number between 0\.05 and 5"),
        ({"mpp": 5.1}, "has 5.1 microns per pixel"),
        ({"mpp": float("nan")}, "has nan microns per pixel"),
        ({"instance_map": np.zeros((4, 6), np.int32)}, "has an instance map"),
    ],
)
def test_what_was_not_promised_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        checked(TASK, ENTRY, make_sample(**changes))


@pytest.mark.parametrize(
    ("instance_map", "message"),
    [
        (None, "lacks its instance map"),
        (np.zeros((4, 6), np.uint8), "instance_map is uint8 .*give int32"),
        (np.zeros((4, 5), np.int32), r"instance_map is \(4, 5\) but the image"),
        (np.full((4, 6), -1, np.int32), "object numbered -1"),
    ],
)
def test_objects_that_were_not_promised_are_refused(instance_map, message):
    with pytest.raises(DataError, match=message):
        checked(OBJECTS, ENTRY, make_sample(instance_map=instance_map))


@pytest.mark.parametrize("mpp", [0.025, 40.0, 2.5e4, float("nan"), 0.0, -0.5])
def test_the_resolution_of_a_task_is_that_of_a_microscope(mpp):
    """Another one resamples images to a multiple of their size, and fills the disk."""
    with pytest.raises(
        ConfigError, match=rf"task lab: mpp is {mpp!r}; it must be between 0\.05 and 5 microns per pixel"
    ):
        replace(TASK, mpp=mpp)


@pytest.mark.parametrize("mpp", [0.05, 2.5, 5])
def test_credible_resolutions_are_taken(mpp):
    assert replace(TASK, mpp=float(mpp)).mpp == mpp
