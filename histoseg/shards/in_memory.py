"""Samples that are in memory, written as a prepared source: made-up data needs no raw files."""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from histoseg.runs.config import Data
from histoseg.shards.index import encode_index
from histoseg.shards.stored import Shard, ShardPart
from histoseg.shards.tar import write_tar
from histoseg.shards.tiles import smallest_tile_px
from histoseg.store.keys import index_key, shard_key
from histoseg.store.objects import Store
from histoseg.types import Sample, Split, Task


def put_source(store: Store, task: Task, data: Data, splits: Mapping[Split, Sequence[Sample]]) -> None:
    """Write a source with one shard for each split; its index says that it is demo data."""
    tile_px = smallest_tile_px(data)
    parts = [_put_shard(store, task, data, split, samples) for split, samples in splits.items()]
    body = encode_index(task, parts, origin="demo", layout=data.layout, tile_px=tile_px, options={})
    store.put(index_key(task.name, data.layout), body)


def _put_shard(store: Store, task: Task, data: Data, split: Split, samples: Sequence[Sample]) -> ShardPart:
    with tempfile.TemporaryDirectory(prefix="histoseg-shard-") as folder:
        path = Path(folder, "shard.tar")
        columns = write_tar(path, samples, task, split, smallest_tile_px(data))
        body = path.read_bytes()
    shard = Shard(
        name=f"{split}.tar",
        split=split,
        sha256=hashlib.sha256(body).hexdigest(),
        num_bytes=len(body),
        num_samples=len(columns.key),
    )
    store.put(shard_key(task.name, data.layout, shard.name), body)
    return ShardPart(shard=shard, samples=columns)
