"""All sources of an experiment from raw files to shards; those that share folds are divided together.

Folds are decided before anything is written: all images are compared by patient, by name and by picture, and images of
the same tissue share a fold. Assignments are kept in the store, so that a source added later moves no patient.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, RootModel, ValidationError

from histoseg.errors import ConfigError, DataError
from histoseg.runs.catalog import Source
from histoseg.runs.plain import digest
from histoseg.shards.entries import find_entries_apart, option_names, stamps
from histoseg.shards.faults import Faults
from histoseg.shards.fingerprint import Fingerprint, fingerprint
from histoseg.shards.folds import assign_folds, find_leaks, find_missing_classes
from histoseg.shards.index import SourceIndex
from histoseg.shards.reading import leave_out, log_unreadable, outcome, read_sample, require_few
from histoseg.shards.same_tissue import find_same_tissue
from histoseg.shards.stored import Unreadable
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
    """The fingerprints of a source's images, in the order of its entries; only kept where all could be read."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the store holds after preparing.

    Attributes:
        omissions: Which sources were left out and why, a sentence each.
        absent: Those of which the folder has no file.
        failures: Which sources and images could not be read, a line each.
    """

    indexes: Mapping[str, SourceIndex]
    omissions: tuple[str, ...]
    absent: tuple[str, ...]
    failures: tuple[str, ...]


def prepare_sources(
    sources: Sequence[str], raw: Path, store: Store, recipe: Recipe, pool: Executor, *, strict: bool = False
) -> Prepared:
    """Write the shards of every source that a folder holds; whole shards that are there already are kept.

    A source whose files cannot be used is left out with a reason. Unless `strict`, sources that are missing are no
    failure, and sources without an option ignore it.

    Raises:
        DataError: If the folder holds none of them, or tissue would be in two folds.
        ConfigError: If the folder does not exist, or the recipe contradicts itself.
    """
    _require_folds(sources, recipe)
    if not raw.is_dir():
        raise ConfigError(f"{raw} is not a folder; give the folder that holds the raw data sets")
    faults = Faults(strict=strict)
    options = _options(sources, recipe, faults)
    found: dict[str, _FoundImages] = {}
    for source in options:
        with faults.of(source):
            found[source] = _find_images(source, raw, store, replace(recipe, options=options[source]), pool)
    folds = _folds(found, store, recipe.unbound) if recipe.data.folds and found else {}
    indexes: dict[str, SourceIndex] = {}
    for source, images in found.items():
        own = {name.removeprefix(f"{source}/"): fold for name, fold in folds.items() if name.startswith(f"{source}/")}
        with faults.of(source):
            how = replace(recipe, options=options[source], folds=own, unreadable=images.unreadable)
            indexes[source] = write_shards(source, raw, store, how, pool, images.entries)
    if not indexes:
        raise faults.explain_nothing(raw)
    for line in _missing_classes(indexes) if recipe.data.folds else ():
        logger.warning("%s", line)
    lacking = [f"{source}: {index.say_unreadable()}" for source, index in indexes.items() if index.unreadable]
    return Prepared(
        indexes=indexes,
        omissions=faults.omissions,
        absent=faults.absent,
        failures=(*faults.failures, *lacking),
    )


def _options(sources: Sequence[str], recipe: Recipe, faults: Faults) -> dict[str, Mapping[str, str]]:
    """The options that each source is read with."""
    options: dict[str, Mapping[str, str]] = {}
    for source in sources:
        with faults.of(source):
            choices = recipe.options if faults.strict else option_names(load_source(source, recipe.declared))
            options[source] = {name: value for name, value in recipe.options.items() if name in choices}
    if unknown := set(recipe.options).difference(*options.values()):
        raise ConfigError(f"no source of {', '.join(sources)} has an option {min(unknown)}")
    return options


@dataclass(frozen=True, kw_only=True)
class _FoundImages:
    """The images of a source before shards are written; with folds, after each was read to be compared with others."""

    entries: list[Entry]
    prints: Mapping[str, Fingerprint] = field(default_factory=dict)
    unreadable: tuple[Unreadable, ...] = ()


def _find_images(source: str, raw: Path, store: Store, recipe: Recipe, pool: Executor) -> _FoundImages:
    entries = find_entries_apart(source, raw, recipe.options, recipe.declared, pool)
    if not recipe.data.folds:
        return _FoundImages(entries=entries)
    prints, unreadable = _fingerprints(source, entries, raw, store, pool, recipe.declared)
    keys = {one.key for one in unreadable}
    readable = [entry for entry in entries if entry.key not in keys]
    return _FoundImages(entries=readable, prints=prints, unreadable=unreadable)


def _folds(found: Mapping[str, _FoundImages], store: Store, unbound: Collection[str]) -> dict[str, Split]:
    """The fold of each patient, as `divide` gives it."""
    prints = {name: print_ for images in found.values() for name, print_ in images.prints.items()}
    return divide({source: images.entries for source, images in found.items()}, prints, store, unbound)


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
    source: str, entries: Sequence[Entry], raw: Path, store: Store, pool: Executor, declared: Mapping[str, Path]
) -> tuple[dict[str, Fingerprint], tuple[Unreadable, ...]]:
    """Each image's fingerprint as "source/key", and the images that cannot be read.

    Fingerprints are kept in the store as long as the files stay the same, if all images can be read.
    """
    key = fingerprints_key(source, digest([[entry.key, stamps(entry, raw)] for entry in entries]))
    if store.size(key) is not None:
        kept = _load(Fingerprints, key, store).root
        return {f"{source}/{entry.key}": print_ for entry, print_ in zip(entries, kept, strict=True)}, ()
    logger.info("%s: comparing %d images with those of other sources", source, len(entries))
    prints, unreadable = {}, []
    for entry, result in _read_all_fingerprints(entries, partial(_read_fingerprints, source, declared), pool):
        if isinstance(result, Fingerprint):
            prints[f"{source}/{entry.key}"] = result
            continue
        unreadable.append(result)
        log_unreadable(source, [result])
        require_few(source, len(entries), unreadable)
    if not unreadable:
        store.put(key, Fingerprints(list(prints.values())).model_dump_json().encode())
    return prints, tuple(unreadable)


def _read_all_fingerprints(
    entries: Sequence[Entry], read: Callable[[Sequence[Entry]], list[Fingerprint | Unreadable]], pool: Executor
) -> Iterator[tuple[Entry, Fingerprint | Unreadable]]:
    """Each entry and its fingerprint; images that were read by a process that died are each read by itself."""
    parts = [entries[start : start + IMAGES_PER_JOB] for start in range(0, len(entries), IMAGES_PER_JOB)]
    readings = [pool.submit(read, part) for part in parts]
    try:
        for part, reading in zip(parts, readings, strict=True):
            try:
                yield from zip(part, reading.result(), strict=True)
            except BrokenProcessPool:
                for entry in part:
                    result = outcome(entry, pool.submit(read, [entry]))
                    yield entry, result if isinstance(result, Unreadable) else result[0]
    finally:
        for reading in readings:
            reading.cancel()


def _read_fingerprints(
    source: str, declared: Mapping[str, Path], entries: Sequence[Entry]
) -> list[Fingerprint | Unreadable]:
    """The fingerprints of some images; runs in a separate process."""
    module = load_source(source, declared)
    return [_read_fingerprint(module, entry) for entry in entries]


def _read_fingerprint(module: Source, entry: Entry) -> Fingerprint | Unreadable:
    try:
        sample = read_sample(module, entry)
        return fingerprint(sample.image, sample.mpp)
    except DataError as error:
        return leave_out(entry, error)


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
        if any(total[1:].any() for total in pixels.values()):  # Else it has a line of its own.
            counts[", ".join(names)] = {split: total.tolist() for split, total in pixels.items() if total.any()}
    classes = {", ".join(names): classes[1:] for classes, names in groups.items()}
    return find_missing_classes(counts, classes)
