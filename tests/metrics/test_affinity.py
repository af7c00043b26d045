"""Measures between tasks, each against cases worked by hand and against an independent implementation."""

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, spearmanr

from histoseg.metrics.affinity import (
    frechet_distance,
    gradient_alignment,
    logme,
    mean_spearman,
    scaled_frechet_distance,
    spearman,
    spearman_interval,
)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize(
    ("first", "second", "cosine"),
    [([3, 4], [3, 4], 1.0), ([3, 4], [-6, -8], -1.0), ([1, 0], [0, 5], 0.0), ([3, 4], [5, 0], 0.6)],
)
def test_alignment_is_the_cosine(first, second, cosine):
    assert gradient_alignment(np.array(first, float), np.array(second, float)) == pytest.approx(cosine)


def test_alignment_with_no_gradient_is_undefined():
    assert math.isnan(gradient_alignment(np.zeros(3), np.ones(3)))


def test_frechet_distance_of_one_feature():
    """Means 1 and 4, deviations 1 and 3 (n - 1): (1 - 4)² + (1 - 3)²."""
    first, second = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [4.0], [7.0]])
    assert frechet_distance(first, second) == pytest.approx(9 + 4)


def test_frechet_distance_equals_its_definition_by_matrix_roots(rng):
    first, second = rng.normal(size=(40, 5)), 1 + rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5))
    covariances = [np.cov(rows, rowvar=False) for rows in (first, second)]
    shift = first.mean(axis=0) - second.mean(axis=0)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected)


def test_frechet_distance_of_a_set_to_itself_is_zero_also_of_fewer_rows_than_features(rng):
    rows = rng.normal(size=(4, 9))
    assert frechet_distance(rows, rows[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(rows, rows + 2) == pytest.approx(9 * 4)


def test_frechet_distance_needs_covariances():
    with pytest.raises(ValueError, match="sets of 1 and 3"):
        frechet_distance(np.ones((1, 2)), np.ones((3, 2)))


def test_scaled_distance_is_the_same_in_other_units(rng):
    first, second = rng.normal(size=(20, 3)), rng.normal(size=(25, 3)) + 0.5
    units = np.array([1.0, 100.0, 1e-3])
    expected = scaled_frechet_distance(first, second)
    assert scaled_frechet_distance(first * units + 5, second * units + 5) == pytest.approx(expected)
    constant = [np.column_stack([rows, np.full(len(rows), 3.0)]) for rows in (first, second)]
    assert scaled_frechet_distance(*constant) == pytest.approx(expected)
    assert math.isnan(scaled_frechet_distance(np.ones((3, 2)), np.ones((3, 2))))


def largest_evidence(features, target):
    """The log marginal likelihood per sample, maximised over both precisions by SciPy."""

    def negative(logs):
        alpha, beta = np.exp(logs)
        covariance = np.eye(len(target)) / beta + features @ features.T / alpha
        return -multivariate_normal.logpdf(target, np.zeros(len(target)), covariance) / len(target)

    return -minimize(negative, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10}).fun


@pytest.mark.parametrize("num_features", [3, 8])
def test_logme_is_the_largest_evidence(rng, num_features):
    """Mean over classes of their regressions, by another way: a density of all labels, and a general optimiser."""
    labels = rng.integers(0, 3, 30)
    features = rng.normal(size=(30, num_features)) + 0.8 * np.eye(3, num_features)[labels]
    expected = np.mean([largest_evidence(features, (labels == name).astype(float)) for name in range(3)])
    assert logme(features, labels) == pytest.approx(expected, abs=1e-5)


def test_logme_prefers_features_that_tell_classes_apart(rng):
    labels = rng.integers(0, 2, 200)
    noise = rng.normal(size=(200, 4))
    blurred, clear = (noise + shift * np.outer(labels, np.ones(4)) for shift in (0.5, 3.0))
    assert logme(noise, labels) < logme(blurred, labels) < logme(clear, labels)


def test_logme_does_not_care_for_the_order_of_samples_or_the_names_of_classes(rng):
    labels, features = rng.integers(0, 3, 50), rng.normal(size=(50, 4))
    order = rng.permutation(50)
    assert logme(features[order], 9 - labels[order]) == pytest.approx(logme(features, labels))


def test_logme_of_one_class_or_of_no_features_is_undefined():
    assert math.isnan(logme(np.ones((5, 2)), np.zeros(5, int)))
    assert math.isnan(logme(np.zeros((4, 2)), np.array([0, 1, 0, 1])))


def test_rank_correlation_equals_scipys(rng):
    for _ in range(20):
        first, second = rng.integers(0, 5, 12).astype(float), rng.normal(size=12)
        assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_rank_correlation_of_what_does_not_vary_is_undefined():
    assert math.isnan(spearman(np.ones(4), np.arange(4.0)))
    assert math.isnan(spearman(np.ones(1), np.ones(1)))


UP, DOWN = (np.arange(4.0), np.arange(4.0)), (np.arange(4.0), -np.arange(4.0))


def test_correlations_are_within_groups_and_averaged():
    """Both groups rise though their means lie otherwise: pooled, the eight points would have a correlation below 0."""
    apart = [(np.arange(4.0), 10 + np.arange(4.0)), (10 + np.arange(4.0), np.arange(4.0))]
    assert mean_spearman(apart) == pytest.approx(1)
    assert spearman(*(np.concatenate(side) for side in zip(*apart, strict=True))) < 0
    assert mean_spearman([UP, UP, DOWN]) == pytest.approx(1 / 3)
    assert mean_spearman([UP, (np.ones(3), np.arange(3.0))]) == pytest.approx(1)
    assert math.isnan(mean_spearman([]))


def test_an_interval_is_narrow_where_all_agree_and_wide_where_they_differ():
    assert spearman_interval([UP, UP], 200, np.random.default_rng(0)) == (pytest.approx(1), pytest.approx(1))
    low, high = spearman_interval([UP, DOWN], 200, np.random.default_rng(0))
    assert (low, high) == (pytest.approx(-1), pytest.approx(1))
    assert all(map(math.isnan, spearman_interval([(np.ones(3), np.arange(3.0))], 50, np.random.default_rng(0))))


def test_an_interval_holds_the_truth_as_often_as_it_says(rng):
    """Six groups of eight pairs of a normal distribution with a Spearman correlation of (6/π) asin(ρ/2), ρ = 0.6.

    Drawn 60 times; a nominal 95 % interval of so few groups may cover less, but not less than four times of five.
    """
    truth, covered = 6 / np.pi * np.arcsin(0.3), 0
    for _ in range(60):
        pairs = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=(6, 8))
        low, high = spearman_interval([(group[:, 0], group[:, 1]) for group in pairs], 100, rng)
        covered += low <= truth <= high
    assert covered >= 48
