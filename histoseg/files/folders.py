"""Finding raw files, and pairing images with annotations; each fault is one line that names the file and what to do."""

import hashlib
import logging
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from histoseg.errors import DataError, MissingSourceError
from histoseg.types import Entry

logger = logging.getLogger(__name__)

MAX_DEPTH = 6  # How many folders deep a source may lie below the one given: unpacked archives nest their names.
MAX_NAMED = 3  # More names than this make a message hard to read.

DIGEST = 8  # Hexadecimal digits: two of ten thousand names are alike in one of a hundred sets, and then refused.
# Formats that keep every pixel. Converted sets have other ones than the published.
LOSSLESS = "png|tiff?|bmp"
LOSSY = "jpe?g"
ENDING = re.compile(rf"\.({LOSSLESS}|{LOSSY}|mat|npy|xml|svs|ndpi)$", re.IGNORECASE)

Value = TypeVar("Value")
Folders = Mapping[Path, Sequence[Path]]


def scan(root: Path) -> dict[Path, list[Path]]:
    """The folder and those below it, each with its files, in sorted order.

    Hidden names, `__MACOSX` and links to a folder that the link lies in are left out.
    """
    if not root.is_dir():
        raise MissingSourceError(f"{root} is not a folder; give the folder that holds the raw data")
    return dict(_walk(root, MAX_DEPTH))


def _walk(folder: Path, depth: int) -> Iterator[tuple[Path, list[Path]]]:
    files, below = _list(folder)
    yield folder, files
    if depth > 0:
        for path in below:
            if not (path.is_symlink() and folder.resolve().is_relative_to(path.resolve())):
                yield from _walk(path, depth - 1)


def _list(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files and the folders in a folder; both empty where it cannot be read, as `lost+found` of a disk."""
    try:
        members = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
        below = [path for path in members if path.is_dir()]
    except OSError as error:
        _warn(folder, error.strerror or str(error))
        return [], []
    return [path for path in members if path not in set(below)], below


@cache
def _warn(folder: Path, reason: str) -> None:
    """Once for each folder: every source is sought in it."""
    logger.warning("%s: cannot be read (%s), so what lies in it is left out; change its permissions", folder, reason)


def plain(name: str) -> str:
    """The letters and digits of a name, lower case: `Train Imgs`, `Train_imgs` and `train-imgs` are `trainimgs`."""
    return "".join(letter for letter in nfc(name).casefold() if unicodedata.category(letter)[0] in "LMN")


def nfc(name: str) -> str:
    """The name with each accented letter as one character: macOS stores a letter and its accent as two."""
    return unicodedata.normalize("NFC", name)


def without_ending(name: str) -> str:
    """The name of an image or label file as a table may give it, without the ending of its format if it has one."""
    return nfc(ENDING.sub("", name.strip()))


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
    known: Collection[str] = (),
) -> dict[str, Path]:
    """The files that `select` finds, by the name given to each, in NFC; two of the same name are refused.

    Names that are known already are left out, and links to a file that is found.
    """
    named: dict[str, Path] = {}
    for path in select(folders, pattern, where):
        own = nfc(name(path))
        if own not in known and (twin := named.setdefault(own, path)) != path and twin.resolve() != path.resolve():
            raise DataError(f"{path}: the same image name as {twin}; keep one of the two copies")
    return named


def by_image_name(
    folders: Folders,
    stem: str,
    endings: Sequence[str],
    where: Callable[[Path], bool] = lambda _: True,
    name: Callable[[Path], str] = lambda path: path.stem,
) -> dict[str, Path]:
    """The image files whose name without ending matches, by the name given to each.

    Args:
        folders: Where to look.
        stem: The pattern of names without ending.
        endings: Patterns of endings, such as those of the published format and then those of converted sets: where a
            name has files of several, the first counts.
        where: Which folders count.
        name: The name of a file.
    """
    found: dict[str, Path] = {}
    for ending in endings:
        found |= by_name(folders, rf"{stem}\.({ending})", where, name, known=found)
    return found


def beside(folders: Folders, folder: Path, name: str) -> Path:
    """The file of that name in a folder, ignoring case; where there is none, the path that it should have."""
    matches = [path for path in folders.get(folder, ()) if nfc(path.name).casefold() == nfc(name).casefold()]
    return folder / name if folder / name in matches or not matches else matches[0]


def spelt_as(names: Collection[str], values: Mapping[str, Value]) -> dict[str, Value]:
    """The values under those names that theirs equal, or equal ignoring case; others stay as they are."""
    folded = {name.casefold(): name for name in names}
    return {
        name if name in names or (other := folded.get(name.casefold(), name)) in values else other: value
        for name, value in values.items()
    }


def pair(
    root: Path, title: str, wanted: str, images: Mapping[str, Path], annotations: Mapping[str, Path]
) -> dict[str, dict[str, Path]]:
    """Image and annotation of each image name, which need not be alike in case; refuses files without counterpart.

    `root` is where files were sought, `title` the source's, `wanted` what a folder without any lacks.
    """
    if not images and not annotations:
        raise missing(root, title, wanted)
    annotations = spelt_as(images, annotations)
    for paths, others, lacking in ((images, annotations, "annotation"), (annotations, images, "image")):
        if alone := sorted(paths.keys() - others.keys()):
            raise DataError(
                f"{title}: {_listing(paths, alone)} without {lacking}; complete the data set or remove what lacks it"
            )
    return {name: {"image": image, "annotation": annotations[name]} for name, image in images.items()}


def _listing(paths: Mapping[str, Path], names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(str(paths[name]) for name in names[:MAX_NAMED]) + more


def make_key(name: str) -> str:
    """The name, with `-` in place of each run of characters that a key may not have.

    A name without a Latin letter, but with other characters that a key may not have, gets a digest: else `患者1` and
    `样本1` would be the same.
    """
    name = nfc(name)
    key = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    if (re.search("[A-Za-z]", key) or name.isascii()) and key:
        return key
    return f"{key}-{hashlib.sha256(name.encode()).hexdigest()[:DIGEST]}".lstrip("-")


def require_unique(entries: Sequence[Entry]) -> list[Entry]:
    """The entries, sorted by key."""
    ordered = sorted(entries, key=lambda entry: entry.key)
    for first, second in pairwise(ordered):
        if first.key == second.key:
            raise DataError(
                f"{second.files['image']}: its key {second.key!r} is also that of {first.files['image']}; rename one"
            )
    return ordered
