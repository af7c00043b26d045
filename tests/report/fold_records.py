"""Made-up records of runs over folds, and the spec of a small table of them."""

from typing import Any

import numpy as np

from tests.report.records import falling, hexadecimal, make_header, rng_of, to_png

FOLDS = ("fold1", "fold2", "fold3")
CLASSES = ("background", "stroma", "adipose")


def make_fold_spec(**changes):
    """Two rows of ours and one that is only quoted; PQ of glands and lumina, and classes of tissue."""
    from histoseg.report.fold_spec import FoldTableSpec

    fields = {
        "title": "A made-up table",
        "rows": {"alone": "Alone", "quoted": "Quoted-Net", "together": "Together"},
        "blocks": {
            "Cross-validation": {
                "test.gland.pq": "Gland PQ",
                "test.lumen.pq": "Lumen PQ",
                "test.tissue.map": "Tissue mAP",
            },
            "External test set": {"external.gland.pq": "Gland PQ"},
        },
        "paper": {
            ("alone", "test.gland.pq"): (0.622, 0.03),
            ("quoted", "test.gland.pq"): (0.647, 0.046),
            ("together", "test.gland.pq"): (0.677, 0.028),
        },
        "citation": "Somebody (2023), Table 3",
        "paper_only": frozenset({"quoted"}),
        "notes": ("A note <to> be read.",),
    }
    return FoldTableSpec(**{**fields, **changes})


def make_fold_record(row="together", i=0, *, seed=0, structures=("gland", "lumen"), pq=0.5, otsu=0.1, **changes):
    """The record of a row trained on the fold numbered `i`; `pq` is that of every structure and split."""
    train, test = FOLDS[i], FOLDS[(i + 2) % 3]
    sources = tuple(f"source_{structure}" for structure in structures)
    cell = hexadecimal("cell", row, structures, i, seed)
    run = {
        "experiment": "cerberus_table3",
        "scale": "laptop",
        "row": row,
        "sources": list(sources),
        "train": [train],
        "test": test,
        "seed": seed,
    }
    objects = {"pq": pq, "dice": 0.7, "otsu_pq": otsu, "num_images": 4, "num_objects": 40}
    tissue = {"map": pq, "mf1": 0.4, "ap_per_class": [0.25, 0.75, None], "num_images": 30}
    scores = {structure: tissue if structure == "tissue" else objects for structure in structures}
    drawn = [structure for structure in structures if structure != "tissue"]
    record: dict[str, Any] = {
        **make_header(run, cell, hexadecimal("training", row, structures, i, seed), sources, "demo"),
        "seconds": {"pretrain": 30.0, "subtyping": 0.0, "evaluate": 2.0},
        "curve": [{"step": step, "loss": loss} for step, loss in falling(row, i, seed)],
        "subtyping_curve": [],
        "classes": {"tissue": list(CLASSES)},
        "scores": {"test": scores, "external": {name: scores[name] for name in drawn}},
        "images": [_image(structure, test) for structure in drawn],
        "panels": [_panel(structure, cell) for structure in drawn],
    }
    return {**record, **changes}


def _image(structure: str, fold: str) -> dict[str, Any]:
    return {
        "split": fold,
        "structure": structure,
        "source": f"source_{structure}",
        "key": f"{structure}-000",
        "patient": "p0",
        "counts": {"tp": 6, "fp": 2, "fn": 6, "sum_iou": 4.5},
    }


def _panel(structure: str, cell: str) -> dict[str, str]:
    names = {name: f"records/panels/{cell}/{structure}-000-{name}.png" for name in ("image", "truth", "prediction")}
    return {"key": f"{structure}-000", "structure": structure, "source": f"source_{structure}", **names}


def read_fold_panel(key: str) -> bytes:
    """Stands for a store: a picture of one colour that depends on the key."""
    return to_png(np.full((60, 90, 3), rng_of(key).integers(0, 256, 3), np.uint8))


def load_folds(*raws):
    from histoseg.report.fold_records import from_json

    return [from_json(raw, raw["cell"]) for raw in raws]
