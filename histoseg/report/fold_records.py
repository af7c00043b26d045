"""A result record of a run over folds: what a report reads of it, checked and typed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from histoseg.report.fields import Part, count, each, named, number, score, text
from histoseg.report.header import Header, Panel, read_header, read_panel
from histoseg.store.keys import model_folder


class Division(NamedTuple):
    """The folds that a run trains on, the one it is scored on, and its seed: one number of a mean."""

    train: tuple[str, ...]
    test: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """The objects of one whole image: how many match, are found for nothing or missed, and the IoU of the matches."""

    split: str
    structure: str
    source: str
    key: str
    tp: int
    fp: int
    fn: int
    sum_iou: float

    @property
    def pq(self) -> float:
        """Panoptic quality (Kirillov et al. 2019, Eq. 1); nan if neither map has an object."""
        weight = self.tp + (self.fp + self.fn) / 2
        return self.sum_iou / weight if weight else float("nan")


@dataclass(frozen=True, kw_only=True)
class FoldPanel:
    """One test image of a structure; truth and prediction are the image with outlines."""

    structure: str
    source: str
    pictures: Panel


@dataclass(frozen=True, kw_only=True)
class FoldRecord:
    """One network on one division of the folds.

    Attributes:
        scores: By "split.structure.score", as the columns of a `FoldTableSpec`; nan where undefined.
        per_class: Likewise, scores of each class.
        classes: What classes are called, by structure; empty in records that do not say it.
        curve: Pairs of step and loss; `subtyping_curve` those of the decoder for classes of nuclei.
    """

    header: Header
    row: str
    sources: tuple[str, ...]
    division: Division
    scores: Mapping[str, float]
    per_class: Mapping[str, tuple[float, ...]]
    classes: Mapping[str, tuple[str, ...]]
    curve: tuple[tuple[int, float], ...]
    subtyping_curve: tuple[tuple[int, float], ...]
    images: tuple[ScoredImage, ...]
    panels: tuple[FoldPanel, ...]

    @property
    def structures(self) -> tuple[str, ...]:
        """What the network was trained for and scored on."""
        return tuple(dict.fromkeys(column.split(".")[1] for column in self.scores))

    @property
    def model_folder(self) -> str:
        """The store key below which the network lies, as a folder to predict with."""
        return model_folder(self.header.pretraining, self.header.cell)

    @property
    def facts(self) -> Mapping[str, str]:
        """What tells this run from others, for people."""
        return {
            "Row": self.row,
            "Sources": ", ".join(self.sources),
            "Trained on": ", ".join(self.division.train),
            "Scored on": self.division.test,
        }


def from_json(raw: Mapping[str, Any], where: str) -> FoldRecord:
    """The record as read from `where`, for instance its store key.

    Raises:
        DataError: If a field is missing or cannot be; the text names the record and the field.
    """
    whole = Part(raw, where)
    header = read_header(whole)
    run = whole.part("run")
    scores = _by_column(whole)
    return FoldRecord(
        header=header,
        row=run.get("row", text),
        sources=run.get("sources", each(text)),
        division=Division(run.get("train", each(text)), run.get("test", text), header.seed),
        scores={column: value for column, value in scores.items() if isinstance(value, float)},
        per_class={column: value for column, value in scores.items() if isinstance(value, tuple)},
        classes=whole.get("classes", named(each(text))) if "classes" in raw else {},
        curve=whole.points("curve", "step", "loss"),
        subtyping_curve=whole.points("subtyping_curve", "step", "loss"),
        images=tuple(_scored_image(part) for part in whole.parts("images")),
        panels=tuple(_panel(part) for part in whole.parts("panels")),
    )


def _by_column(whole: Part) -> dict[str, float | tuple[float, ...]]:
    return {
        f"{split}.{structure}.{name}": part.get(name, _size if name.startswith("num_") else _score_or_list)
        for split, structures in whole.named_parts("scores").items()
        for structure, part in ((s, structures.part(s)) for s in structures.values)
        for name in part.values
    }


def _size(value: Any) -> float:
    return float(count(value))


def _score_or_list(value: Any) -> float | tuple[float, ...]:
    return each(score)(value) if isinstance(value, list | tuple) else score(value)


def _scored_image(part: Part) -> ScoredImage:
    counts = part.part("counts")
    return ScoredImage(
        **{name: part.get(name, text) for name in ("split", "structure", "source", "key")},
        tp=counts.get("tp", count),
        fp=counts.get("fp", count),
        fn=counts.get("fn", count),
        sum_iou=counts.get("sum_iou", number),
    )


def _panel(part: Part) -> FoldPanel:
    return FoldPanel(structure=part.get("structure", text), source=part.get("source", text), pictures=read_panel(part))
