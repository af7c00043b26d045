"""The entries of a source, checked before any pixel is read."""

import inspect
import os
from collections.abc import Mapping
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from histoseg.errors import ConfigError, DataError, HistosegError, MissingSourceError
from histoseg.runs.catalog import Source
from histoseg.runs.plain import digest
from histoseg.shards.marks import Stamp
from histoseg.shards.pool import DIED
from histoseg.shards.reading import say_exception
from histoseg.sources._declared import load_source
from histoseg.types import KEY_PATTERN, Entry


def option_names(source: Source) -> list[str]:
    """The names of the options of a source's reader."""
    return list(inspect.signature(source.entries).parameters)[1:]


def reader_digest(source: Source) -> str:
    """What stands for the code that reads a source: the text of its own file, without what it imports.

    Empty if there is no such file; of a declared source, whose declaration is among the raw files, too.
    """
    path = getattr(source, "__file__", None)
    try:
        return digest(Path(path).read_text(encoding="utf-8")) if path else ""
    except (OSError, UnicodeDecodeError):  # Within an archive, or compiled alone
        return ""


def find_entries(source: Source, raw: Path, options: Mapping[str, str]) -> list[Entry]:
    """The source's entries below a folder, sorted by key, options and keys checked; no pixel is read."""
    name, choices = source.TASK.name, option_names(source)
    if unknown := set(options) - set(choices):
        raise ConfigError(
            f"{name} has no option {', '.join(sorted(unknown))}; choose from {', '.join(choices) or 'none'}"
        )
    if not raw.is_dir():
        raise ConfigError(f"{raw} is not a folder; give the folder that holds the raw data sets")
    try:
        entries = list(source.entries(raw, **options))
    except HistosegError:
        raise
    except Exception as error:  # A lab's own module may raise anything.
        raise DataError(f"{name}: `entries` raised {say_exception(error, source)}") from error
    if not entries:
        raise MissingSourceError(f"{raw}: `entries` of {name} found nothing there, or left out all; see its file")
    _require_names(name, entries)
    return sorted(entries, key=lambda entry: entry.key)


def find_entries_apart(
    source: str, raw: Path, options: Mapping[str, str], declared: Mapping[str, Path], pool: Executor
) -> list[Entry]:
    """As `find_entries`, in another process: some sources read label files to list their images.

    `declared` has the `source.toml` of each source that a raw folder declares, by its name.
    """
    own = {name: path for name, path in declared.items() if name == source}
    try:
        return pool.submit(_find_entries_of, source, raw, options, own).result()
    except BrokenProcessPool as error:
        what = f"a file that `entries` of {source} reads {DIED}"
        raise DataError(f"{raw}: {what}; replace damaged files by intact copies") from error


def _find_entries_of(source: str, raw: Path, options: Mapping[str, str], declared: Mapping[str, Path]) -> list[Entry]:
    return find_entries(load_source(source, declared), raw, options)


def _require_names(source: str, entries: list[Entry]) -> None:
    """Refuse keys and patients that are not texts, and keys that are not unique or not names of objects."""
    if strange := [entry for entry in entries if not _is_text(entry.key) or not _is_text(entry.patient)]:
        names = f"key {strange[0].key!r} and patient {strange[0].patient!r}"
        raise DataError(f"{source}: an entry with {names}; `entries` must give both as texts that are not empty")
    keys = [entry.key for entry in entries]
    if bad := sorted(key for key in keys if not KEY_PATTERN.fullmatch(key)):
        raise DataError(f"{source}: key {bad[0]!r} has other characters than letters, digits, _ and -")
    if double := {key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else set():
        raise DataError(f"{source}: two images have the key {min(double)!r}; rename one of their files")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def stamps(entry: Entry, raw: Path) -> tuple[Stamp, ...]:
    """Role, path below the folder, size and time of each of an entry's raw files: they change when a file does."""
    return tuple((role, os.path.relpath(path, raw), *_state(path)) for role, path in sorted(entry.files.items()))


def _state(path: Path) -> tuple[int, int]:
    """Size and time of a file; one that is not there, such as a link without a target, has none."""
    try:
        state = path.stat()
    except OSError:
        return -1, 0
    return state.st_size, state.st_mtime_ns
