"""Made-up records of both papers' experiments and of a third kind, for tests and for looking at a page.

Numbers of `make_record` follow from confusion matrices that are drawn at random; those of `make_fold_record` are given.
"""

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from histoseg.metrics import iou
from histoseg.records.schema import Counts, Panel, Point, Record, ScoredImage, StageRecord

CLASSES = {
    "breastpathq": ("background", "malignant epithelial", "normal epithelial", "lymphocyte"),
    "monuseg": ("background", "nucleus"),
    "glas": ("background", "gland"),
    "digestpath": ("background", "lesion"),
}
COLOURS = ("#16191d", "#E69F00", "#56B4E9", "#009E73")
FOLDS = ("fold1", "fold2", "fold3")


def hexadecimal(*parts: object, length: int = 16) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:length]


def rng_of(*parts: object) -> np.random.Generator:
    return np.random.default_rng(int(hexadecimal(*parts), 16))


def describe_run(name: str, sources: Sequence[str], origin: str = "demo") -> dict[str, Any]:
    """What records of both kinds say of their run."""
    return {
        "name": name,
        "scale": "laptop",
        "run": {},
        "sources": tuple(sources),
        "checksums": {source: hexadecimal("shards", source, length=64) for source in sources},
        "origins": dict.fromkeys(sources, origin),
        "git_commit": hexadecimal("commit", length=40),
        "versions": {"histoseg": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        "device": "cpu",
        "world_size": 1,
        "gpu_seconds": 0.0,
        "finished_at": "2026-03-01T12:00:00Z",
    }


def make_record(
    new_task: str = "glas",
    column: str = "monuseg",
    method: str = "maml",
    *,
    seed: int = 0,
    quality: float = 0.8,
    num_images: int = 6,
    origin: str = "demo",
    with_panels: bool = False,
    **scores: float,
) -> Record:
    """A record of a run that leaves one task out; `scores` overrule what follows from the confusion matrices."""
    counts = confusions(new_task, quality, num_images, seed)
    others = tuple(name for name in ("gleason2019", *CLASSES) if name != new_task)
    predecessors = others if column == "all_others" else (column,)
    name = hexadecimal("run", new_task, column, method, seed)
    found = scores_of(counts, seed) | scores
    pretraining = hexadecimal("pretraining", method, predecessors, seed)
    return Record(
        **describe_run(name, (*predecessors, new_task), origin),
        experiment="table1",
        row=new_task,
        column=f"{column}.{method}",
        replicate=f"seed {seed}",
        seed=seed,
        stages=(
            StageRecord(stage=pretraining, label="pretrain", curve=falling(column, method, seed), best_step=2950),
            StageRecord(
                stage=hexadecimal("refining", pretraining, new_task),
                label="refine",
                curve=rising(new_task, column, method, seed, found["miou_pooled"]),
                best_step=7,
            ),
        ),
        scores=found,
        per_class={"iou": dict(zip(CLASSES[new_task], iou.iou_per_class(counts).tolist(), strict=True))},
        sizes={"images": num_images, "pixels": int(counts.sum())},
        images=tuple(scored_image(new_task, i, counts[i]) for i in range(num_images)),
        panels=(class_panel(new_task, name),) if with_panels else (),
        model=f"runs/{hexadecimal('refining', pretraining, new_task)}/model",
        seconds={"pretrain": 61.5, "refine": 20.25, "evaluate": 4.0},
    )


def scored_image(source: str, i: int, confusion: np.ndarray) -> ScoredImage:
    return ScoredImage(
        split="test",
        source=source,
        key=f"{source}-{i:03d}",
        patient=f"p{i}",
        confusion=tuple(map(tuple, confusion.tolist())),
    )


def scores_of(counts: np.ndarray, seed: int) -> dict[str, float]:
    """The scores of confusion matrices, with the interval that the seed draws."""
    low, high = iou.bootstrap_interval(counts, 200, np.random.default_rng(seed))
    return {
        "miou_pooled": iou.miou_pooled(counts),
        "miou_reference": iou.miou_reference(counts),
        "miou_present": iou.miou_present(counts),
        "majority_miou_pooled": iou.majority_miou(counts, 0),
        "interval_low": low,
        "interval_high": high,
    }


def confusions(new_task: str, quality: float, num_images: int, seed: int) -> np.ndarray:
    """Per-image counts of a predictor that is right with that probability, for every class."""
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


def falling(*parts: object) -> tuple[Point, ...]:
    noise = rng_of("falling", *parts).normal(0, 0.03, 60)
    return tuple(Point(step=50 * i, loss=float(0.25 + 0.7 * np.exp(-i / 15) + noise[i])) for i in range(60))


def rising(*parts: Any) -> tuple[Point, ...]:
    noise = rng_of("rising", *parts[:-1]).normal(0, 0.01, 12)
    values = np.clip(parts[-1] * (1 - 0.6 * np.exp(-np.arange(12) / 2)) + noise, 0, 1)
    return tuple(Point(step=i, loss=1.0 / (i + 1), score=float(value)) for i, value in enumerate(values))


def class_panel(new_task: str, name: str) -> Panel:
    legend = dict(zip(CLASSES[new_task], COLOURS, strict=False))
    return Panel(
        source=new_task,
        key=f"{new_task}-000",
        score=0.75,
        image=f"panels/{new_task}-000/image.png",
        truth=f"panels/{new_task}-000/truth.png",
        prediction=f"panels/{new_task}-000/{name}.png",
        legend={**legend, "not annotated": "#8a8f96"},
    )


def fold_scores(families: Sequence[str], pq: float, otsu: float) -> tuple[dict[str, float], dict[str, int]]:
    """The scores of each split and structure, and over how much they are."""
    scores: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for family in families:
        is_tissue = family.endswith("tissue")
        own = {"map": pq, "mf1": 0.4} if is_tissue else {"pq": pq, "dice": 0.7, "otsu_pq": otsu}
        scores |= {f"{family}.{score}": value for score, value in own.items()}
        sizes |= {f"{family}.images": 30} if is_tissue else {f"{family}.images": 4, f"{family}.objects": 40}
    return scores, sizes


def make_fold_record(
    row: str = "together",
    i: int = 0,
    *,
    seed: int = 0,
    structures: Sequence[str] = ("gland", "lumen"),
    pq: float = 0.5,
    otsu: float = 0.1,
    external: bool = True,
    **changes: Any,
) -> Record:
    """The record of a row trained on the fold numbered `i`; `pq` is that of every structure and split."""
    train, test = FOLDS[i], FOLDS[(i + 2) % 3]
    sources = tuple(f"source_{structure}" for structure in structures)
    name = hexadecimal("run", row, structures, i, seed)
    stage = hexadecimal("training", row, structures, i, seed)
    drawn = [structure for structure in structures if structure != "tissue"]
    families = [f"test.{structure}" for structure in structures]
    families += [f"external.{structure}" for structure in drawn if external]
    scores, sizes = fold_scores(families, pq, otsu)
    record = Record(
        **describe_run(name, sources),
        experiment="cerberus_table3",
        row=row,
        replicate=f"{train} to {test}, seed {seed}",
        seed=seed,
        stages=(StageRecord(stage=stage, label="train", curve=falling(row, i, seed), best_step=2950),),
        scores=scores,
        per_class={"test.tissue.ap": {"background": 0.25, "stroma": 0.75, "adipose": float("nan")}}
        if "tissue" in structures
        else {},
        sizes=sizes,
        images=tuple(
            ScoredImage(
                split=test,
                source=f"source_{structure}",
                key=f"{structure}-000",
                patient="p0",
                structure=structure,
                objects=Counts(tp=6, fp=2, fn=6, sum_iou=4.5),
            )
            for structure in drawn
        ),
        panels=tuple(object_panel(structure, name) for structure in drawn),
        model=f"runs/{stage}/model",
        seconds={"train": 30.0, "evaluate": 2.0},
    )
    return record.model_copy(update=changes)


def object_panel(structure: str, name: str) -> Panel:
    folder = f"records/cerberus_table3/panels/{name}/{structure}-000"
    return Panel(
        source=f"source_{structure}",
        key=f"{structure}-000",
        structure=structure,
        score=0.45,
        image=f"{folder}-image.png",
        truth=f"{folder}-truth.png",
        prediction=f"{folder}-prediction.png",
    )


def shots_record(row: str, column: str, accuracy: float, seed: int = 0) -> Record:
    """Of the third kind of experiment: the record of one run, with a score of another name."""
    return make_record().model_copy(
        update={
            "name": hexadecimal(row, column, seed),
            "experiment": "shots",
            "row": row,
            "column": column,
            "replicate": f"seed {seed}",
            "stages": (StageRecord(stage=hexadecimal("training", row, column, seed), label="train"),),
            "scores": {"accuracy": accuracy},
            "per_class": {},
        }
    )


SHOTS_RECORDS = (
    shots_record("scratch", "shots2", 0.5),
    shots_record("scratch", "shots10", 0.7),
    shots_record("scratch", "shots10", 0.9, seed=1),
    shots_record("frozen", "shots2", 0.7),
    shots_record("frozen", "shots10", 0.9),
)


def read_class_panel(key: str, side_px: int = 96) -> bytes:
    """Stands for a store: tissue-like blobs, their classes painted, and the same moved a little as prediction."""
    new_task, kind = key.split("/")[1].rpartition("-")[0], key.rpartition("/")[2]
    rng = rng_of("tissue", new_task)
    rows, columns = np.mgrid[:side_px, :side_px]
    truth = np.zeros((side_px, side_px), np.uint8)
    for i in range(14):
        row, column = rng.integers(0, side_px, 2)
        radius = rng.uniform(0.04, 0.14) * side_px
        truth[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = 1 + i % (len(CLASSES[new_task]) - 1)
    if kind == "image.png":
        colours = np.array([(233, 213, 228), (120, 70, 150), (176, 96, 158), (70, 50, 110)], np.float64)
        shaded = colours[truth] + rng.normal(0, 9, (side_px, side_px, 1))
        return to_png(np.clip(shaded, 0, 255).astype(np.uint8))
    if kind != "truth.png":
        truth = np.roll(truth, rng_of("shift", key).integers(-4, 5, 2), (0, 1))
    return to_png(np.array([tuple(bytes.fromhex(colour[1:])) for colour in COLOURS], np.uint8)[truth])


def read_object_panel(key: str) -> bytes:
    """Stands for a store: a picture of one colour that depends on the key."""
    return to_png(np.full((60, 90, 3), rng_of(key).integers(0, 256, 3), np.uint8))


def to_png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()
