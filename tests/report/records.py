"""Made-up result records, for tests and for looking at a page. Their numbers follow from the confusions they hold."""

import hashlib
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

CLASSES = {
    "breastpathq": ("background", "malignant epithelial", "normal epithelial", "lymphocyte"),
    "monuseg": ("background", "nucleus"),
    "glas": ("background", "gland"),
    "digestpath": ("background", "lesion"),
}
TITLES = {
    "breastpathq": "BreastPathQ",
    "monuseg": "MoNuSeg",
    "glas": "Gland segmentation (GlaS)",
    "digestpath": "DigestPath",
}


def hexadecimal(*parts: object, length: int = 16) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:length]


def rng_of(*parts: object) -> np.random.Generator:
    return np.random.default_rng(int(hexadecimal(*parts), 16))


def confusions(new_task: str, quality: float, num_images: int, seed: int) -> np.ndarray:
    """Per-image counts of a predictor that is right with that probability, whatever the class."""
    num_classes = len(CLASSES[new_task])
    rng = rng_of(new_task, seed, round(quality, 6))
    shares = rng.dirichlet(np.linspace(4, 1, num_classes), num_images)
    counts = np.zeros((num_images, num_classes, num_classes), np.int64)
    for image, share in enumerate(shares):
        right = np.clip(rng.normal(quality, 0.08), 0.02, 0.98)
        spread = np.full((num_classes, num_classes), (1 - right) / (num_classes - 1))
        np.fill_diagonal(spread, right)
        counts[image] = np.round(share[:, None] * spread * 768**2)
    return counts


def make_record(
    new_task: str = "glas",
    column: str = "monuseg",
    method: str = "maml",
    *,
    seed: int = 0,
    miou: float | None = None,
    interval: tuple[float, float] | None = None,
    quality: float = 0.8,
    num_images: int = 6,
    origin: str = "demo",
    with_panels: bool = False,
) -> dict[str, Any]:
    """A record as evaluation writes it; `miou` and `interval` overrule what follows from the confusions."""
    from histoseg.metrics import iou

    counts = confusions(new_task, quality, num_images, seed)
    others = tuple(name for name in ("gleason2019", *CLASSES) if name != new_task)
    predecessors = others if column == "all_others" else (column,)
    sources = (*predecessors, new_task)
    cell = hexadecimal("cell", new_task, column, method, seed)
    low, high = interval or iou.bootstrap_interval(counts, 200, np.random.default_rng(seed))
    scores = {
        "miou_pooled": iou.miou_pooled(counts) if miou is None else miou,
        "miou_reference": iou.miou_reference(counts),
        "miou_present": iou.miou_present(counts),
        "interval": [low, high],
        "per_class": iou.iou_per_class(counts).tolist(),
        "majority_miou_pooled": iou.majority_miou(counts, 0),
    }
    run = {
        "experiment": "table1",
        "scale": "laptop",
        "method": {"name": method},
        "predecessors": list(predecessors),
        "new_task": new_task,
        "column": column,
        "seed": seed,
    }
    return {
        **make_header(run, cell, hexadecimal("pretraining", method, predecessors, seed), sources, origin),
        "seconds": {"pretrain": 61.5, "refine": 20.25, "evaluate": 4.0},
        "task": {"name": new_task, "title": TITLES[new_task], "classes": list(CLASSES[new_task])},
        "best_epoch": 7,
        "pretrain_curve": [{"step": step, "loss": loss} for step, loss in falling(column, method, seed)],
        "refine_curve": [
            {"epoch": epoch, "loss": 1.0 / (epoch + 1), "val_miou": value}
            for epoch, value in _rising(new_task, column, method, seed, scores["miou_pooled"])
        ],
        "majority_class": 0,
        "test_images": [
            {"key": f"{new_task}-{i:03d}", "patient": f"p{i}", "confusion": counts[i].tolist()}
            for i in range(num_images)
        ],
        "scores": scores,
        "panels": _panels(new_task, cell) if with_panels else [],
    }


def make_header(run: Any, cell: str, pretraining: str, sources: Iterable[str], origin: str) -> dict[str, Any]:
    """What records of every kind say of their run, but for the time it took."""
    return {
        "format": 1,
        "cell": cell,
        "run": run,
        "pretraining": pretraining,
        "checksums": {name: hexadecimal("shards", name, length=64) for name in sources},
        "origins": dict.fromkeys(sources, origin),
        "git_commit": hexadecimal("commit", length=40),
        "versions": {"histoseg": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        "device": "cpu",
        "world_size": 1,
        "gpu_seconds": 0.0,
        "finished_at": "2026-03-01T12:00:00Z",
    }


def falling(*parts: object) -> Iterable[tuple[int, float]]:
    rng = rng_of("falling", *parts)
    noise = rng.normal(0, 0.03, 60)
    return [(50 * i, float(0.25 + 0.7 * np.exp(-i / 15) + noise[i])) for i in range(60)]


def _rising(*parts: Any) -> Iterable[tuple[int, float]]:
    rng = rng_of("rising", *parts[:-1])
    values = parts[-1] * (1 - 0.6 * np.exp(-np.arange(12) / 2)) + rng.normal(0, 0.01, 12)
    return [(i, float(value)) for i, value in enumerate(np.clip(values, 0, 1))]


def _panels(new_task: str, cell: str) -> list[dict[str, str]]:
    return [
        {
            "key": f"{new_task}-000",
            "image": f"panels/{new_task}-000/image.png",
            "truth": f"panels/{new_task}-000/truth.png",
            "prediction": f"panels/{new_task}-000/{cell}.png",
        }
    ]


def read_panel(key: str, side_px: int = 96) -> bytes:
    """Stands for a store: tissue-like blobs whose map is the truth, and the truth with holes as prediction."""
    new_task, kind = key.split("/")[1].rpartition("-")[0], key.rpartition("/")[2]
    num_classes = len(CLASSES[new_task])
    rng = rng_of("tissue", new_task)
    rows, columns = np.mgrid[:side_px, :side_px]
    truth = np.zeros((side_px, side_px), np.uint8)
    for i in range(14):
        row, column = rng.integers(0, side_px, 2)
        radius = rng.uniform(0.04, 0.14) * side_px
        truth[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = 1 + i % (num_classes - 1)
    if kind == "truth.png":
        truth[: side_px // 12] = 255  # IGNORE: a margin nobody annotated.
        return to_png(truth)
    if kind == "image.png":
        colours = np.array([(233, 213, 228), (120, 70, 150), (176, 96, 158), (70, 50, 110)], np.float64)
        shaded = colours[truth] + rng.normal(0, 9, (side_px, side_px, 1))
        return to_png(np.clip(shaded, 0, 255).astype(np.uint8))
    shift = rng_of("shift", key).integers(-4, 5, 2)
    return to_png(np.roll(truth, shift, (0, 1)))


def to_png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()
