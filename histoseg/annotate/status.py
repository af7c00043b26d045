"""Where the annotation of a data set stands: a line for each round, and whether to stop."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from histoseg.annotate.export import REGIONS
from histoseg.annotate.gain import Rule, gains
from histoseg.annotate.plan import Plan, read_plan
from histoseg.annotate.take_in import imports_of, say_origins
from histoseg.errors import DataError
from histoseg.models.weights import stored_sha256
from histoseg.records.read import read_record
from histoseg.records.schema import Record
from histoseg.store.keys import is_record_key
from histoseg.store.objects import Store


def say_status(rounds: Sequence[Path], newest: str, store: Store | None, score: str, rule: Rule) -> Iterator[str]:
    """Lines about some rounds, the first first.

    `newest` is the SHA-256 of the model that was trained after the last round, empty if there is none. Without a store
    of the models' records there is no score.
    """
    plans = [read_plan(folder) for folder in rounds]
    for folder, plan in zip(rounds, plans, strict=True):
        yield _say_round(folder, plan)
    if store is None:
        return
    models = [*(plan.model.sha256 for plan in plans), *([newest] if newest else [])]
    records = _records_by_model(store)
    scored = [records.get(sha256, []) for sha256 in models]
    scores = [_mean_score(own, score) for own in scored]
    names = [f"before {folder.name}" for folder in rounds] + (["now"] if newest else [])
    for name, value, gain in zip(names, scores, gains(scores), strict=True):
        added = "" if math.isnan(gain) else f", gain {gain:+.3f}"
        yield f"{name}: {score} {value:.3f}{added}" if not math.isnan(value) else f"{name}: not recorded at {store.url}"
    if len({images for own in scored if (images := _images_of(own, score))}) > 1:
        yield (
            f"these models were not scored on the same images, so their {score} cannot be compared; choose a score of"
            " images that the rounds do not add to, as external.nuclei.pq"
        )
    yield _say_rule(scores, rule)


def _say_round(folder: Path, plan: Plan) -> str:
    imports = imports_of(folder)
    done = {name: origin for one in imports for name, origin in one.regions.items()}  # What came last counts.
    is_exported = (folder / REGIONS).is_dir()
    words = [f"{len(plan.regions)} regions, {plan.strategy}", "exported" if is_exported else "not exported"]
    words.append(f"{len(done)} back")
    if imports:
        words.append(say_origins(done))
        words.append("by " + ", ".join(dict.fromkeys(one.by for one in imports)))
    return f"{folder.name}: {'; '.join(words)}"


def _records_by_model(store: Store) -> dict[str, list[Record]]:
    """The records of each model by the SHA-256 of its weights, as rounds use copies of what a run left in the store."""
    found: dict[str, list[Record]] = {}
    for key in filter(is_record_key, store.list("records/")):
        record = read_record(store.get(key), key)
        if record.model and (sha256 := stored_sha256(store, record.model)):
            found.setdefault(sha256, []).append(record)
    return found


def _mean_score(records: Sequence[Record], score: str) -> float:
    """The mean score of a model's records; nan without any."""
    values = [record.scores[score] for record in records if score in record.scores]
    if records and not values:
        raise DataError(f"{records[0].model}: its record has no {score}; choose from {', '.join(records[0].scores)}")
    return sum(values) / len(values) if values else math.nan


def _images_of(records: Sequence[Record], score: str) -> frozenset[tuple[str, str]]:
    """Source and key of the images that a score is of, as "external.nuclei.pq" is of external ones with nuclei."""
    split, *others = score.split(".")
    return frozenset(
        (image.source, image.key)
        for record in records
        for image in record.images
        if (image.split == "external") == (split == "external") and image.structure in ("", *others)
    )


def _say_rule(scores: Sequence[float], rule: Rule) -> str:
    mean = rule.mean_gain(scores)
    said = f"annotation stops where the mean gain over {rule.last_rounds} rounds is below {rule.least_gain:g}"
    if math.isnan(mean):
        return (
            f"go on: {said}; that needs the scores of the newest model and of the one {rule.last_rounds} rounds before"
        )
    return f"{'stop' if rule.is_over(scores) else 'go on'}: it is {mean:+.4f}; {said}"
