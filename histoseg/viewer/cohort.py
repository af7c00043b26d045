"""The slides in a result folder: those with a summary, each with what it says or why it cannot be read."""

import hashlib
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from histoseg.errors import HistosegError
from histoseg.slides.summary import SUMMARY, Summary, read_summary
from histoseg.store.objects import Store

STALE_S = 10.0  # A run may still write: what is older is listed again when the page asks.
NUM_READERS = 16  # Requests to S3 at a time


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One slide of the list.

    Attributes:
        folder: Its place in the store, and its name in the page's addresses.
        version: Changes with the summary, so that a browser does not keep what was written again.
        summary: None if it cannot be read; then `problem` says why.
    """

    folder: str
    version: str
    summary: Summary | None
    problem: str = ""


class Cohort:
    """A result folder, listed again when someone looks after a while."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.unfinished: tuple[str, ...] = ()
        self._entries: Mapping[str, Entry] = {}
        self._listed_at = -STALE_S
        self._lock = threading.Lock()

    def entries(self) -> Mapping[str, Entry]:
        """All slides with a summary, by folder, sorted."""
        with self._lock:
            if time.monotonic() - self._listed_at >= STALE_S:
                keys = [key.split("/") for key in self.store.list()]
                folders = sorted({key[0] for key in keys if len(key) > 1})
                done = sorted({key[0] for key in keys if len(key) == 2 and key[1] == SUMMARY})
                with ThreadPoolExecutor(NUM_READERS) as readers:
                    self._entries = {entry.folder: entry for entry in readers.map(self._read, done)}
                self.unfinished = tuple(folder for folder in folders if folder not in self._entries)
                self._listed_at = time.monotonic()
            return self._entries

    def _read(self, folder: str) -> Entry:
        try:
            summary = read_summary(self.store, folder)
        except HistosegError as error:
            return Entry(folder=folder, version="0", summary=None, problem=str(error))
        if summary is None:
            return Entry(folder=folder, version="0", summary=None, problem=f"{folder}: its summary has been removed")
        version = hashlib.sha256(summary.model_dump_json().encode()).hexdigest()[:12]
        return Entry(folder=folder, version=version, summary=summary)
