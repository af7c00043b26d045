"""Every stored byte against the index."""

import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from histoseg.errors import DataError, StorageError
from histoseg.shards.index import SourceIndex, open_index, rewrite_command
from histoseg.shards.reader import check_shard
from histoseg.shards.tar import members_of
from histoseg.store.keys import SHARDS, parse_index_key, shard_key
from histoseg.store.objects import Store


def prepared_sources(store: Store) -> list[tuple[str, str]]:
    """The source and the layout of each index in the store, sorted."""
    return sorted(parsed for key in store.list(SHARDS) if (parsed := parse_index_key(key)))


def verify_source(store: Store, source: str, layout: str) -> Iterator[str]:
    """One line for each fault of a source's shards; none if every byte is as it was written."""
    try:
        index = open_index(store, source, layout)
    except DataError as error:
        yield str(error)
        return
    if len(set(index.samples.key)) < len(index.samples.key):
        yield f"{source}: the index names a sample twice"
    with tempfile.TemporaryDirectory(prefix="histoseg-verify-") as folder:
        for number in range(len(index.shards)):
            try:
                _verify_shard(store, index, number, Path(folder) / "shard.tar")
            except (DataError, StorageError) as error:
                yield str(error)


def _verify_shard(store: Store, index: SourceIndex, number: int, path: Path) -> None:
    shard = index.shards[number]
    key = shard_key(index.task.name, index.layout, shard.name)
    store.download(key, path)
    check_shard(path, shard, store.url, index)
    with tarfile.open(path) as tar:
        members = {member.name for member in tar}
    keys = [key for key, where in zip(index.samples.key, index.samples.shard, strict=True) if where == number]
    wanted = {f"{key}.{part}" for key in keys for part in members_of(index.task.kind)}
    if members != wanted:
        again = rewrite_command(index.task.name, store.url, index.layout, index.options)
        raise DataError(f"{store.url}/{key} holds other samples than its index lists; write it again: {again}")
