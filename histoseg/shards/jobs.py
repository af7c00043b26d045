"""One shard: what it is made of, writing it, and finding it again."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
from pydantic import ValidationError

from histoseg.errors import DataError, StorageError
from histoseg.files.notes import collect
from histoseg.runs.catalog import Source
from histoseg.shards.gists import gists_of
from histoseg.shards.reading import leave_out, read_sample
from histoseg.shards.resample import resample
from histoseg.shards.stored import Shard, ShardPart, Unreadable
from histoseg.shards.tar import write_tar
from histoseg.sources._declared import load_source
from histoseg.store.keys import shard_key, shard_part_key
from histoseg.store.objects import Store
from histoseg.types import SPLITS, Entry, Sample, Split


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """One shard to write, with all that a separate process needs.

    Attributes:
        mpp: Microns per pixel to resample to; 0 keeps images as published.
        least_px: Smallest side that an image may have; 0 allows any.
        mark: Name of all that the shard's bytes depend on.
        former_mark: The mark that the version before gave the same shard.
        unreadable: Those of its images that end the process that reads them; they are not among the entries.
        declaration: The `source.toml` that declares the source; None for a source of the catalog.
        reader: Digest of the source's code.
    """

    source: str
    layout: str
    split: Split
    number: int
    entries: tuple[Entry, ...]
    tile_px: int
    mpp: float
    least_px: int
    mark: str
    former_mark: str
    unreadable: tuple[Unreadable, ...] = ()
    declaration: Path | None = None
    reader: str = ""

    @property
    def part_key(self) -> str:
        """Where the shard's part of the index is stored."""
        return shard_part_key(self.source, self.layout, self.mark)


@dataclass(frozen=True, kw_only=True)
class _Samples:
    """The samples of a job that can be read; which cannot, and what was noted, is known when all have been read."""

    source: Source
    job: ShardJob
    unreadable: list[Unreadable] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Sample]:
        for entry in self.job.entries:
            try:
                with collect() as notes:
                    sample = _read(self.source, entry, self.job)
            except DataError as error:
                self.unreadable.append(leave_out(entry, error))
                continue
            self.notes.update(notes)
            yield sample


def write_shard(job: ShardJob, store: Store) -> ShardPart:
    """Write one tar and put it, then the part of the index that says what it holds and which images it lacks."""
    source = _source_of(job)
    samples = _Samples(source=source, job=job, unreadable=list(job.unreadable))
    with tempfile.TemporaryDirectory(prefix="histoseg-shard-") as folder:
        path = Path(folder) / "shard.tar"
        try:
            columns = write_tar(path, samples, source.TASK, job.split, job.tile_px)
        except OSError as error:
            raise StorageError(f"{job.source}: cannot write {path}: {error.strerror or error}") from error
        has_gists = job.split in SPLITS and source.TASK.kind != "patch"
        gists = gists_of(path, columns) if has_gists else []
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        shard = Shard(
            name=f"{job.source}-{job.split}-{job.number:05d}-{sha256[:8]}.tar",
            split=job.split,
            sha256=sha256,
            num_bytes=path.stat().st_size,
            num_samples=len(columns.key),
        )
        store.put(shard_key(job.source, job.layout, shard.name), path)
    part = ShardPart(
        shard=shard,
        samples=columns,
        unreadable=tuple(samples.unreadable),
        notes=dict(sorted(samples.notes.items())),
        reader=job.reader,
        gists=gists,
    )
    store.put(job.part_key, part.to_json())
    return part


def _source_of(job: ShardJob) -> Source:
    return load_source(job.source, {job.source: job.declaration} if job.declaration else {})


def stored_bytes(source: str, declared: Mapping[str, Path], entry: Entry, mpp: float) -> float | Unreadable:
    """How many bytes an image and its semantic map take, resampled to `mpp` unless that is 0."""
    try:
        sample = read_sample(load_source(source, declared), entry)
    except DataError as error:
        return leave_out(entry, error)
    factor = (sample.mpp / mpp) ** 2 if mpp else 1.0
    return factor * (sample.image.nbytes + sample.semantic_map.nbytes)


def read_alone(job: ShardJob, entry: Entry) -> None:
    """Read an image as `write_shard` does and keep nothing: whether the process survives is what matters."""
    with suppress(DataError):
        _read(_source_of(job), entry, job)


def _read(source: Source, entry: Entry, job: ShardJob) -> Sample:
    """One sample as it is stored."""
    sample = read_sample(source, entry)
    try:
        sample = resample(sample, job.mpp) if job.mpp else sample
    except (MemoryError, cv2.error) as error:
        what = f"its {' x '.join(map(str, sample.image.shape[:2]))} pixels cannot be resampled to {job.mpp:g} µm/px"
        raise DataError(f"{job.source}: {entry.key}: {what} ({type(error).__name__}); cut it into pieces") from error
    if min(sample.image.shape[:2]) < job.least_px:
        size = " x ".join(map(str, sample.image.shape[:2]))
        raise DataError(
            f"{job.source}: {entry.key} has {size} pixels at {sample.mpp:g} µm/px, but a patch needs {job.least_px}; "
            "leave it out, or submit with a lower SET=data.tissue_px=…"
        )
    return sample


def find_part(job: ShardJob, store: Store) -> ShardPart | None:
    """The part of a shard that an earlier call wrote, if the shard is still there in full size, else None."""
    if part := _read_part(job, job.part_key, store):
        return part
    part = _read_part(job, shard_part_key(job.source, job.layout, job.former_mark), store)
    if part:
        store.put(job.part_key, part.to_json())
    return part


def _read_part(job: ShardJob, key: str, store: Store) -> ShardPart | None:
    if store.size(key) is None:
        return None
    try:
        part = ShardPart.model_validate_json(store.get(key))
    except ValidationError:
        return None  # Damaged, so the shard is written again.
    whole = store.size(shard_key(job.source, job.layout, part.shard.name)) == part.shard.num_bytes
    return part if whole else None
