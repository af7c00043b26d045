"""Scores of segmented slides, read from a folder of results and a folder of truth, as files and as lines."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from histoseg.errors import DataError
from histoseg.scoring._slide_truth import find_truth, read_truth
from histoseg.scoring._slides import OF_REGION, ScoredRegion, pooled_scores, pq_by_class, score_region
from histoseg.scoring._truth_labels import LabelImage
from histoseg.slides.objects import ObjectFile
from histoseg.slides.summary import OBJECTS, list_slides, read_summary
from histoseg.store.objects import Store

FILES = ("regions.csv", "scores.json")
COLUMNS = ("slide", "region", "structure", "left_px", "top_px", "right_px", "bottom_px", "true", "found", "matched")


def score_slides(results: Store, folder: Path, structures: Sequence[str]) -> Iterator[ScoredRegion]:
    """Each region of truth with its scores; of some structures, or of all without a choice.

    Raises:
        DataError: If truth or results cannot be read, or no slide has both.
    """
    truth, finished = find_truth(folder), set(list_slides(results))
    if not finished & truth.keys():
        named, listed = (", ".join(sorted(names)[:5]) or "none" for names in (truth, finished))
        raise DataError(f"{folder} has truth of slides {named}; {results.url} has results of {listed}")
    for name in sorted(finished & truth.keys()):
        yield from _score_slide(results, name, folder, truth[name], structures)


def left_out(results: Store, folder: Path) -> list[str]:
    """The slides with truth but without results."""
    return sorted(find_truth(folder).keys() - {*list_slides(results)})


def _score_slide(
    results: Store, name: str, folder: Path, found: Sequence[Path | LabelImage], structures: Sequence[str]
) -> Iterator[ScoredRegion]:
    summary = read_summary(results, name)
    if summary is None:
        raise DataError(f"{results.url}/{name} lost its summary meanwhile; evaluate again when it is finished")
    file = ObjectFile.open(results, f"{name}/{OBJECTS}")
    for region in read_truth(folder, found, summary):
        if not structures or region.structure in structures:
            yield score_region(file, region, summary.structures[region.structure].classes)


def to_csv(regions: Sequence[ScoredRegion]) -> str:
    """One row for each region and structure; a score that is undefined is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *OF_REGION])
    for region in regions:
        counts, truth = region.image.objects, region.truth
        numbers = (0, 0, 0) if counts is None else (counts.tp + counts.fn, counts.tp + counts.fp, counts.tp)
        place = [f"{side:g}" for side in truth.box]
        scores = [_plain(region.scores.get(name, math.nan)) for name in OF_REGION]
        writer.writerow([truth.slide, truth.name, truth.structure, *place, *numbers, *scores])
    return text.getvalue()


def to_json(regions: Sequence[ScoredRegion]) -> str:
    """Scores over all regions; one that is undefined is null."""
    parts = {"scores": pooled_scores(regions), "pq_by_class": pq_by_class(regions)}
    nulled = {
        part: {name: None if math.isnan(score) else score for name, score in scores.items()}
        for part, scores in parts.items()
    }
    return json.dumps({"regions": len(regions), **nulled}, indent=2, ensure_ascii=False)


def say_scores(regions: Sequence[ScoredRegion]) -> list[str]:
    """A line for each structure: "nuclei: 2 regions, pq_pooled 0.812, …"."""
    scores = pooled_scores(regions)
    lines = []
    for structure in dict.fromkeys(region.truth.structure for region in regions):
        own = [
            f"{key.partition('.')[2]} {score:.3f}" for key, score in scores.items() if key.startswith(f"{structure}.")
        ]
        count = sum(region.truth.structure == structure for region in regions)
        lines.append(f"{structure}: {count} {'region' if count == 1 else 'regions'}, {', '.join(own)}")
    return lines


def _plain(value: float) -> float | str:
    return "" if math.isnan(value) else round(value, 6)
