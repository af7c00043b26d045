"""Counting what mIoU needs: ours against torchmetrics and np.bincount, 8 maps of 768 x 768 pixels, 6 classes.

    python benchmarks/miou.py

Every competitor runs once per round, one after the other, so that a slow moment of the machine hits all of them; a
ratio is taken within a round. All use one thread. Two tables: truth with pixels to ignore, which ours always allows
for, and truth without. "unchecked" are the ways torchmetrics goes faster by trusting its labels; ours never does, so
the goal is set against torchmetrics with its checks on, and the others are printed to be seen.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from _timing import Finding, interleaved, missing, one_thread, print_times, ratios, spread, table

from histoseg.metrics.iou import confusion, miou_pooled
from histoseg.types import IGNORE

NUM_IMAGES, SIDE_PX, NUM_CLASSES, NUM_ROUNDS = 8, 768, 6, 25
GOAL = 10.0


def run() -> list[Finding]:
    """Both kinds of truth; without torchmetrics only np.bincount is there to compare with."""
    return [finding for share in (0.0, 0.02) for finding in compare(share)]


def draw_maps(rng: np.random.Generator, ignored: float) -> tuple[np.ndarray, np.ndarray]:
    """Truth in blocks of 16 pixels, as tissue has regions; a prediction that is wrong in a fifth of the pixels."""
    blocks = rng.integers(0, NUM_CLASSES, (NUM_IMAGES, SIDE_PX // 16, SIDE_PX // 16), dtype=np.uint8)
    blocks[rng.random(blocks.shape) < ignored] = IGNORE
    true = blocks.repeat(16, axis=1).repeat(16, axis=2)
    guess = rng.integers(0, NUM_CLASSES, true.shape, dtype=np.uint8)
    is_guess = (rng.random(true.shape) < 0.2) | (true == IGNORE)
    return true, np.where(is_guess, guess, true)


def count_by_bincount(true: np.ndarray, pred: np.ndarray) -> np.ndarray:
    kept = true != IGNORE
    codes = true[kept].astype(np.int64) * NUM_CLASSES + pred[kept]
    return np.bincount(codes, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, NUM_CLASSES)


def run_torchmetrics(metric: Any, true: torch.Tensor, pred: torch.Tensor) -> np.ndarray:
    metric.reset()
    for image in range(NUM_IMAGES):
        metric.update(pred[image : image + 1], true[image : image + 1])
    return np.asarray(metric.compute())


def by_numpy(true: np.ndarray, pred: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Ours first."""
    return {
        "histoseg": lambda: np.stack([confusion(t, p, NUM_CLASSES) for t, p in zip(true, pred, strict=True)]),
        "np.bincount": lambda: np.stack([count_by_bincount(t, p) for t, p in zip(true, pred, strict=True)]),
    }


def by_torchmetrics(true: np.ndarray, pred: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Every way to ask torchmetrics that could be the fastest."""
    from torchmetrics.classification import (  # type: ignore[import-not-found]  # an optional reference
        MulticlassConfusionMatrix,
        MulticlassJaccardIndex,
    )

    ignore_index = IGNORE if (true == IGNORE).any() else None
    maps = {"8-bit": (torch.from_numpy(true), torch.from_numpy(pred))}
    maps["64-bit"] = (maps["8-bit"][0].long(), maps["8-bit"][1].long())
    calls: dict[str, Callable[[], np.ndarray]] = {}
    for kind in (MulticlassJaccardIndex, MulticlassConfusionMatrix):
        for trust, width in ((False, "64-bit"), (False, "8-bit"), (True, "64-bit"), (True, "8-bit")):
            metric = kind(NUM_CLASSES, validate_args=not trust, ignore_index=ignore_index)
            name = f"torchmetrics {kind.__name__} {width}{' unchecked' if trust else ''}"
            calls[name] = partial(run_torchmetrics, metric, *maps[width])
    return calls


def check_equality(answers: dict[str, np.ndarray]) -> None:
    """Stop unless all count the same; Jaccard is a float32 mean, so it may differ in the seventh digit."""
    ours = answers["histoseg"]
    np.testing.assert_array_equal(answers["np.bincount"], ours)
    for name, answer in answers.items():
        if "ConfusionMatrix" in name:
            np.testing.assert_array_equal(answer, ours.sum(axis=0), err_msg=name)
        elif "Jaccard" in name:
            np.testing.assert_allclose(answer, miou_pooled(ours), rtol=1e-6, err_msg=name)


def compare(ignored: float) -> list[Finding]:
    true, pred = draw_maps(np.random.default_rng(0), ignored)
    part, calls = f"mIoU counts, {100 * ignored:.0f} % ignored", by_numpy(true, pred)
    findings = []
    try:
        calls |= by_torchmetrics(true, pred)
    except ImportError as error:
        findings.append(missing(part, "torchmetrics", error))
    check_equality({name: call() for name, call in calls.items()})
    times = interleaved(calls, NUM_ROUNDS)
    print(f"\n{part}: all answers equal, {NUM_ROUNDS} rounds")
    print_times(times)
    findings.append(Finding(part=part, reference="np.bincount", ratios=ratios(times, "np.bincount")))
    for kind, goal in (("", GOAL), (" unchecked", 0.0)):
        names = [name for name in calls if "torchmetrics" in name and name.endswith("unchecked") == bool(kind)]
        if names:
            fastest = min((ratios(times, name) for name in names), key=lambda values: spread(values)[1])
            findings.append(Finding(part=part, reference=f"the fastest torchmetrics{kind}", ratios=fastest, goal=goal))
    return findings


if __name__ == "__main__":
    one_thread()
    print(table(run()))
