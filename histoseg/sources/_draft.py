"""A first `source.toml` for a folder, guessed from its files; a person completes and corrects it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from scipy import ndimage

from histoseg.errors import DataError
from histoseg.files.folders import scan
from histoseg.files.images import read_image
from histoseg.files.labels import CLEAR, read_colours, read_instance_map, read_labels
from histoseg.files.regions import Region
from histoseg.sources._declaration import FILE, IMAGE_FILES, LABEL_FILES, TRANSPARENT
from histoseg.sources._outlines import READERS, read_shared
from histoseg.types import Kind

LABELS = (*LABEL_FILES, ".mat", *READERS)
FEW = 3  # Files of COCO in a folder; there is one of LabelMe for each image.
LOOKED_AT = 20  # Names that are compared, and label files that are read
MAX_CLASSES = 20  # More different values number objects.
PHOTO_COLOURS = 256  # An image of tissue has more different colours, a label image fewer.
# What says whose image it is: a folder or a barcode of TCGA; of a name all but a last number, or what is before the
# first separator.
PATIENTS = (
    "(?i)/((?:patient|pat|pt|p|case|subject|donor|slide)[ _-]?[0-9][^/]*)/",
    "(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})",
    "/([^/]+?)[_-][^/_-]*[0-9]+[^/_-]*$",
    "/([^/_-]+)[_-][^/]*$",
)
SPLIT = re.compile(
    "(?i)(train|test|val|valid|validation|fold)[a-z]?[0-9]*$"
)  # Names that say what an image is for, not whose it is

Group = tuple[str, str]  # A folder below the one looked at, with / at its end unless it is that folder; an ending


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a folder seems to be.

    Attributes:
        images, labels: As in a declaration; `labels` is empty where folders are classes.
        names: The images below the folder, without endings.
        values: The class of each value or colour; empty where labels number objects.
        patient: The expression for patients; empty where names show none.
        remarks: What a person must check.
    """

    images: str
    labels: str
    names: Sequence[str]
    kind: Kind
    classes: Sequence[str]
    values: Mapping[str, str] = field(default_factory=dict)
    patient: str = ""
    remarks: Sequence[str] = ()

    @property
    def patients(self) -> list[str]:
        """The patients that names show, sorted."""
        found = (re.search(self.patient, f"/{name}") for name in self.names if self.patient)
        return sorted({match[1] for match in found if match})


def look_at(folder: Path) -> Draft:
    """What a folder of images and labels seems to be.

    Raises:
        DataError: If no images with labels are found.
    """
    groups = _group(folder)
    counted = Counter[tuple[str, str]]()
    for image, label in product(groups, groups):
        for template in _templates(folder, image, label, groups):
            for patterns, count in _count(image, label, template, groups).items():
                counted[patterns] += count
    counted.update(_count_shared(folder, groups))
    if not counted:
        return _class_folders(folder, groups)
    # Of equal counts the first: a pattern with the folder's own name comes before one with a place for it.
    (images, labels), count = max(counted.items(), key=lambda item: item[1])
    names = _names(images, groups, labels)
    paths = [folder / path for path in _paths(labels, groups)]
    if "{" in labels:
        kind, classes, values, remarks = _guess_labels(paths)
    else:
        kind, classes, values, remarks = _guess_outlines(
            [each for one in read_shared(paths[0]).values() for each in one]
        )
    alone = [f"{len(names) - count} images have no label as {labels}: correct `labels`, or move them out of the folder"]
    return Draft(
        images=images,
        labels=labels,
        names=names,
        kind=kind,
        classes=classes,
        values=values,
        patient=_guess_patient(names),
        remarks=[*(alone if len(names) > count else ()), *remarks],
    )


def _group(folder: Path) -> dict[Group, list[str]]:
    """Names without endings of all files that may be images or labels."""
    groups: dict[Group, list[str]] = {}
    for place, files in scan(folder).items():
        below = "" if place == folder else f"{place.relative_to(folder).as_posix()}/"
        for path in files:
            if path.suffix.lower() in {*IMAGE_FILES, *LABELS}:
                groups.setdefault((below, path.suffix), []).append(path.stem)
    return groups


def _templates(folder: Path, image: Group, label: Group, groups: Mapping[Group, list[str]]) -> list[str]:
    """How names of labels seem to follow from those of images, as `{name}_mask`; the likeliest alone."""
    if image[1].lower() not in IMAGE_FILES or label[1].lower() not in LABELS:
        return []
    stems = groups[image][:: max(1, len(groups[image]) // LOOKED_AT)]
    found = Counter(
        other.replace(stem, "{name}", 1)
        for stem in stems
        for other in groups[label]
        if stem in other and (image, stem) != (label, other)
    )
    pairs = [(template, stem) for template, _ in found.most_common(1) for stem in stems]
    known = set(groups[label])
    return [
        template
        for template, stem in pairs
        if (other := template.replace("{name}", stem)) in known
        and _is_photo(folder / f"{image[0]}{stem}{image[1]}")
        and not _is_photo(folder / f"{label[0]}{other}{label[1]}")
    ][:1]


@cache
def _is_photo(path: Path) -> bool:
    """Whether a file shows tissue: labels have few colours, or are no picture."""
    try:
        red, green, blue = read_image(path).astype(np.int32).transpose(2, 0, 1)
    except DataError:
        return False
    return len(np.unique((red << 16) + (green << 8) + blue)) > PHOTO_COLOURS


def _count(image: Group, label: Group, template: str, groups: Mapping[Group, list[str]]) -> dict[tuple[str, str], int]:
    """The images that have a label so named, by patterns: as they are, with {folder} for one, with * for the ending."""
    known = set(groups[label])
    count = sum(template.replace("{name}", stem) in known for stem in groups[image])
    images, labels = f"{image[0]}{{name}}{image[1]}", f"{label[0]}{template}{label[1]}"
    shared = [part for part in image[0].split("/")[:-1] if part in label[0].split("/")[:-1]]
    patterns = [(images, labels), *((_open(images, part), _open(labels, part)) for part in shared)]
    endings = [(f"{images.removesuffix(image[1])}.*", labels) for images, labels in patterns]
    return dict.fromkeys([*patterns, *endings], count)


def _count_shared(folder: Path, groups: Mapping[Group, list[str]]) -> dict[tuple[str, str], int]:
    """The images that a file of COCO lists, by patterns as `_count` has them."""
    counted: dict[tuple[str, str], int] = {}
    several = {group: stems for group, stems in groups.items() if group[1].lower() == ".json" and len(stems) <= FEW}
    for label in (f"{place}{stem}{ending}" for (place, ending), stems in several.items() for stem in stems):
        try:
            listed = read_shared(folder / label)
        except DataError:  # It is of another kind.
            continue
        for (place, ending), stems in groups.items():
            if ending.lower() in IMAGE_FILES and (
                count := sum(f"{stem}{ending}".casefold() in listed for stem in stems)
            ):
                for images in (f"{place}{{name}}{ending}", f"{place}{{name}}.*"):
                    counted[images, label] = counted.get((images, label), 0) + count
    return counted


def _open(pattern: str, folder: str) -> str:
    """The pattern with {folder} in place of a folder."""
    return "/".join("{folder}" if part == folder else part for part in pattern.split("/"))


def _paths(pattern: str, groups: Mapping[Group, list[str]]) -> list[str]:
    """All files of a pattern."""
    expression = re.compile(re.sub(r"\\\{\w+\\\}|\\\*", "[^/]+", re.escape(pattern)))
    paths = (f"{place}{stem}{ending}" for (place, ending), stems in groups.items() for stem in stems)
    return [path for path in paths if expression.fullmatch(path)]


def _names(images: str, groups: Mapping[Group, list[str]], labels: str) -> list[str]:
    """The images of a pattern without endings; what is a label is none."""
    others = set(_paths(labels, groups)) if labels.count("{name}") and labels != images else set()
    return [path.rpartition(".")[0] for path in _paths(images, groups) if path not in others]


def _class_folders(folder: Path, groups: Mapping[Group, list[str]]) -> Draft:
    """A folder with images of each class in a folder of its own."""
    above = Counter((place.rpartition("/")[0].rpartition("/")[0], ending) for place, ending in groups if place)
    (top, ending), count = max(above.items(), key=lambda item: item[1], default=(("", ""), 0))
    if count < 2 or ending.lower() not in IMAGE_FILES:
        raise DataError(
            f"{folder}: no images with labels among {sum(map(len, groups.values()))} files; each image needs a label "
            f"file ({', '.join(LABELS)}; JPEG changes values) whose name contains the image's, or a folder named as "
            f"its class; or write {FILE} by hand"
        )
    images = f"{top}/*/{{name}}{ending}".removeprefix("/")
    classes = sorted(place.rstrip("/").rpartition("/")[2] for place, one in groups if one == ending and place)
    names = [f"{place}{stem}" for (place, one), stems in groups.items() if one == ending and place for stem in stems]
    remarks = ["classes: one for each folder; the first is that of images without tissue, if there is one"]
    return Draft(
        images=images,
        labels="",
        names=names,
        kind="patch",
        classes=classes,
        patient=_guess_patient(names),
        remarks=remarks,
    )


def _guess_patient(names: Sequence[str]) -> str:
    """The first expression by which several images share one of several patients."""
    for expression in PATIENTS:
        found = [match[1] for name in names if (match := re.search(expression, f"/{name}"))]
        is_of_split = any(SPLIT.match(patient) for patient in found)
        if len(found) == len(names) and 1 < len(set(found)) < len(names) and not is_of_split:
            return expression
    return ""


def _guess_labels(paths: Sequence[Path]) -> tuple[Kind, list[str], dict[str, str], list[str]]:
    """Kind, classes, values and remarks, from some label files."""
    looked = paths[:: max(1, len(paths) // LOOKED_AT)]
    if looked[0].suffix.lower() == ".mat":
        return "instance", ["background", "object"], {}, ["classes: name what `class` of the .mat files numbers from 1"]
    if (ending := looked[0].suffix.lower()) in READERS:
        return _guess_outlines([region for path in looked for region in READERS[ending](path)])
    try:
        maps = [_read_numbers(path) for path in looked]
    except DataError:
        return _guess_colours(looked)
    if _are_numbered(maps):
        return "instance", ["background", "object"], {}, ["labels seem to number objects, each of class 1"]
    values = sorted({int(value) for each in maps for value in np.unique(each).tolist()})
    return _of_values([str(value) for value in values])


def _read_numbers(path: Path) -> np.ndarray:
    """The values of a label file: classes, or more than 255 objects."""
    try:
        return read_labels(path)
    except DataError:
        return read_instance_map(path)


def _guess_outlines(regions: Sequence[Region]) -> tuple[Kind, list[str], dict[str, str], list[str]]:
    names = sorted({region.class_name or region.layer for region in regions} - {""})
    several = 1 < len(names) <= min(MAX_CLASSES, len(regions) / 2)  # ImageJ gives each object a name of its own.
    remark = "classes: those that outlines are named by" if several else "outlines seem to be objects, each of class 1"
    return "instance", ["background", *(names if several else ["object"])], {}, [remark]


def _guess_colours(paths: Sequence[Path]) -> tuple[Kind, list[str], dict[str, str], list[str]]:
    codes = np.unique(np.concatenate([np.unique(read_colours(path)) for path in paths])).tolist()
    return _of_values([TRANSPARENT if code == CLEAR else f"#{code:06x}" for code in codes])


def _of_values(found: Sequence[str]) -> tuple[Kind, list[str], dict[str, str], list[str]]:
    """Each value or colour as a class with a made-up name."""
    names = ["background", *([f"class{i}" for i in range(1, len(found))] if len(found) > 2 else ["object"])]
    values = dict(zip(found, names, strict=False))
    remarks = [f"values: labels hold {', '.join(found)}; name what each means, or {'ignored'!r}"]
    remarks.append('to count objects: kind = "instance" with instances = "components" makes one of each piece')
    return "semantic", names[: max(2, len(found))], values, remarks


def _are_numbered(maps: Sequence[np.ndarray]) -> bool:
    """Whether values number objects: most are one piece, and images have different numbers of them."""
    values = [(each, value) for each in maps for value in np.unique(each).tolist() if value]
    highest = {int(each.max(initial=0)) for each in maps}
    if len(values) <= 2 * len(maps) and max(highest, default=0) <= MAX_CLASSES and len(highest) == 1:
        return False
    single = sum(ndimage.label(each == value, np.ones((3, 3)))[1] == 1 for each, value in values)
    return bool(values) and single >= 0.8 * len(values) and max(highest) > 2
