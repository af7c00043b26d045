"""One shard: what it is made of, writing it, and finding it again."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from histoseg.errors import DataError, StorageError
from histoseg.runs.catalog import Source
from histoseg.shards.gists import gists_of
from histoseg.shards.resample import resample
from histoseg.shards.stored import Shard, ShardPart
from histoseg.shards.tar import checked, write_tar
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
    declaration: Path | None = None
    reader: str = ""

    @property
    def part_key(self) -> str:
        """Where the shard's part of the index is stored."""
        return shard_part_key(self.source, self.layout, self.mark)


def write_shard(job: ShardJob, store: Store) -> ShardPart:
    """Write one tar and put it, then the part of the index that says what it holds."""
    source = load_source(job.source, {job.source: job.declaration} if job.declaration else {})
    with tempfile.TemporaryDirectory(prefix="histoseg-shard-") as folder:
        path = Path(folder) / "shard.tar"
        samples = (_read(source, entry, job) for entry in job.entries)
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
    part = ShardPart(shard=shard, samples=columns, reader=job.reader, gists=gists)
    store.put(job.part_key, part.model_dump_json().encode())
    return part


def _read(source: Source, entry: Entry, job: ShardJob) -> Sample:
    """One sample as it is stored."""
    sample = checked(source.TASK, entry, source.read(entry))
    sample = resample(sample, job.mpp) if job.mpp else sample
    if min(sample.image.shape[:2]) < job.least_px:
        size = " x ".join(map(str, sample.image.shape[:2]))
        raise DataError(
            f"{job.source}: {entry.key} has {size} pixels at {sample.mpp:g} µm/px, but a patch needs {job.least_px}; "
            "leave it out or lower data.tissue_px"
        )
    return sample


def find_part(job: ShardJob, store: Store) -> ShardPart | None:
    """The part of a shard that an earlier call wrote, if the shard is still there in full size, else None."""
    if part := _read_part(job, job.part_key, store):
        return part
    part = _read_part(job, shard_part_key(job.source, job.layout, job.former_mark), store)
    if part:
        store.put(job.part_key, part.model_dump_json().encode())
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
