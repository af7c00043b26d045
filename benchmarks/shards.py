"""Writing shards to a real S3 server (SeaweedFS): ours against GNU tar and boto3, and against the put alone.

    python benchmarks/shards.py [--images 60]

Everybody begins with the same .npy files. Ours checks each sample, writes the tar with its index, hashes and puts it;
the reference only packs and uploads; "put alone" is the floor, the upload of a tar that is there already.
"""

import argparse
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
from _timing import Finding, compare, interleaved, missing, one_thread, print_times, table
from _tissue import draw_tissue

from histoseg.errors import HistosegError
from histoseg.shards.jobs import ShardJob, write_shard
from histoseg.sources import synthetic
from histoseg.store.keys import shard_key
from histoseg.store.objects import Store, connect
from histoseg.types import Entry, Sample

NUM_IMAGES, NUM_ROUNDS = 20, 5  # 80 MB: a shard has up to 256 MiB.
FLOOR_GOAL = 0.93
PART = "writing a shard to S3"


def run(num_images: int = NUM_IMAGES) -> list[Finding]:
    """One shard, put in three ways."""
    try:
        from ray_jobs.local_store import local_store

        with tempfile.TemporaryDirectory(prefix="histoseg-benchmark-") as name:
            folder = Path(name)
            job = make_job(folder / "npy", num_images)
            with local_store(folder / "s3") as served, mock.patch.object(synthetic, "read", read_npy):
                return compare_writers(job, connect(f"{served.url}/shards"), folder)
    except (ImportError, HistosegError) as error:
        return [missing(PART, "GNU tar, then boto3", error)]


def make_job(folder: Path, num_images: int) -> ShardJob:
    """Save images and maps as .npy, and say what one shard of them is."""
    folder.mkdir()
    drawn = draw_tissue(np.random.default_rng(0))
    entries = []
    for i in range(num_images):
        files = {role: folder / f"{i:03}.{role}.npy" for role in ("image", "semantic_map")}
        for path, pixels in zip(files.values(), drawn, strict=True):
            np.save(path, np.roll(pixels, 97 * i, axis=1))
        entries.append(Entry(key=f"image{i:03}", patient=f"patient{i:03}", files=files))
    return ShardJob(
        source="synthetic",
        layout="benchmark",
        split="train",
        number=0,
        entries=tuple(entries),
        tile_px=2000,
        mpp=0.0,
        least_px=0,
        mark="benchmark",
        former_mark="benchmark",
    )


def read_npy(entry: Entry) -> Sample:
    """Stands in for the reader of raw files, whose decoding is no part of writing shards."""
    image, semantic_map = (np.load(entry.files[role]) for role in ("image", "semantic_map"))
    return Sample(key=entry.key, patient=entry.patient, image=image, semantic_map=semantic_map, mpp=0.5)


def compare_writers(job: ShardJob, store: Store, folder: Path) -> list[Finding]:
    part = write_shard(job, store)
    tar_and_put(job, store, folder / "packed.tar")
    check_pixels(store, shard_key(job.source, job.layout, part.shard.name), folder)
    calls: dict[str, Callable[[], object]] = {
        "histoseg": partial(write_shard, job, store),
        "GNU tar, then boto3": partial(tar_and_put, job, store, folder / "packed.tar"),
        "put alone": partial(store.put, "alone.tar", folder / "packed.tar"),
    }
    times = interleaved(calls, NUM_ROUNDS)
    print(f"one shard of {part.shard.num_bytes / 1e6:.0f} MB, all pixels equal")
    print_times(times, "MB/s", part.shard.num_bytes / 1e6)
    return compare(times, PART, {"GNU tar, then boto3": 1.0, "put alone": FLOOR_GOAL})


def tar_and_put(job: ShardJob, store: Store, path: Path) -> None:
    raw = next(iter(job.entries[0].files.values())).parent
    subprocess.run(["tar", "-cf", str(path), "-C", str(raw), "--sort=name", "."], check=True)
    store.put("packed.tar", path)


def check_pixels(store: Store, key: str, folder: Path) -> None:
    """Stop unless our tar holds the arrays that GNU tar packed."""
    store.download(key, folder / "ours.tar")
    with tarfile.open(folder / "ours.tar") as ours, tarfile.open(folder / "packed.tar") as packed:
        theirs = {Path(member.name).name: member for member in packed if member.isfile()}
        for member in ours:
            if member.name.endswith(".npy"):
                same = theirs[member.name.removeprefix("image")]
                if body_of(ours, member) != body_of(packed, same):
                    raise SystemExit(f"{member.name} differs")


def body_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=NUM_IMAGES, help="images of 1000x1000 in the shard")
    print(table(run(parser.parse_args().images)))


if __name__ == "__main__":
    one_thread()
    main()
