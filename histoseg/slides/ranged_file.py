"""An object of a store as a file, of which only those parts are fetched that are read."""

import io
import os

from histoseg.errors import StorageError
from histoseg.store.objects import Store


class RangedFile(io.RawIOBase):
    """Each read is one request for these bytes."""

    def __init__(self, store: Store, key: str) -> None:
        size = store.size(key)
        if size is None:
            raise StorageError(f"{store.url} has no object {key!r}")
        self.store, self.key, self.num_bytes = store, key, size
        self.place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.num_bytes}[whence]
        self.place = max(0, origin + offset)
        return self.place

    def read(self, num_bytes: int | None = -1) -> bytes:
        left = max(0, self.num_bytes - self.place)
        wanted = left if num_bytes is None or num_bytes < 0 else min(num_bytes, left)
        found = self.store.get_range(self.key, self.place, wanted) if wanted else b""
        self.place += len(found)
        return found
