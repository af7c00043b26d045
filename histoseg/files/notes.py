"""What reading leaves out or changes, counted while it happens.

    with collect() as notes:
        sample = read(entry)
    notes                               # Counter({"regions with fewer than three vertices left out": 3})

Readers run in processes whose log no one sees, so notes are values: they are stored with a source's shards, and stand
in its index, the log and the page. The text is the same for every file, and says what was found and what was done.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[Counter[str] | None] = ContextVar("notes", default=None)


def note(text: str, count: int = 1) -> None:
    """Count something; nothing happens outside of `collect` or for a count of 0."""
    notes = _current.get()
    if notes is not None and count:
        notes[text] += count


@contextmanager
def collect() -> Iterator[Counter[str]]:
    """Everything noted within, by its text."""
    notes: Counter[str] = Counter()
    token = _current.set(notes)
    try:
        yield notes
    finally:
        _current.reset(token)
