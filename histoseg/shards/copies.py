"""Images that are copies of others, which must not be in two splits."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from histoseg.shards.splits import split_by_patient
from histoseg.types import Entry, Split

MIDDLE_BYTES = 4096  # What is read of files of one size, before those that agree in it are read as a whole


def split_without_copies(entries: Sequence[Entry], source: str) -> tuple[dict[str, Split], list[str]]:
    """The split of each patient, as by `split_by_patient`, and a line about copies if there are any.

    Patients with the same image are dealt together.
    """
    groups = find_copies(entries)
    one_of = _join(groups)
    dealt = split_by_patient([replace(e, patient=one_of.get(e.patient, e.patient)) for e in entries], source)
    splits = {entry.patient: dealt[one_of.get(entry.patient, entry.patient)] for entry in entries}
    several = [group for group in groups if len({entry.patient for entry in group}) > 1]
    return splits, [_say(source, several)] if several else []


def find_copies(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Groups of images whose files have the same bytes; entries of one file, as an array of images, are no copies."""
    by_path = {entry.files["image"]: entry for entry in entries if "image" in entry.files}
    groups = [sorted(by_path)]
    for key in (_size, _middle, _whole):
        groups = [part for group in groups for part in _divide(group, key)]
    return [[by_path[path] for path in group] for group in groups]


def _divide(paths: Sequence[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    """The files that share a key with another."""
    parts: dict[Hashable, list[Path]] = {}
    for path in paths:
        with suppress(OSError):  # It is left out, with the reason, when it is read as an image.
            parts.setdefault(key(path), []).append(path)
    return [part for part in parts.values() if len(part) > 1]


def _size(path: Path) -> int:
    return path.stat().st_size


def _middle(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(path.stat().st_size // 2)
        return file.read(MIDDLE_BYTES)


def _whole(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _join(groups: Sequence[Sequence[Entry]]) -> Mapping[str, str]:
    """The first, by name, of all patients that a patient shares images with, directly or through others."""
    one_of: dict[str, str] = {}
    for group in groups:
        names = {one_of.get(entry.patient, entry.patient) for entry in group}
        first = min(names)
        one_of |= {patient: first for patient, one in one_of.items() if one in names} | dict.fromkeys(names, first)
    return one_of


def _say(source: str, groups: Sequence[Sequence[Entry]]) -> str:
    """What was found and done, with the first copies by their files."""
    first, second = next((a, b) for a, b in zip(groups[0], groups[0][1:], strict=False) if a.patient != b.patient)
    count = sum(map(len, groups)) - len(groups)
    return (
        f"{source}: {count} images are copies of others under another patient, such as {second.files['image']} of"
        f" {first.files['image']}; patients with the same image are in one split, so remove copies or correct patients"
    )
