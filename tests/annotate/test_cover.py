"""Regions that stand for others: against all choices there are, and against the sum itself, written out."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histoseg.annotate.cover import num_features, region_features, representatives
from histoseg.errors import ConfigError
from histoseg.models.hovernet import network as hovernet
from histoseg.models.unet.network import build


def covered(difficulties, features, chosen):
    """The sum that is raised, pair by pair."""
    scaled = features - features.mean(axis=0)
    scaled /= np.where(features.std(axis=0) > 0, features.std(axis=0), 1)
    total = 0.0
    for one, difficulty in zip(scaled, difficulties, strict=True):
        lengths = [np.linalg.norm(one) * np.linalg.norm(scaled[j]) for j in chosen]
        cosines = [one @ scaled[j] / length if length else 0.0 for j, length in zip(chosen, lengths, strict=True)]
        total += difficulty * max([0.0, *cosines])
    return total


def pool(seed, size=9, depth=4):
    rng = np.random.default_rng(seed)
    return rng.random(size), rng.normal(size=(size, depth)).astype(np.float32)


def test_a_usual_region_comes_before_the_most_difficult_one():
    """By hand: three regions of one kind stand for 0.5 + 0.4 + 0.5; the odd one, more difficult than each, for 0.9."""
    difficulties = np.array([0.9, 0.5, 0.4, 0.5])
    features = np.array([[-1, 2], [1, 0.0], [1, 0.1], [1, -0.1]], np.float32)
    assert representatives(difficulties, features, 2)[1] == 0
    assert representatives(difficulties, features, 1)[0] in (1, 2, 3)
    assert representatives(np.array([9.0, 0.5, 0.4, 0.5]), features, 1) == [0]


@given(st.integers(0, 10**6), st.integers(1, 9), st.sets(st.integers(0, 8), max_size=4))
def test_each_region_raises_the_sum_the_most(seed, count, annotated):
    difficulties, features = pool(seed)
    chosen = representatives(difficulties, features, count, annotated)
    assert len(chosen) == len(set(chosen)) == min(count, 9 - len(annotated))
    assert not annotated & set(chosen)
    for number, i in enumerate(chosen):
        before = [*annotated, *chosen[:number]]
        sums = {j: covered(difficulties, features, [*before, j]) for j in range(9) if j not in before}
        assert sums[i] == pytest.approx(max(sums.values()), rel=1e-5)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_sum_is_at_least_63_percent_of_the_best(seed):
    difficulties, features = pool(seed, depth=2)
    found = covered(difficulties, features, representatives(difficulties, features, 3))
    best = max(covered(difficulties, features, chosen) for chosen in combinations(range(9), 3))
    assert found >= (1 - 1 / np.e) * best


def test_equal_regions_are_taken_in_their_order():
    assert representatives(np.ones(4), np.ones((4, 3), np.float32), 3) == [0, 1, 2]
    assert representatives(np.zeros(0), np.zeros((0, 3), np.float32), 3) == []


def test_features_of_a_region_are_those_of_its_tiles():
    """A region of two by two equal tiles has those of one tile; one of another size is mirrored to whole units."""
    network = build(4, "group", {"cells": 2}, 0)
    tile = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    one = region_features(network, tile)
    assert one.shape == (num_features(network),)
    np.testing.assert_allclose(region_features(network, np.tile(tile, (2, 2, 1))), one, rtol=1e-5)
    assert region_features(network, tile[:50, :70]).shape == one.shape


def test_a_network_without_an_encoder_is_refused():
    with pytest.raises(ConfigError, match="has no encoder"):
        region_features(hovernet.build(hovernet.HoVerNetParts(width=8), 0), np.zeros((64, 64, 3), np.uint8))
