"""Finding, pairing and reading raw files; each fault is one line that names the file and what to do."""

import csv
import logging
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException
from jaxtyping import Int32, UInt8
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from histoseg.errors import DataError, MissingSourceError
from histoseg.types import EXTERNAL, FOLDS, IGNORE, MAP_IT, Entry, Image, Sample, SemanticMap, Split, Task, say_labels

logger = logging.getLogger(__name__)

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


@contextmanager
def _open(path: Path) -> Iterator[PillowImage.Image]:
    """The image, of any size; errors of Pillow become a DataError.

    Pillow and not OpenCV: OpenCV silently fills the rest of a truncated JPEG with grey.
    """
    limit = PillowImage.MAX_IMAGE_PIXELS
    PillowImage.MAX_IMAGE_PIXELS = None  # Sections of tissue exceed the 178 Mpx above which Pillow suspects an attack.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Unusual tags; unreadable pixels raise an error anyway.
            with PillowImage.open(path) as image:
                image.load()
                yield image
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable image ({reason}); fetch the file again") from error
    finally:
        PillowImage.MAX_IMAGE_PIXELS = limit


def read_image(path: Path) -> Image:
    """The image as RGB."""
    with _open(path) as image:
        if image.mode.startswith(("I", "F")):
            raise DataError(f"{path}: pixels of more than 8 bits (mode {image.mode}); save it as 8-bit RGB")
        return np.array(image.convert("RGB"))


def read_labels(path: Path) -> SemanticMap:
    """The values of a one-channel image; of an image with a palette, the indices."""
    with _open(path) as image:
        values = np.array(image)
    if values.ndim == 3 and (values == values[:, :, :1]).all():
        values = values[:, :, 0]  # Some tools save grey masks with three equal channels.
    if values.ndim != 2:
        raise DataError(f"{path}: an annotation of shape {values.shape}; expected one channel of class ids; {MAP_IT}")
    if values.max(initial=0) > 255:
        raise DataError(f"{path}: an annotation with value {values.max()}; expected values up to 255; {MAP_IT}")
    return values.astype(np.uint8)


def read_csv(path: Path, columns: Collection[str], *, content: str) -> list[dict[str, str]]:
    """The rows of a table, blanks around names and values removed; missing fields of a short row are empty.

    Args:
        path: The file; it may begin with a byte-order mark, as spreadsheets write it.
        columns: The columns that must be there.
        content: What only this file states, for the message where it is missing.
    """
    if not path.is_file():
        raise DataError(f"{path}: not found; only this file states {content}, so fetch it again")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            names = [name.strip() for name in rows.fieldnames or ()]
            rows.fieldnames = names
            table = [{name: (row[name] or "").strip() for name in names} for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({error}); fetch the file again") from error
    if not set(columns) <= set(names):
        raise DataError(f"{path}: columns {names}; expected {' and '.join(columns)}; fetch the file again")
    return table


def read_column(path: Path, column: str) -> dict[str, str]:
    """The value of each image in a column; an empty dict if the table has no such column."""
    values: dict[str, str] = {}
    for row in read_csv(path, ("Filename", "Split"), content="which fold an image is in"):
        name = row["Filename"].removesuffix(".png")
        if column in row and values.setdefault(name, row[column]) != row[column]:
            raise DataError(
                f"{path}: {column} of {name} is {values[name]!r} and {row[column]!r}; remove one of the rows"
            )
    return values


def read_folds(path: Path) -> dict[str, Split]:
    """The published fold of each image: `Split` is 1, 2, 3 or external."""
    folds: dict[str, Split] = dict(zip(("1", "2", "3", EXTERNAL), (*FOLDS, EXTERNAL), strict=True))
    texts = read_column(path, "Split")
    if wrong := [name for name, text in texts.items() if text.lower() not in folds]:
        raise DataError(f"{path}: Split of {wrong[0]} is {texts[wrong[0]]!r}; expected {', '.join(folds)}")
    return {name: folds[text.lower()] for name, text in texts.items()}


def no_fold(path: Path, names: Sequence[str]) -> DataError:
    """The error for a table without rows for some images."""
    return DataError(
        f"{path}: has no row for {names[0]} ({len(names)} images lack one); add it or fetch the file again"
    )


def read_xml(path: Path, repair: Callable[[bytes], bytes] = lambda text: text) -> Element:
    """The root of an XML file; `repair` corrects known faults of its text first."""
    try:
        root: Element = defusedxml.ElementTree.fromstring(repair(path.read_bytes()))
    except (ParseError, DefusedXmlException) as error:
        raise DataError(f"{path}: not well-formed XML ({error}); fetch the file again") from error
    return root


def make_sample(
    entry: Entry,
    task: Task,
    image: Image,
    semantic_map: UInt8[np.ndarray, "_ _"],
    instance_map: Int32[np.ndarray, "_ _"] | None = None,
    mpp: float = 0.0,
) -> Sample:
    """The sample, after checking sizes and class ids; it has the task's resolution unless another is given."""
    annotation = entry.files.get("annotation", entry.files["image"])
    for labels in (semantic_map, instance_map):
        if labels is not None and image.shape[:2] != labels.shape:
            raise DataError(
                f"{annotation}: {_size(labels)} px, but its image {entry.files['image'].name} has {_size(image)} px;"
                " fetch both again"
            )
    wrong = (semantic_map >= task.num_classes) & (semantic_map != IGNORE)
    if wrong.any():
        raise DataError(f"{annotation}: class id {semantic_map[wrong].max()}; {say_labels(task.num_classes)}")
    return Sample(
        key=entry.key,
        patient=entry.patient,
        image=image,
        semantic_map=semantic_map,
        mpp=mpp or task.mpp,
        instance_map=instance_map,
    )


def read_numbered(entry: Entry, task: Task) -> Sample:
    """An image whose annotation numbers its objects; all have class 1."""
    image = read_image(entry.files["image"])
    instance_map = read_labels(entry.files["annotation"]).astype(np.int32)
    return make_sample(entry, task, image, (instance_map != 0).astype(np.uint8), instance_map)


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
