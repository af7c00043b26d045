"""Bytes of a slide at any place in it, from a local file or from an object in a bucket; threads may share either."""

import io
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from histoseg.errors import ConfigError, DataError, StorageError
from histoseg.slides.cache import Cache
from histoseg.store.objects import Store, connect

# A request to S3 takes some 20 ms, as long as 1 MB takes at 50 MB/s; tiles that follow each other share a request.
SPAN_BYTES = 2**20
KEPT_BYTES = 64 * 2**20
REMOTE = "s3://"


@runtime_checkable
class Spans(Protocol):
    """A file or an object, by parts."""

    @property
    def size(self) -> int:
        """Its bytes."""

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """That part; shorter where the file ends."""

    def close(self) -> None:
        """Release it."""


class LocalFile:
    """A file on this machine."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            what = f"cannot be read ({error.strerror}); correct its name or its permissions"
            raise DataError(f"{path}: {what}") from error

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        return os.pread(self._file.fileno(), num_bytes, offset)

    def close(self) -> None:
        self._file.close()


class StoredObject:
    """An object in a store, read by requests of SPAN_BYTES, of which the latest KEPT_BYTES are kept."""

    def __init__(self, store: Store, key: str) -> None:
        size = store.size(key)
        if size is None:
            raise DataError(f"{store.url} has no object {key!r}; correct the address")
        self.size = size
        self._store, self._key = store, key
        self._kept: Cache[memoryview] = Cache(KEPT_BYTES)

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        stop = min(offset + num_bytes, self.size)
        numbers = range(offset // SPAN_BYTES, -(-stop // SPAN_BYTES)) if stop > offset else range(0)
        parts = [self._kept.get(number, partial(self._fetch, number)) for number in numbers]
        begin = offset - numbers.start * SPAN_BYTES
        return b"".join(parts)[begin : begin + stop - offset]

    def _fetch(self, number: int) -> memoryview:
        start = number * SPAN_BYTES
        return memoryview(self._store.get_range(self._key, start, min(SPAN_BYTES, self.size - start)))

    def close(self) -> None:
        self._kept.clear()


class SpansFile(io.RawIOBase):
    """Spans as a file object, for readers of headers; closing it leaves the spans open."""

    def __init__(self, spans: Spans) -> None:
        self._spans, self._place = spans, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._spans.size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # Those are given
        found = self._spans.read_at(self._place, len(buffer))
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)


def locate(address: str) -> tuple[Store, str]:
    """The store and the key of an s3:// address."""
    folder, _, key = address.removeprefix(REMOTE).rpartition("/")
    if not folder or not key:
        raise ConfigError(f"slide {address!r}: write s3://bucket/path/slide.svs")
    return connect(REMOTE + folder), key


class LocalCopy:
    """A copy of an object in a temporary folder, until `close`."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if size > free:
            raise StorageError(
                f"{store.url}/{key}: this format is read from a local copy of {size / 1e9:.1f} GB, and"
                f" {tempfile.gettempdir()} has {free / 1e9:.1f} GB free; set TMPDIR to a folder with more room, or"
                " convert the slide to a tiled TIFF, which is read in place"
            )
        self._folder = tempfile.TemporaryDirectory(prefix="histoseg-slide-")
        self.path = Path(self._folder.name) / key
        try:
            store.download(key, self.path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the copy."""
        self._folder.cleanup()
