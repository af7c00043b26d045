"""Features are kept under a name of all that they depend on; what is damaged is computed again."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.representation.cache import FeatureSet, cached, digest_of_patches, encoder_digest
from histoseg.store.objects import FileStore

WANTED = FeatureSet(source="lizard", index="0f", patches="ab", encoder="cd", patch_px=32, depths=4)
NUMBERS = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path)


def refuse():
    raise AssertionError("computed although it is there")


def body_of(store):
    (key,) = [key for key in store.list("features/") if key.endswith(".safetensors")]
    return key


def test_features_are_computed_once(store):
    assert np.array_equal(cached(store, WANTED, lambda: NUMBERS), NUMBERS)
    assert np.array_equal(cached(store, WANTED, refuse), NUMBERS)


@pytest.mark.parametrize("field", [field.name for field in fields(FeatureSet)])
def test_each_thing_they_depend_on_gives_another_name(store, field):
    value = getattr(WANTED, field)
    other = replace(WANTED, **{field: value + 1 if isinstance(value, int) else f"{value}x"})
    cached(store, WANTED, lambda: NUMBERS)
    assert np.array_equal(cached(store, other, lambda: NUMBERS + 1), NUMBERS + 1)
    assert np.array_equal(cached(store, WANTED, refuse), NUMBERS)


@pytest.mark.parametrize("damage", [lambda body: body[:-3], lambda body: body[:-1] + b"!", lambda _: b""])
def test_damaged_features_are_computed_again(store, damage, caplog):
    cached(store, WANTED, lambda: NUMBERS)
    key = body_of(store)
    store.put(key, damage(store.get(key)))
    assert np.array_equal(cached(store, WANTED, lambda: NUMBERS), NUMBERS)
    assert f"{key} is damaged" in caplog.text
    assert np.array_equal(cached(store, WANTED, refuse), NUMBERS)


def test_features_of_another_encoder_under_this_name_are_not_taken(store, caplog):
    """As if somebody had copied a folder by hand."""
    other = replace(WANTED, encoder="ef")
    cached(store, other, lambda: NUMBERS + 1)
    for kind in ("safetensors", "json"):
        body = store.get(f"features/lizard/{other.name}.{kind}")
        store.put(f"features/lizard/{WANTED.name}.{kind}", body)
    assert np.array_equal(cached(store, WANTED, lambda: NUMBERS), NUMBERS)
    assert "another encoder" in caplog.text


def test_features_without_their_description_are_not_whole(store):
    """The description is put last: a process that was killed leaves none."""
    cached(store, WANTED, lambda: NUMBERS)
    store.delete(f"features/lizard/{WANTED.name}.json")
    assert np.array_equal(cached(store, WANTED, lambda: NUMBERS + 1), NUMBERS + 1)


def test_the_digest_stands_for_every_number_of_an_encoder():
    parts = CerberusParts(encoder="resnet18", width=4)
    one, same, other = build(parts, 0).encoder, build(parts, 0).encoder, build(parts, 1).encoder
    assert encoder_digest(one) == encoder_digest(same) != encoder_digest(other)
    with torch.no_grad():
        same.get_buffer("bn1.running_mean")[0] += 1e-6
    assert encoder_digest(one) != encoder_digest(same)


def test_the_digest_of_patches_stands_for_images_and_places():
    points = np.array([[1.0, 2.0], [3.0, 4.0]])
    digests = {
        digest_of_patches(centres)
        for centres in ({"a": points}, {"b": points}, {"a": points + 1}, {"a": points[:1], "b": points[1:]}, {})
    }
    assert len(digests) == 5
