"""The slides in a result folder: those with a summary, each with what it says or why it cannot be read."""

import hashlib
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from histoseg.errors import HistosegError
from histoseg.slides.summary import PARTS, SUMMARY, Summary, read_summary
from histoseg.store.objects import Store

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


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a result folder held when it was listed.

    Attributes:
        entries: The slides with a summary, by folder, sorted.
        unfinished: Folders of slides that are being segmented, or were.
    """

    entries: Mapping[str, Entry]
    unfinished: tuple[str, ...]


class Cohort:
    """A result folder; a run may still write to it, so each opening of the page lists it again."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._listing: Listing | None = None
        self._lock = threading.Lock()

    def list(self) -> Listing:
        """Look what is there now."""
        keys = [parts for key in self.store.list() if len(parts := key.split("/")) > 1]
        done = sorted({parts[0] for parts in keys if parts[1:] == [SUMMARY]})
        with ThreadPoolExecutor(NUM_READERS) as readers:
            entries = {entry.folder: entry for entry in readers.map(self._read, done)}
        unfinished = sorted({parts[0] for parts in keys if PARTS in parts[1:2]} - entries.keys())
        self._listing = Listing(entries=entries, unfinished=tuple(unfinished))
        return self._listing

    def find(self, folder: str) -> Entry | None:
        """A slide of the latest listing."""
        with self._lock:
            listing = self._listing or self.list()
        return listing.entries.get(folder)

    def _read(self, folder: str) -> Entry:
        try:
            summary = read_summary(self.store, folder)
        except HistosegError as error:
            return Entry(folder=folder, version="0", summary=None, problem=str(error))
        if summary is None:
            return Entry(folder=folder, version="0", summary=None, problem=f"{folder}: its summary has been removed")
        version = hashlib.sha256(summary.model_dump_json().encode()).hexdigest()[:12]
        return Entry(folder=folder, version=version, summary=summary)
