"""Finding raw files, and pairing images with annotations; each fault is one line that names the file and what to do."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from histoseg.errors import DataError, MissingSourceError
from histoseg.types import Entry

MAX_DEPTH = 6  # How many folders deep a source may lie below the one given: unpacked archives nest their names.
MAX_NAMED = 3  # More names than this make a message hard to read.

Folders = Mapping[Path, Sequence[Path]]


def scan(root: Path) -> dict[Path, list[Path]]:
    """The folder and those below it, each with its files, in sorted order; hidden names and `__MACOSX` left out."""
    if not root.is_dir():
        raise MissingSourceError(f"{root} is not a folder; give the folder that holds the raw data")
    return dict(_walk(root, MAX_DEPTH))


def _walk(folder: Path, depth: int) -> Iterator[tuple[Path, list[Path]]]:
    members = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    below = [path for path in members if path.is_dir()]
    yield folder, [path for path in members if path not in set(below)]
    if depth > 0:
        for path in below:
            yield from _walk(path, depth - 1)


def plain(name: str) -> str:
    """The letters and digits of a name, lower case: `Train Imgs`, `Train_imgs` and `train-imgs` are `trainimgs`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def select(folders: Folders, pattern: str, where: Callable[[Path], bool] = lambda _: True) -> list[Path]:
    """The files whose whole name matches, ignoring case, in those folders for which `where` holds."""
    expression = re.compile(pattern, re.IGNORECASE)
    return [
        path for folder, files in folders.items() if where(folder) for path in files if expression.fullmatch(path.name)
    ]


def in_part(folder: Path, root: Path, source: str, parts: Collection[str]) -> bool:
    """Whether a folder such as `train/Images` belongs to that source: other data sets have folders of the same names.

    The part (`train`) must lie in the root itself, or below a folder whose name contains the source's. Names of
    folders above the root do not count.
    """
    part = folder.parent
    names = (root.name, *part.relative_to(root).parts) if part.is_relative_to(root) else ()
    within = part.parent == root or any(source in plain(name) for name in names)
    return plain(part.name) in parts and within


def missing(root: Path, title: str, wanted: str) -> MissingSourceError:
    """The error for a source without a single file below the root."""
    return MissingSourceError(
        f"{root}: no {title} found, looked {MAX_DEPTH} folders deep for {wanted}; unpack it there"
    )


def by_name(
    folders: Folders,
    pattern: str,
    where: Callable[[Path], bool] = lambda _: True,
    name: Callable[[Path], str] = lambda path: path.stem,
) -> dict[str, Path]:
    """The files that `select` finds, by the name given to each; two of the same name are refused."""
    named: dict[str, Path] = {}
    for path in select(folders, pattern, where):
        if (twin := named.setdefault(name(path), path)) != path:
            raise DataError(f"{path}: the same image name as {twin}; keep one of the two copies")
    return named


def pair(
    root: Path, title: str, wanted: str, images: Mapping[str, Path], annotations: Mapping[str, Path]
) -> dict[str, dict[str, Path]]:
    """Image and annotation of each name; refuses files without their counterpart.

    `root` is where files were sought, `title` the source's, `wanted` what a folder without any lacks.
    """
    if not images and not annotations:
        raise missing(root, title, wanted)
    for paths, others, lacking in ((images, annotations, "annotation"), (annotations, images, "image")):
        if alone := sorted(paths.keys() - others.keys()):
            raise DataError(
                f"{title}: {_listing(paths, alone)} without {lacking}; unpack the whole data set or remove it"
            )
    return {name: {"image": image, "annotation": annotations[name]} for name, image in images.items()}


def _listing(paths: Mapping[str, Path], names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(str(paths[name]) for name in names[:MAX_NAMED]) + more


def make_key(name: str) -> str:
    """The name, with `-` in place of each run of characters that a key may not have."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")


def require_unique(entries: Sequence[Entry]) -> list[Entry]:
    """The entries, sorted by key."""
    ordered = sorted(entries, key=lambda entry: entry.key)
    for first, second in pairwise(ordered):
        if first.key == second.key:
            raise DataError(
                f"{second.files['image']}: its key {second.key!r} is also that of {first.files['image']}; rename one"
            )
    return ordered
