"""Raw files -> samples -> tars -> index.json, in parallel; what is already there and whole is kept.

A shard's object name holds the hash of its bytes, so a new version never overwrites one that somebody reads. The
index is put last: a reader sees all of a source or nothing of it.
"""

import hashlib
import inspect
import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from histoseg.demo.write import DEMO_MARK
from histoseg.errors import ConfigError, DataError, MissingSourceError, StorageError
from histoseg.machine import available_cpus
from histoseg.runs import catalog
from histoseg.runs.config import Data
from histoseg.runs.names import digest
from histoseg.shards.index import FORMAT, SourceIndex, describe, find_doubts, index_key, open_index, shard_folder
from histoseg.shards.resample import resample
from histoseg.shards.splits import split_by_patient
from histoseg.shards.tar import checked, write_tar
from histoseg.shards.tiles import smallest_tile_px
from histoseg.store.objects import Store
from histoseg.types import EXTERNAL, FOLDS, KEY_PATTERN, SPLITS, Entry, Sample, Split, Task

logger = logging.getLogger(__name__)

SHARD_BYTES = 256 * 2**20
MIN_SHARDS = 8  # Per split, where there are images enough: the cores of a small machine then all have work.


@dataclass(frozen=True, kw_only=True)
class Job:
    """One shard to write: everything a process of its own needs to know.

    Attributes:
        mpp: Microns per pixel to resample to; 0 keeps what the source has.
        least_px: Side that no image may fall short of; 0 allows any.
    """

    source: str
    folder: str
    split: Split
    number: int
    entries: tuple[Entry, ...]
    tile_px: int
    mpp: float
    least_px: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How shards are made.

    Attributes:
        data: What patches will be cut from them: large images become tiles that are big enough.
        options: The reader's options, for example how raters are consolidated.
        rewrite: Write also what is there already.
        folds: The fold of each of the source's patients, where `data.folds` asks for folds.
        unbound: Sources whose published folds are not kept.
    """

    data: Data = field(default_factory=Data)
    options: Mapping[str, str] = field(default_factory=dict)
    rewrite: bool = False
    folds: Mapping[str, Split] = field(default_factory=dict)
    unbound: tuple[str, ...] = ()


def shard_pool() -> ProcessPoolExecutor:
    """Processes for `write_shards`, one per core; they start when there is work."""
    # spawn: forked children would share this process's open sockets and locks.
    return ProcessPoolExecutor(available_cpus(), mp_context=multiprocessing.get_context("spawn"))


def write_shards(source: str, raw: Path, store: Store, recipe: Recipe, pool: Executor) -> SourceIndex:
    """Write a source's shards and index; return the index as it now stands in the store.

    Raises:
        MissingSourceError: If the folder does not hold the source.
        DataError: If its raw files are not as its authors publish them.
        ConfigError: If there is no such source or option.
    """
    task: Task = catalog.load("histoseg.sources", source).TASK
    entries = find_entries(source, raw, recipe.options)
    jobs = _plan(source, entries, raw, recipe)
    parts = _write_all(jobs, store, recipe.rewrite, pool)
    origin = "demo" if any((folder / DEMO_MARK).exists() for folder in (raw, *raw.parents)) else "raw"
    made = {"origin": origin, "layout": recipe.data.layout, "tile_px": smallest_tile_px(recipe.data)}
    body = describe(task, {**made, "options": dict(recipe.options)}, parts)
    key = index_key(source, recipe.data.layout)
    if store.size(key) is None or store.get(key) != body:
        store.put(key, body)
    index = open_index(store, source, recipe.data.layout)
    folder = shard_folder(source, recipe.data.layout)
    _remove_others(store, folder, {key, *(f"{folder}/{shard.name}" for shard in index.shards), *map(_part_key, jobs)})
    for warning in (*index.warnings, *find_doubts(index)):
        logger.warning("%s", warning)
    return index


def option_names(source: str) -> list[str]:
    """The options that a source's reader has."""
    return list(inspect.signature(catalog.load("histoseg.sources", source).entries).parameters)[1:]


def find_entries(source: str, raw: Path, options: Mapping[str, str]) -> list[Entry]:
    """The source's entries below a folder, sorted by key, options and keys checked; no pixel is read."""
    reader = catalog.load("histoseg.sources", source).entries
    choices = option_names(source)
    if unknown := set(options) - set(choices):
        raise ConfigError(f"{source} has no option {', '.join(sorted(unknown))}; it has {', '.join(choices) or 'none'}")
    if not raw.is_dir():
        raise ConfigError(f"{raw} is no folder; give the folder that holds the raw data sets")
    found: list[Entry] = list(reader(raw, **options))
    if not found:
        raise MissingSourceError(f"{raw}: `entries` of {source} found nothing there, or left out all; see its file")
    if strange := [entry for entry in found if not _is_text(entry.key) or not _is_text(entry.patient)]:
        names = f"key {strange[0].key!r} and patient {strange[0].patient!r}"
        raise DataError(f"{source}: an entry with {names}; `entries` must give both as texts that are not empty")
    entries = sorted(found, key=lambda entry: entry.key)
    keys = [entry.key for entry in entries]
    if bad := [key for key in keys if not KEY_PATTERN.fullmatch(key)]:
        raise DataError(f"{source}: key {bad[0]!r} has other characters than letters, digits, _ and -")
    if double := {key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else set():
        raise DataError(f"{source}: two images have the key {min(double)!r}; rename one of their files")
    return entries


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _plan(source: str, entries: list[Entry], raw: Path, recipe: Recipe) -> list[Job]:
    """Which entries go into which shard: fixed by the entries alone, not by the machine."""
    module = catalog.load("histoseg.sources", source)
    data, tile_px, folder = recipe.data, smallest_tile_px(recipe.data), shard_folder(source, recipe.data.layout)
    splits = recipe.folds if data.folds else split_by_patient(entries, source)
    first = checked(module.TASK, entries[0], module.read(entries[0]))
    factor = (first.mpp / data.mpp) ** 2 if data.mpp else 1.0
    fitting = max(1, int(SHARD_BYTES / (factor * (first.image.nbytes + first.semantic_map.nbytes))))
    jobs = []
    for split in (*FOLDS, EXTERNAL) if data.folds else SPLITS:
        chosen = [entry for entry in entries if splits[entry.patient] == split]
        size = min(fitting, max(1, -(-len(chosen) // MIN_SHARDS)))
        for number, start in enumerate(range(0, len(chosen), size)):
            part = tuple(chosen[start : start + size])
            inputs = [[entry.key, entry.patient, stamps(entry, raw)] for entry in part]
            how = [tile_px, data.mpp, dict(recipe.options)]
            mark = digest([FORMAT, asdict(module.TASK), split, number, *how, inputs])
            job = Job(
                source=source,
                folder=folder,
                split=split,
                number=number,
                entries=part,
                tile_px=tile_px,
                mpp=data.mpp,
                least_px=data.tissue_px if module.TASK.kind == "patch" else 0,
                fingerprint=mark,
            )
            jobs.append(job)
    return jobs


def stamps(entry: Entry, raw: Path) -> list[list[Any]]:
    """What changes when an entry's raw file does: its name below the folder, its size, its time."""
    try:
        stats = {role: (path, path.stat()) for role, path in sorted(entry.files.items())}
    except OSError as error:  # A link that leads nowhere, for example
        raise DataError(f"{error.filename}: {error.strerror}; fetch the file again, or remove its name") from error
    return [[role, os.path.relpath(path, raw), stat.st_size, stat.st_mtime_ns] for role, (path, stat) in stats.items()]


def _write_all(jobs: list[Job], store: Store, rewrite: bool, pool: Executor) -> list[dict[str, Any]]:
    """Write what is not there yet; the parts come back in the order of the jobs."""
    kept = {} if rewrite else {job.fingerprint: part for job in jobs if (part := _kept_part(job, store))}
    if kept:
        logger.info("%s: %d of %d shards are there already", jobs[0].source, len(kept), len(jobs))
    missing = [job for job in jobs if job.fingerprint not in kept]
    written = {job.fingerprint: part for job, part in _run_parallel(missing, store, pool)}
    return [(kept | written)[job.fingerprint] for job in jobs]


def _run_parallel(jobs: list[Job], store: Store, pool: Executor) -> Iterator[tuple[Job, dict[str, Any]]]:
    report = _progress(jobs)
    pending: dict[Future[dict[str, Any]], Job] = {pool.submit(write_shard, job, store): job for job in jobs}
    try:
        for future in as_completed(pending):
            yield pending[future], future.result()
            report(pending[future])
    finally:
        for future in pending:
            future.cancel()


def _progress(jobs: list[Job]) -> Callable[[Job], None]:
    total = sum(len(job.entries) for job in jobs)
    done, begin, last = 0, time.monotonic(), -1e9

    def report(job: Job) -> None:
        nonlocal done, last
        done += len(job.entries)
        now = time.monotonic()
        if now - last >= 2 or done == total:
            last = now
            rate = done / max(now - begin, 1e-9)
            eta = (total - done) / rate
            logger.info("%s: %d/%d images  %.1f images/s  eta %.0f s", job.source, done, total, rate, eta)

    return report


def _kept_part(job: Job, store: Store) -> dict[str, Any] | None:
    """What is known of a shard that an earlier call wrote, if it is still there in full size."""
    if store.size(_part_key(job)) is None:
        return None
    part: dict[str, Any] = json.loads(store.get(_part_key(job)))
    whole = store.size(f"{job.folder}/{part['shard']['name']}") == part["shard"]["num_bytes"]
    return part if whole else None


def write_shard(job: Job, store: Store) -> dict[str, Any]:
    """Write one tar and put it, then a part of the index that says what it holds."""
    module = catalog.load("histoseg.sources", job.source)
    with tempfile.TemporaryDirectory(prefix="histoseg-shard-") as folder:
        path = Path(folder) / "shard.tar"
        read = (_read(module, entry, job) for entry in job.entries)
        try:
            samples = write_tar(path, read, module.TASK, job.split, job.tile_px)
        except OSError as error:
            raise StorageError(f"{job.source}: cannot write {path}: {error.strerror or error}") from error
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        shard = {
            "name": f"{job.source}-{job.split}-{job.number:05d}-{sha256[:8]}.tar",
            "split": job.split,
            "sha256": sha256,
            "num_bytes": path.stat().st_size,
            "num_samples": len(samples["key"]),
        }
        store.put(f"{job.folder}/{shard['name']}", path)
    part = {"shard": shard, "samples": samples}
    store.put(_part_key(job), json.dumps(part).encode())
    return part


def _read(module: Any, entry: Entry, job: Job) -> Sample:
    """One sample as it is stored.

    Raises:
        DataError: If it is not what its task promises, or too small.
    """
    sample = checked(module.TASK, entry, module.read(entry))
    sample = resample(sample, job.mpp) if job.mpp else sample
    if min(sample.image.shape[:2]) < job.least_px:
        size = " x ".join(map(str, sample.image.shape[:2]))
        raise DataError(
            f"{job.source}: {entry.key} has {size} pixels at {sample.mpp:g} µm/px, but a patch needs {job.least_px}; "
            "leave it out or lower data.tissue_px"
        )
    return sample


def _part_key(job: Job) -> str:
    return f"{job.folder}/parts/{job.fingerprint}.json"


def _remove_others(store: Store, folder: str, written: set[str]) -> None:
    """Delete shards and parts of earlier versions, which no index names any more."""
    for key in store.list(f"{folder}/"):
        if key not in written:
            store.delete(key)
