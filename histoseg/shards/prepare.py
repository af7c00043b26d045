"""All sources of an experiment from raw files to shards; those that share folds are divided together.

Folds are decided before anything is written: all images are compared by patient, by name and by picture, and images of
the same tissue share a fold. Assignments are kept in the store, so that a source added later moves no patient.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, RootModel, ValidationError

from histoseg.errors import ConfigError, DataError, MissingSourceError
from histoseg.runs.plain import digest
from histoseg.shards.entries import find_entries, option_names, stamps
from histoseg.shards.fingerprint import Fingerprint, fingerprint
from histoseg.shards.folds import assign_folds, find_leaks, find_missing_classes
from histoseg.shards.index import SourceIndex
from histoseg.shards.same_tissue import find_same_tissue
from histoseg.shards.tar import checked
from histoseg.shards.writer import Recipe, write_shards
from histoseg.sources._declared import load_source
from histoseg.store.keys import FOLD_ASSIGNMENTS, fingerprints_key
from histoseg.store.objects import Store
from histoseg.types import EXTERNAL, FOLDS, Entry, Split

logger = logging.getLogger(__name__)

Content = TypeVar("Content", bound=BaseModel)

IMAGES_PER_JOB = 32


class Assignments(RootModel[dict[str, Split]]):
    """The fold of each patient, as "source/patient"."""


class Fingerprints(RootModel[list[Fingerprint]]):
    """The fingerprints of a source's images, in the order of its entries."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the store holds after preparing.

    Attributes:
        omissions: Which sources were left out and why, a sentence each.
        faulty: Those whose files are there, but not as published.
    """

    indexes: Mapping[str, SourceIndex]
    omissions: tuple[str, ...]
    faulty: tuple[str, ...]


def prepare_sources(
    sources: Sequence[str], raw: Path, store: Store, recipe: Recipe, pool: Executor, *, strict: bool = False
) -> Prepared:
    """Write the shards of every source that a folder holds; whole shards that are there already are kept.

    Unless `strict`, a source that is missing or whose files are not as published is left out with a reason, and sources
    without an option ignore it.

    Raises:
        DataError: If the folder holds none of them, or tissue would be in two folds.
        ConfigError: If the folder does not exist, or the recipe contradicts itself.
    """
    _require_folds(sources, recipe)
    options = {source: _options_of(source, recipe, strict=strict) for source in sources}
    if unknown := set(recipe.options).difference(*options.values()):
        raise ConfigError(f"no source of {', '.join(sources)} has an option {min(unknown)}")
    omissions: dict[str, DataError] = {}
    entries: dict[str, list[Entry]] = {}
    prints: dict[str, Fingerprint] = {}
    indexes: dict[str, SourceIndex] = {}
    for source in sources:
        with _leaving_out(source, omissions, strict=strict):
            found = find_entries(load_source(source, recipe.declared), raw, options[source])
            prints |= _fingerprints(source, found, raw, store, pool, recipe.declared) if recipe.data.folds else {}
            entries[source] = found
    folds = divide(entries, prints, store, recipe.unbound) if recipe.data.folds and entries else {}
    for source in entries:
        own = {name.removeprefix(f"{source}/"): fold for name, fold in folds.items() if name.startswith(f"{source}/")}
        with _leaving_out(source, omissions, strict=strict):
            indexes[source] = write_shards(
                source, raw, store, replace(recipe, options=options[source], folds=own), pool
            )
    if not indexes:
        raise DataError(f"{raw} holds none of {', '.join(sources)}; `histoseg list` names the sources")
    for line in _missing_classes(indexes) if recipe.data.folds else ():
        logger.warning("%s", line)
    return Prepared(
        indexes=indexes,
        omissions=tuple(_say_omission(source, error) for source, error in omissions.items()),
        faulty=tuple(source for source, error in omissions.items() if not isinstance(error, MissingSourceError)),
    )


def _options_of(source: str, recipe: Recipe, *, strict: bool) -> Mapping[str, str]:
    """The options that a source is read with."""
    if strict or not recipe.options:
        return recipe.options
    try:
        choices = option_names(load_source(source, recipe.declared))
    except DataError:  # It is left out, for this reason.
        return {}
    return {name: value for name, value in recipe.options.items() if name in choices}


def _require_folds(sources: Sequence[str], recipe: Recipe) -> None:
    """Refuse to deal folds again for a source that has none here."""
    if unknown := sorted(set(recipe.unbound) - set(sources)):
        raise ConfigError(
            f"folds of {unknown[0]} cannot be dealt again: it is not among the sources, {', '.join(sources)}"
        )
    if recipe.unbound and not recipe.data.folds:
        raise ConfigError(
            f"folds of {recipe.unbound[0]} cannot be dealt again: the layout {recipe.data.layout} has no folds"
        )


@contextmanager
def _leaving_out(source: str, omissions: dict[str, DataError], *, strict: bool) -> Iterator[None]:
    """Note and log faults of a source's files, and go on with the other sources."""
    try:
        yield
    except DataError as error:
        if strict:
            raise
        omissions[source] = error
        logger.warning("%s", _say_omission(source, error))


def _say_omission(source: str, error: DataError) -> str:
    if isinstance(error, MissingSourceError):
        return f"{source} was not found: {error}"
    return f"{source} was left out, because its files are not as published: {error}"


def divide(
    entries: Mapping[str, list[Entry]],
    prints: Mapping[str, Fingerprint],
    store: Store,
    unbound: Collection[str] = (),
) -> dict[str, Split]:
    """The fold of each patient, as "source/patient", checked and kept in the store.

    Images have fingerprints by "source/key". Published folds of `unbound` sources are not kept, but for external ones.
    """
    same = find_same_tissue(prints)
    for pair in same:
        logger.info(
            "%s and %s show the same tissue (%s, %.2f): they share a fold",
            pair.first,
            pair.second,
            pair.how,
            pair.score,
        )
    is_first = store.size(FOLD_ASSIGNMENTS) is None
    kept = {} if is_first else _load(Assignments, FOLD_ASSIGNMENTS, store).root
    folds = assign_folds(entries, same, kept, unbound)
    if leaks := find_leaks(folds, entries, same, unbound):
        more = f" and {len(leaks) - 3} more" if len(leaks) > 3 else ""
        raise DataError(f"tissue would be in two folds, so nothing was written: {'; '.join(leaks[:3])}{more}")
    if folds != kept:
        store.put(FOLD_ASSIGNMENTS, Assignments(dict(sorted((kept | folds).items()))).model_dump_json().encode())
    return folds


def _load(kind: type[Content], key: str, store: Store) -> Content:
    """What an object holds as JSON."""
    try:
        return kind.model_validate_json(store.get(key))
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise DataError(
            f"{store.url}/{key} is damaged ({reason}); restore it, or delete it and prepare again"
        ) from error


def _fingerprints(
    source: str, chosen: Sequence[Entry], raw: Path, store: Store, pool: Executor, declared: Mapping[str, Path]
) -> dict[str, Fingerprint]:
    """Each image's fingerprint as "source/key"; kept in the store as long as its files stay the same."""
    key = fingerprints_key(source, digest([[entry.key, stamps(entry, raw)] for entry in chosen]))
    if store.size(key) is None:
        logger.info("%s: comparing %d images with those of other sources", source, len(chosen))
        parts = [chosen[start : start + IMAGES_PER_JOB] for start in range(0, len(chosen), IMAGES_PER_JOB)]
        own = {name: path for name, path in declared.items() if name == source}
        read = partial(_read_fingerprints, source, own)
        found = [one for part in pool.map(read, parts) for one in part]
        store.put(key, Fingerprints(found).model_dump_json().encode())
    prints = _load(Fingerprints, key, store).root
    return {f"{source}/{entry.key}": print_ for entry, print_ in zip(chosen, prints, strict=True)}


def _read_fingerprints(source: str, declared: Mapping[str, Path], entries: Sequence[Entry]) -> list[Fingerprint]:
    """The fingerprints of some images; runs in a separate process."""
    module = load_source(source, declared)
    samples = (checked(module.TASK, entry, module.read(entry)) for entry in entries)
    return [fingerprint(sample.image, sample.mpp) for sample in samples]


def _missing_classes(indexes: Mapping[str, SourceIndex]) -> list[str]:
    """A line for each fold that lacks a class, which then can neither be learnt nor scored there.

    Sources with the same classes of a structure are learnt together, so they are counted together.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for source, index in indexes.items():
        if index.task.structure:
            groups.setdefault((index.task.structure, *index.task.classes), []).append(source)
    counts: dict[str, dict[Split, list[int]]] = {}
    for names in groups.values():
        pixels = {
            split: np.sum([indexes[name].class_pixels(split) for name in names], axis=0) for split in (*FOLDS, EXTERNAL)
        }
        counts[", ".join(names)] = {split: total.tolist() for split, total in pixels.items() if total.any()}
    classes = {", ".join(names): classes[1:] for classes, names in groups.items()}
    return find_missing_classes(counts, classes)
