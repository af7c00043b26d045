"""Raw files -> samples -> tars -> index.json, in parallel; shards that are there already and whole are kept.

A shard's object name contains the hash of its bytes, so a new version never overwrites a shard that is being read. The
index is put last: a reader sees all of a source or nothing of it.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

from histoseg.demo.write import DEMO_MARK
from histoseg.errors import DataError
from histoseg.runs.catalog import Source
from histoseg.runs.config import Data
from histoseg.shards.copies import split_without_copies
from histoseg.shards.entries import find_entries_apart, reader_digest, stamps
from histoseg.shards.gists import refuse_near_copies
from histoseg.shards.index import SourceIndex, encode_index, open_index, rewrite_command
from histoseg.shards.jobs import ShardJob, find_part, read_alone, stored_bytes, write_shard
from histoseg.shards.marks import ShardContent, shard_mark, shard_mark_of_format_2
from histoseg.shards.reading import log_unreadable, outcome, require_few, require_numbered
from histoseg.shards.stored import Origin, ShardPart, Unreadable
from histoseg.shards.tiles import smallest_tile_px
from histoseg.sources._declared import load_source
from histoseg.store.keys import index_key, shard_folder, shard_key
from histoseg.store.objects import Store
from histoseg.types import EXTERNAL, FOLDS, IGNORE, SPLITS, Entry, Split

logger = logging.getLogger(__name__)

SHARD_BYTES = 256 * 2**20
MIN_SHARDS = 8  # Per split, where there are images enough: the cores of a small machine then all have work.

MANY_LEFT_OUT = 0.5  # Of all pixels: more is then left out than learnt from.


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How shards are made.

    Attributes:
        data: How patches will be cut from them: large images become tiles that are big enough.
        rewrite: Whether to write shards that are there already.
        folds: The fold of each of the source's patients, where `data.folds` asks for folds.
        unbound: Sources whose published folds are not kept.
        unreadable: Images of the source that were found to be unreadable when folds were made; they are in no fold.
        declared: The `source.toml` of each source that raw folders declare, by its name.
    """

    data: Data = field(default_factory=Data)
    options: Mapping[str, str] = field(default_factory=dict)
    rewrite: bool = False
    folds: Mapping[str, Split] = field(default_factory=dict)
    unbound: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    declared: Mapping[str, Path] = field(default_factory=dict)


def write_shards(
    source: str, raw: Path, store: Store, recipe: Recipe, pool: Executor, entries: list[Entry] | None = None
) -> SourceIndex:
    """Write a source's shards and index; return the index as it now stands in the store.

    Images that cannot be read are left out, logged, and named in the index. `entries` are the source's images that are
    not in `recipe.unreadable`, for callers that have listed them.

    Raises:
        DataError: If the folder does not hold the source, many of its images cannot be read, or two splits have the
            same picture.
    """
    reader = load_source(source, recipe.declared)
    task, layout = reader.TASK, recipe.data.layout
    if entries is None:
        entries = find_entries_apart(source, raw, recipe.options, recipe.declared, pool)
    jobs = _plan(reader, entries, raw, recipe, pool)
    first, *others = _write_all(jobs, store, recipe, pool)
    parts = [first.model_copy(update={"unreadable": (*recipe.unreadable, *first.unreadable)}), *others]
    _require_truth(source, parts, recipe)
    origin: Origin = "demo" if any((folder / DEMO_MARK).exists() for folder in (raw, *raw.parents)) else "raw"
    tile_px = smallest_tile_px(recipe.data)
    body = encode_index(task, parts, origin=origin, layout=layout, tile_px=tile_px, options=recipe.options)
    key = index_key(source, layout)
    if store.size(key) is None or store.get(key) != body:
        store.put(key, body)
    index = open_index(store, source, layout)
    shards = (shard_key(source, layout, shard.name) for shard in index.shards)
    _remove_others(store, shard_folder(source, layout), {key, *shards, *(job.part_key for job in jobs)})
    for line in (*_say_notes(index), *index.warnings, *_find_doubts(index)):
        logger.warning("%s", line)
    return index


def _require_truth(source: str, parts: Sequence[ShardPart], recipe: Recipe) -> None:
    """Refuse what only all images of a source together show: masks without numbers, a picture in two splits."""
    notes: Counter[str] = Counter()
    for part in parts:
        notes.update(part.notes)
    require_numbered(source, sum(len(set(part.samples.image)) for part in parts), notes, recipe.options)
    refuse_near_copies(source, parts)


def _plan(source: Source, entries: list[Entry], raw: Path, recipe: Recipe, pool: Executor) -> list[ShardJob]:
    """Which entries go into which shard: fixed by the entries alone, not by the machine."""
    data, task = recipe.data, source.TASK
    splits = recipe.folds if data.folds else _split(entries, task.name)
    chosen = {
        split: [entry for entry in entries if splits[entry.patient] == split]
        for split in ((*FOLDS, EXTERNAL) if data.folds else SPLITS)
    }
    sizes = {split: max(1, -(-len(part) // MIN_SHARDS)) for split, part in chosen.items()}
    fitting = _images_that_fit(task.name, entries, recipe, pool) if max(sizes.values()) > 1 else 1
    jobs, reader = [], reader_digest(source)
    for split, members in chosen.items():
        size = min(fitting, sizes[split])
        for number, start in enumerate(range(0, len(members), size)):
            part = members[start : start + size]
            content = ShardContent(
                task=task,
                split=split,
                number=number,
                tile_px=smallest_tile_px(data),
                inputs=tuple((entry.key, entry.patient, stamps(entry, raw)) for entry in part),
                mpp=data.mpp,
                options=dict(recipe.options),
            )
            jobs.append(_make_job(content, part, data, recipe.declared.get(task.name), reader))
    return jobs


def _split(entries: list[Entry], source: str) -> Mapping[str, Split]:
    """The split of each patient; what was found about copies is logged."""
    splits, lines = split_without_copies(entries, source)
    for line in lines:
        logger.warning("%s", line)
    return splits


def _images_that_fit(source: str, entries: list[Entry], recipe: Recipe, pool: Executor) -> int:
    """How many images like the first one that can be read a shard holds."""
    unreadable: list[Unreadable] = []
    for entry in entries:
        size = outcome(entry, pool.submit(stored_bytes, source, recipe.declared, entry, recipe.data.mpp))
        if not isinstance(size, Unreadable):
            return max(1, int(SHARD_BYTES / size))
        unreadable.append(size)
        require_few(source, len(entries), unreadable)
    return 1


def _make_job(
    content: ShardContent, entries: list[Entry], data: Data, declaration: Path | None, reader: str
) -> ShardJob:
    return ShardJob(
        source=content.task.name,
        layout=data.layout,
        split=content.split,
        number=content.number,
        entries=tuple(entries),
        tile_px=content.tile_px,
        mpp=content.mpp,
        least_px=data.tissue_px if content.task.kind == "patch" else 0,
        mark=shard_mark(content),
        former_mark=shard_mark_of_format_2(content),
        declaration=declaration,
        reader=reader,
    )


def _write_all(jobs: list[ShardJob], store: Store, recipe: Recipe, pool: Executor) -> list[ShardPart]:
    """Write the shards that are missing or lack images; the parts come back in the order of the jobs.

    What could not be read is tried again: the reason may have been too little memory, or a reader that was corrected.
    """
    found = {} if recipe.rewrite else {job.mark: part for job in jobs if (part := find_part(job, store))}
    parts = {mark: part for mark, part in found.items() if not part.unreadable}
    if parts:
        logger.info("%s: %d of %d shards are there already", jobs[0].source, len(parts), len(jobs))
        _warn_of_other_readers(jobs, parts, store, recipe.options)
    unreadable = list(recipe.unreadable)
    num_images = len(unreadable) + sum(len(job.entries) for job in jobs)
    for job, part in _run_parallel([job for job in jobs if job.mark not in parts], store, pool):
        parts[job.mark] = part
        log_unreadable(job.source, part.unreadable)
        unreadable += part.unreadable
        require_few(job.source, num_images, unreadable)
    return [parts[job.mark] for job in jobs]


def _warn_of_other_readers(
    jobs: list[ShardJob], kept: Mapping[str, ShardPart], store: Store, options: Mapping[str, str]
) -> None:
    """Say that kept shards were read by other code: its marks stay the same, so labels may be those of before."""
    others = [job for job in jobs if job.mark in kept and kept[job.mark].reader not in ("", job.reader)]
    if others:
        again = rewrite_command(others[0].source, store.url, others[0].layout, options)
        text = "%s: its reader has changed since %d of %d shards were written; if labels changed, write them again: %s"
        logger.warning(text, others[0].source, len(others), len(jobs), again)


def _run_parallel(jobs: list[ShardJob], store: Store, pool: Executor) -> Iterator[tuple[ShardJob, ShardPart]]:
    report = _progress(jobs)
    pending: dict[Future[ShardPart], ShardJob] = {pool.submit(write_shard, job, store): job for job in jobs}
    try:
        for future in as_completed(pending):
            job = pending[future]
            try:
                part = future.result()
            except BrokenProcessPool:
                part = _write_without_fatal(job, store, pool)
            yield job, part
            report(job)
    finally:
        for future in pending:
            future.cancel()


def _write_without_fatal(job: ShardJob, store: Store, pool: Executor) -> ShardPart:
    """Write a shard again after the process that wrote it died, without the images that end a process by themselves."""
    logger.warning("%s: a process that read images died; reading each of %d by itself", job.source, len(job.entries))
    tried = [(entry, outcome(entry, pool.submit(read_alone, job, entry))) for entry in job.entries]
    fatal = tuple(result for _, result in tried if result is not None)
    readable = tuple(entry for entry, result in tried if result is None)
    try:
        return pool.submit(write_shard, replace(job, entries=readable, unreadable=fatal), store).result()
    except BrokenProcessPool as error:
        names = f"{job.entries[0].key} to {job.entries[-1].key}"
        raise DataError(
            f"{job.source}: the process that writes the shard of {names} died twice, though each image can be read by "
            "itself; there may be too little memory"
        ) from error


def _progress(jobs: list[ShardJob]) -> Callable[[ShardJob], None]:
    total = sum(len(job.entries) for job in jobs)
    done, begin, last = 0, time.monotonic(), -1e9

    def report(job: ShardJob) -> None:
        nonlocal done, last
        done += len(job.entries)
        now = time.monotonic()
        if now - last >= 2 or done == total:
            last = now
            rate = done / max(now - begin, 1e-9)
            eta = (total - done) / rate
            logger.info("%s: %d/%d images  %.1f images/s  eta %.0f s", job.source, done, total, rate, eta)

    return report


def _remove_others(store: Store, folder: str, written: set[str]) -> None:
    """Delete shards and parts of earlier versions, which no index names any more."""
    for key in store.list(f"{folder}/"):
        if key not in written:
            store.delete(key)


def _say_notes(index: SourceIndex) -> list[str]:
    """What reading the files left out or changed, a line each."""
    return [f"{index.task.name}: {text}: {count}" for text, count in index.notes.items()]


def _find_doubts(index: SourceIndex) -> list[str]:
    """What to check: classes and splits without images, pixels without labels."""
    return [*_doubts_about_labels(index), *_doubts_about_splits(index)]


def _doubts_about_labels(index: SourceIndex) -> list[str]:
    samples, source = index.samples, index.task.name
    pixels = index.class_pixels()
    if index.has_untyped_objects:
        return []  # Its warnings say that its objects have no class.
    num_pixels = sum(height * width for height, width in zip(samples.height, samples.width, strict=True))
    left_out = 1 - int(pixels.sum()) / num_pixels
    unlabelled = f"{left_out:.0%} of its pixels are {IGNORE}, which means not labelled"
    remedy = "if that is wrong, check the masks and which class each value stands for"
    if unseen := [name for name, count in zip(index.task.classes, pixels.tolist(), strict=True) if not count]:
        also = f", and {unlabelled}" if left_out else ""
        return [f"{source}: no pixel is {', '.join(unseen)}{also}; {remedy}"]
    return [f"{source}: {unlabelled}; {remedy}"] if left_out > MANY_LEFT_OUT else []


def _doubts_about_splits(index: SourceIndex) -> list[str]:
    empty = [split for split in SPLITS if not len(index.rows(split))]
    if not 0 < len(empty) < len(SPLITS):  # A source divided into folds has none of the three splits.
        return []
    patients = len(set(index.samples.patient))
    lack = f"none of its {patients} patients is in {' or '.join(empty)}"
    return [f"{index.task.name}: {lack}; a new task needs three patients, and images of each that can be read"]
