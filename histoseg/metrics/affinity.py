"""What two tasks have to do with each other before one is trained on the other, and whether that foretells the gain."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy.stats import rankdata

STEPS = 100  # Of LogME's fixed point; its authors see it converge within a few (You et al. 2021, Sec. 4.3).
TOLERANCE = 1e-6  # Relative change of the ratio of both precisions at which they have converged
LEAST = 1e-12  # In place of a sum of squares that is 0


def gradient_alignment(first: Float[np.ndarray, " P"], second: Float[np.ndarray, " P"]) -> float:
    """Cosine of two tasks' gradients by the weights that they share (Du et al. 2018, Sec. 3).

    Returns:
        1 if a step on one task is the best step for the other, below 0 if it harms it; nan if a gradient is zero.
    """
    lengths = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return float(np.dot(first, second)) / lengths if lengths else float("nan")


def frechet_distance(first: Float64[np.ndarray, "N F"], second: Float64[np.ndarray, "M F"]) -> float:
    """Squared Fréchet distance of the Gaussians of two sets of features (Dowson & Landau 1982; Heusel et al. 2017).

    With centred rows A and B, so that each covariance is A'A, the trace of the root of the covariances' product is the
    sum of the singular values of AB': a matrix of sets, not of features, which may be fewer.

    Raises:
        ValueError: If a set has fewer than two rows, and so no covariance.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"sets of {len(first)} and {len(second)} features: each must have two or more")
    parts = [(rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1) for rows in (first, second)]
    shared = np.linalg.svd(parts[0] @ parts[1].T, compute_uv=False).sum()
    shift = first.mean(axis=0) - second.mean(axis=0)
    return max(0.0, float(shift @ shift + sum((part**2).sum() for part in parts) - 2 * shared))


def scaled_frechet_distance(first: Float64[np.ndarray, "N F"], second: Float64[np.ndarray, "M F"]) -> float:
    """Fréchet distance per feature, each in units of its deviation over both sets: comparable between networks.

    Features that do not vary are left out. nan if none varies.
    """
    both = np.concatenate([first, second])
    deviation = both.std(axis=0)
    varies = deviation > LEAST
    if not varies.any():
        return float("nan")
    scaled = [rows[:, varies] / deviation[varies] for rows in (first, second)]
    return frechet_distance(*scaled) / int(varies.sum())


def logme(features: Float64[np.ndarray, "N F"], labels: Integer[np.ndarray, " N"]) -> float:
    """LogME: log of the maximum evidence of labels given features, per sample (You et al. 2021, Algorithm 1).

    The mean over the classes that occur, each as a regression of "is it this class?" on the features; higher is better.
    nan if fewer than two classes occur or all features are zero.
    """
    classes = np.unique(labels)
    if len(classes) < 2 or not features.any():
        return float("nan")
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    targets = [(labels == name).astype(np.float64) for name in classes]
    return float(np.mean([_evidence(left, singular**2, target, features.shape[1]) for target in targets]))


def _evidence(
    left: Float64[np.ndarray, "N R"], squares: Float64[np.ndarray, " R"], target: Float64[np.ndarray, " N"], width: int
) -> float:
    """Largest log evidence per sample of a linear model, over the precisions of its weights and of its noise.

    `left` and `squares` are the left singular vectors and squared singular values of the features. The fixed point is
    that of MacKay (1992), which You et al. restate.
    """
    projected = (left.T @ target) ** 2
    outside = max(0.0, float(target @ target - projected.sum()))  # Of the target, what no weights reach
    count, alpha, beta = len(target), 1.0, 1.0  # Precisions of the weights and of the noise
    for _ in range(STEPS):
        shrunk, weights, residual = _posterior(projected, squares, outside, alpha / beta)
        before, effective = alpha / beta, float(shrunk.sum())
        alpha = effective / max(weights, LEAST)
        beta = (count - effective) / max(residual, LEAST)
        if abs(alpha / beta - before) <= TOLERANCE * before:
            break
    _, weights, residual = _posterior(projected, squares, outside, alpha / beta)
    determinant = np.log(alpha + beta * squares).sum() + (width - len(squares)) * np.log(alpha)
    fit = count * np.log(beta) + width * np.log(alpha) - count * np.log(2 * np.pi)
    return float((fit - beta * residual - alpha * weights - determinant) / (2 * count))


def _posterior(
    projected: Float64[np.ndarray, " R"], squares: Float64[np.ndarray, " R"], outside: float, ratio: float
) -> tuple[Float64[np.ndarray, " R"], float, float]:
    """How far each direction is fitted, and the squared lengths of the mean weights and of what they leave."""
    shrunk = squares / (ratio + squares)
    weights = float((projected * shrunk**2 / np.maximum(squares, LEAST)).sum())
    return shrunk, weights, outside + float((projected * (1 - shrunk) ** 2).sum())


def spearman(first: Float64[np.ndarray, " N"], second: Float64[np.ndarray, " N"]) -> float:
    """Spearman's rank correlation, ties by their mean rank; nan if one side does not vary or has fewer than two."""
    return float(_spearman_by_row(first[None], second[None])[0])


def _spearman_by_row(
    first: Float64[np.ndarray, "R N"], second: Float64[np.ndarray, "R N"]
) -> Float64[np.ndarray, " R"]:
    ranks = [rankdata(side, axis=1) for side in (first, second)]
    left, right = (side - side.mean(axis=1, keepdims=True) for side in ranks)
    lengths = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    shared = (left * right).sum(axis=1)
    return np.asarray(np.divide(shared, lengths, out=np.full(len(shared), np.nan), where=lengths > 0))


Group = tuple[Float64[np.ndarray, " _"], Float64[np.ndarray, " _"]]  # A measure and a gain of the same predecessors


def mean_spearman(groups: Sequence[Group]) -> float:
    """Mean over groups of the rank correlation within each; groups without one are left out, nan if none has one.

    Within: that one new task is easier than another says nothing of which predecessor helps it.
    """
    found = np.array([spearman(*group) for group in groups])
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def spearman_interval(groups: Sequence[Group], resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile bootstrap interval of `mean_spearman`: groups are drawn again, then the members of each.

    Both levels vary: another set of tasks, and other predecessors (Davison & Hinkley 1997, Sec. 3.8). Resamples without
    a correlation are left out; nan if none has one.
    """
    drawn = rng.integers(len(groups), size=(resamples, len(groups)))
    found = np.full(drawn.shape, np.nan)
    for number, (first, second) in enumerate(groups):
        again = rng.integers(len(first), size=(int((drawn == number).sum()), len(first)))
        found[drawn == number] = _spearman_by_row(first[again], second[again])
    known = found[np.isfinite(found).any(axis=1)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(np.nanmean(known, axis=1), [2.5, 97.5])
    return float(low), float(high)
