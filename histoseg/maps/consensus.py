"""Several raters' label maps as one: STAPLE and the majority vote.

Both give a pixel the same label wherever the raters vote the same, so each works on the distinct patterns of votes
(a few hundred for six raters of a core of 26 million pixels) and looks the pixels up at the end.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, Int64, UInt8, UInt32

from histoseg.types import IGNORE, SemanticMap

RaterMaps = Sequence[UInt8[np.ndarray, "_ _"]]  # Of one size, which `_decide` sees to with a clearer message.
Votes = Int64[np.ndarray, "P R"]  # P distinct patterns, each the labels that R raters gave.
Counts = Int64[np.ndarray, " P"]  # How many pixels have each pattern.
Codes = UInt32[np.ndarray, "H W"]  # Which pattern each pixel has.

# ITK stops once no confusion entry moves by more: its 1e-5 is held as a 32-bit float, which we repeat.
UPDATE_THRESHOLD = float(np.float32(1e-5))
MAX_PATTERNS = 1 << 16  # Above this many possible patterns those that no pixel has are dropped, to bound the tables.
ROWS_PER_BLOCK = 256  # Counting turns labels into 64-bit integers; by blocks that stays below 11 MB at 5120 px.


def staple(maps: RaterMaps, num_classes: int) -> SemanticMap:
    """The labels most likely true if each rater errs in his own way; IGNORE where several are equally likely.

    Expectation maximisation for the raters' confusion matrices (STAPLE: Warfield et al. 2004; for several
    labels: Rohlfing et al. 2004, "Performance-based classifier combination in atlas-based image segmentation using
    expectation-maximization parameter estimation"). It gives the labels of ITK's `MultiLabelSTAPLEImageFilter`, whose
    choices where the papers leave any are: priors are the share of each label among all votes; matrices start from
    the majority vote, with ties as in `_start`; it ends when no entry moves by 1e-5.

    Raises:
        ValueError: If no map is given, the maps differ in size, or a label is not below `num_classes`.
    """
    return _decide(maps, num_classes, _fit)


def majority(maps: RaterMaps, num_classes: int) -> SemanticMap:
    """The label that most raters gave; IGNORE where two labels have as many votes."""
    return _decide(maps, num_classes, lambda votes, _, num_classes: _tally(votes, num_classes))


def _decide(maps: RaterMaps, num_classes: int, weigh: Callable[[Votes, Counts, int], np.ndarray]) -> SemanticMap:
    """The labels of largest weight, where `weigh` gives each pattern's weight for each label."""
    if not maps:
        raise ValueError("no maps given: a consensus needs at least one")
    if len(sizes := {rater_map.shape for rater_map in maps}) > 1:
        raise ValueError(f"the maps have sizes {sorted(sizes)}; they must be of one size")
    if not 1 <= num_classes <= IGNORE:
        raise ValueError(f"num_classes is {num_classes}; it must be within 1 and {IGNORE}")
    if (highest := max(int(rater_map.max(initial=0)) for rater_map in maps)) >= num_classes:
        raise ValueError(f"a map has label {highest}; labels must be below num_classes = {num_classes}")
    codes, votes, counts = _count_patterns(maps, num_classes)
    seen = counts > 0
    table = np.full(len(seen), IGNORE, np.uint8)
    table[seen] = _winner(weigh(votes[seen], counts[seen], num_classes))
    decided: SemanticMap = table[codes]
    return decided


def _count_patterns(maps: RaterMaps, num_classes: int) -> tuple[Codes, Votes, Int64[np.ndarray, " P"]]:
    """Each pixel's pattern, the patterns' votes, and how many pixels have each (0 for some)."""
    labels = np.arange(num_classes)
    codes, votes = maps[0].astype(np.uint32), labels[:, None]
    for rater_map in maps[1:]:
        if len(votes) * num_classes > MAX_PATTERNS:
            codes, votes = _drop_unseen(codes, votes)
        codes *= np.uint32(num_classes)
        codes += rater_map
        votes = np.column_stack([np.repeat(votes, num_classes, axis=0), np.tile(labels, len(votes))])
    return codes, votes, _count(codes, len(votes))


def _drop_unseen(codes: Codes, votes: Votes) -> tuple[Codes, Int64[np.ndarray, "S R"]]:
    """The same with only those patterns that some pixel has."""
    seen = _count(codes, len(votes)) > 0
    renumbered = np.cumsum(seen, dtype=np.uint32) - np.uint32(1)
    return renumbered[codes], votes[seen]


def _count(codes: Codes, num_patterns: int) -> Int64[np.ndarray, " P"]:
    counts = np.zeros(num_patterns, np.int64)
    for top in range(0, len(codes), ROWS_PER_BLOCK):
        counts += np.bincount(codes[top : top + ROWS_PER_BLOCK].ravel(), minlength=num_patterns)
    return counts


def _fit(votes: Votes, counts: Int64[np.ndarray, " P"], num_classes: int) -> Float64[np.ndarray, "P C"]:
    """Each pattern's weight for each true label, once the confusion matrices stand still."""
    prior = _tally(votes, num_classes).T @ counts / (counts.sum() * votes.shape[1])
    confusion = _start(votes, counts, num_classes)
    while True:
        updated = _update(votes, counts, _weigh(votes, prior, confusion))
        moved = np.abs(updated - confusion).max()
        confusion = updated
        if moved < UPDATE_THRESHOLD:
            return _weigh(votes, prior, confusion)


def _tally(votes: Votes, num_classes: int) -> Float64[np.ndarray, "P C"]:
    """How many raters gave each label."""
    tally: Float64[np.ndarray, "P C"] = (votes[:, :, None] == np.arange(num_classes)).sum(axis=1).astype(np.float64)
    return tally


def _start(votes: Votes, counts: Int64[np.ndarray, " P"], num_classes: int) -> Float64[np.ndarray, "R V C"]:
    """Confusion matrices (rater, vote, true label) if the majority were right; each row sums to 1.

    Two peculiarities of ITK decide which optimum is reached, so we repeat them. These matrices are normalised over
    the true label, all later ones over the vote. And up to ITK 5.4 a pixel with a tied majority is counted for the
    vote *above* the rater's and the true label 0: the label that marks ties is one past the end of the row. The
    last row exists only for that; no rater can vote so.
    """
    winner = _winner(_tally(votes, num_classes))
    truth = (winner[:, None] == np.arange(num_classes)).astype(np.float64)
    joint = _joint(votes, counts, truth)
    tied = winner == IGNORE
    for rater, matrix in enumerate(joint):
        np.add.at(matrix[:, 0], votes[tied, rater] + 1, counts[tied])
    return _divide(joint, axis=2)


def _weigh(
    votes: Votes, prior: Float64[np.ndarray, " C"], confusion: Float64[np.ndarray, "R V C"]
) -> Float64[np.ndarray, "P C"]:
    """Prior times each rater's probability of his vote (the E step of Warfield et al. 2004), not normalised.

    The factors are multiplied in the order of the raters, as ITK does: ties depend on the last bit.
    """
    weights = np.tile(prior, (len(votes), 1))
    for rater, matrix in enumerate(confusion):
        weights *= matrix[votes[:, rater]]
    return weights


def _update(
    votes: Votes, counts: Int64[np.ndarray, " P"], weights: Float64[np.ndarray, "P C"]
) -> Float64[np.ndarray, "R V C"]:
    """The confusion matrices that fit the weights best (the M step of Warfield et al. 2004); columns sum to 1."""
    return _divide(_joint(votes, counts, _divide(weights, axis=1)), axis=1)


def _joint(
    votes: Votes, counts: Int64[np.ndarray, " P"], truth: Float64[np.ndarray, "P C"]
) -> Float64[np.ndarray, "R V C"]:
    """How many pixels have each rater's vote together with each true label."""
    num_classes = truth.shape[1]
    mass = counts[:, None] * truth
    joint = np.zeros((votes.shape[1], num_classes + 1, num_classes))
    for rater in range(votes.shape[1]):
        np.add.at(joint[rater], votes[:, rater], mass)
    return joint


def _divide(values: np.ndarray, *, axis: int) -> np.ndarray:
    """The values as shares of their sum along the axis; what sums to 0 stays 0."""
    total = values.sum(axis=axis, keepdims=True)
    shares: np.ndarray = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    return shares


def _winner(weights: Float64[np.ndarray, "P C"]) -> UInt8[np.ndarray, " P"]:
    """The label of largest weight, or IGNORE where two share it or all are 0 (as ITK decides)."""
    highest = weights.max(axis=1, keepdims=True)
    decided = ((weights == highest).sum(axis=1) == 1) & (highest[:, 0] > 0)
    return np.where(decided, weights.argmax(axis=1), IGNORE).astype(np.uint8)
