"""Samples a second: our shards against PNG files and WebDataset, and reading alone against memory and S3.

    python benchmarks/loader.py

Everybody gives the same augmented patches, made by one thread without prefetching, from the same stored samples: whole
images of 1000² for patches of 768, tiles of about 167² for patches of 96. WebDataset reads the very shards we write,
one after the other; the other two read in a random order.
"""

import importlib
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _timing import Finding, compare, interleaved, missing, one_thread, print_times, table
from _tissue import write_raw

from histoseg.errors import HistosegError
from histoseg.loaders.augment import Augment
from histoseg.loaders.prefetch import PatchCutter, PatchPlan
from histoseg.runs.config import Data
from histoseg.shards.reader import MetaDataset, ShardCache
from histoseg.shards.writer import Recipe, write_shards
from histoseg.store.keys import shard_key
from histoseg.store.objects import Store, connect

SOURCE, NUM_IMAGES, NUM_ROUNDS = "synthetic", 12, 7
NUM_DRAWN = {768: 12, 96: 200}  # Patches a round, about a quarter of a second.
PATCH_GOAL, RAW_GOAL = 1.0, 0.97


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Shards of the same images, as every competitor reads them; `order` is in which rows are drawn."""

    data: Data
    dataset: MetaDataset
    png: Path
    order: list[int]


def run() -> list[Finding]:
    """Patches and raw reads for two patch sizes, then the first read from S3."""
    with tempfile.TemporaryDirectory(prefix="histoseg-benchmark-") as name:
        folder = Path(name)
        write_raw(folder / "raw", NUM_IMAGES)
        findings = []
        for patch_px, num_drawn in NUM_DRAWN.items():
            prepared = prepare(folder, patch_px, num_drawn)
            findings += compare_patches(prepared) + compare_raw(prepared)
        return findings + compare_first_read(folder)


def prepare(folder: Path, patch_px: int, num_drawn: int) -> Prepared:
    data, store = Data(patch_px=patch_px), connect(f"file://{folder}/store")
    write(folder, data, store)
    dataset = MetaDataset.open(store, [SOURCE], f"{patch_px}px", folder / "cache")
    num_rows = len(dataset.sources[SOURCE].rows())
    png = folder / f"png{patch_px}"
    png.mkdir()
    for row in range(num_rows):  # This also fills the cache.
        for part, pixels in zip(("image", "map"), dataset.read(SOURCE, row), strict=True):
            stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if part == "image" else pixels
            cv2.imwrite(str(png / f"{row}_{part}.png"), stored)
    order = np.random.default_rng(0).permutation(num_rows)[:num_drawn].tolist()
    return Prepared(data=data, dataset=dataset, png=png, order=order)


def write(folder: Path, data: Data, store: Store) -> None:
    with ThreadPoolExecutor(1) as pool:  # Processes of their own would take longer to start than to write this.
        write_shards(SOURCE, folder / "raw", store, Recipe(data=data), pool)


def compare_patches(prepared: Prepared) -> list[Finding]:
    """Augmented patches, which must be equal."""
    part = f"patches of {prepared.data.patch_px}"
    calls = {"histoseg": partial(cut_ours, prepared), "PNG files": partial(cut_png, prepared)}
    for ours, theirs in zip(*(call() for call in calls.values()), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    findings = []
    try:
        importlib.import_module("webdataset")
    except ImportError as error:
        findings.append(missing(part, "webdataset", error))
    else:
        calls["webdataset"] = partial(cut_webdataset, prepared)
        check_webdataset(prepared)
    times = interleaved(calls, NUM_ROUNDS)
    print(f"\n{part}, augmented, equal")
    print_times(times, "patches/s", len(prepared.order))
    return findings + compare(times, part, dict.fromkeys(calls, PATCH_GOAL))


def cut_ours(prepared: Prepared) -> np.ndarray:
    cutter = PatchCutter(prepared.dataset, prepared.data)
    return cutter.cut([PatchPlan(source=SOURCE, row=row, seed=row) for row in prepared.order]).images


def cut_png(prepared: Prepared) -> np.ndarray:
    """As a torch Dataset of files would, by its `__getitem__`, and collated."""
    augment = Augment(prepared.data)
    patches = []
    for row in prepared.order:
        image = np.asarray(cv2.imread(str(prepared.png / f"{row}_image.png"), cv2.IMREAD_COLOR_RGB))
        semantic_map = np.asarray(cv2.imread(str(prepared.png / f"{row}_map.png"), cv2.IMREAD_GRAYSCALE))
        patches.append(augment(image, [semantic_map], row)[0])
    return np.stack(patches)


def cut_webdataset(prepared: Prepared) -> np.ndarray:
    augment = Augment(prepared.data)
    patches = []
    for number, sample in zip(prepared.order, stream(prepared), strict=False):
        patches.append(augment(sample["image.npy"], [sample["semantic_map.npy"]], number)[0])
    return np.stack(patches)


def check_webdataset(prepared: Prepared) -> None:
    """Stop unless WebDataset finds our samples, in stored order and with our pixels."""
    keys = prepared.dataset.sources[SOURCE].samples.key
    for row, sample in zip(range(len(prepared.order)), stream(prepared), strict=False):
        image, _ = prepared.dataset.read(SOURCE, row)
        if sample["__key__"] != keys[row] or not np.array_equal(sample["image.npy"], image):
            raise SystemExit(f"WebDataset reads another {keys[row]}")


def stream(prepared: Prepared) -> Iterator[dict[str, Any]]:
    """The samples as WebDataset reads them out of our tars."""
    import webdataset

    shards = prepared.dataset.sources[SOURCE].shards
    paths = [str(prepared.dataset.cache.folder / f"{shard.sha256}.tar") for shard in shards]
    return iter(webdataset.WebDataset(paths, shardshuffle=False, empty_check=False).decode())


def compare_raw(prepared: Prepared) -> list[Finding]:
    """Reading without augmentation, each pixel copied once, against the same from bytes in memory."""
    index = prepared.dataset.sources[SOURCE]
    bodies = [(prepared.dataset.cache.folder / f"{shard.sha256}.tar").read_bytes() for shard in index.shards]
    samples = index.samples

    def from_memory() -> list[np.ndarray]:
        copies = []
        for row in prepared.order:
            shape, body = (samples.height[row], samples.width[row]), bodies[samples.shard[row]]
            for offset, full in ((samples.image_offset[row], (*shape, 3)), (samples.map_offset[row], shape)):
                count = full[0] * full[1] * (3 if len(full) == 3 else 1)
                copies.append(np.frombuffer(body, np.uint8, count, offset).reshape(full).copy())
        return copies

    def from_cache() -> list[np.ndarray]:
        return [array.copy() for row in prepared.order for array in prepared.dataset.read(SOURCE, row)]

    for ours, theirs in zip(from_cache(), from_memory(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    times = interleaved({"histoseg": from_cache, "the same from memory": from_memory}, 3 * NUM_ROUNDS)
    part = f"reading for {prepared.data.patch_px}, no augmentation"
    print_times(times, "samples/s", len(prepared.order))
    return compare(times, part, {"the same from memory": RAW_GOAL})


def compare_first_read(folder: Path) -> list[Finding]:
    """An empty cache and a real S3 server: fetch, check and map each shard, against boto3's download alone."""
    part, reference = "first read from S3", "download alone"
    try:
        from ray_jobs.local_store import local_store

        with ExitStack() as stack:
            served = stack.enter_context(local_store(folder / "s3"))
            store = connect(f"{served.url}/loader")
            write(folder, Data(), store)
            return time_first_read(part, reference, store, folder / "first")
    except (ImportError, HistosegError) as error:
        return [missing(part, reference, error)]


def time_first_read(part: str, reference: str, store: Store, folder: Path) -> list[Finding]:
    index = MetaDataset.open(store, [SOURCE], Data().layout, folder).sources[SOURCE]
    num_bytes = sum(shard.num_bytes for shard in index.shards)

    def download() -> None:
        for number, shard in enumerate(index.shards):
            store.download(shard_key(SOURCE, index.layout, shard.name), folder / str(number))

    def fetch() -> None:
        cache = ShardCache(store, folder)
        for number in range(len(index.shards)):
            cache.open(index, number)

    times = interleaved({"histoseg": fetch, reference: download}, NUM_ROUNDS, lambda: shutil.rmtree(folder, True))
    print(f"\nfirst read of {num_bytes / 1e6:.0f} MB in {len(index.shards)} shards from SeaweedFS, SHA-256 checked")
    print_times(times, "MB/s", num_bytes / 1e6)
    return compare(times, part, {})


if __name__ == "__main__":
    one_thread()
    print(table(run()))
