"""What Cerberus' tables have in common in print."""

from collections.abc import Mapping, Sequence

SPLITS = {"test": "Cross-validation", "external": "External test set"}
ON_SCORES = (
    "PQ and Dice are computed for each image and averaged (Cerberus, Sec. 4.2). “Otsu” is the PQ of Otsu's threshold "
    "and connected pixels: a network near it has learned little."
)
ON_WEIGHTS = (
    "At the scales laptop and real-cpu no ImageNet weights are used: rows that name them start from random numbers."
)
NOTES = (
    "Mean ± standard deviation over three divisions of the folds (and seeds): trained on one fold, scored on another, "
    "which the training has not seen. The network is the one after the last step; nothing is chosen on a score.",
    ON_SCORES,
    "The paper's glands and lumina of DigestPath and TCGA, and its external test set, were never published: its "
    "numbers stand beside ours for orientation, not as a target for the public part of its data.",
    ON_WEIGHTS,
)


def blocks(structures: Sequence[str], scores: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """A block for cross-validation and one for the external test set, with a column for each structure and score."""
    return {
        title: {
            f"{split}.{structure}.{score}": f"{structure.capitalize()} {name}"
            for structure in structures
            for score, name in scores.items()
        }
        for split, title in SPLITS.items()
    }
