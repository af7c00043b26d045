"""A folder with a `source.toml` as a source: its images with their labels, and one of them as a sample."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from histoseg.errors import DataError, MissingSourceError
from histoseg.files.folders import make_key, nfc, pair, require_unique, scan
from histoseg.files.images import read_image
from histoseg.files.instances import Instances, require_choice
from histoseg.files.labels import CLEAR, read_colours, read_instance_map, read_labels
from histoseg.files.mat import read_objects
from histoseg.maps.objects import number_pieces
from histoseg.runs import catalog
from histoseg.runs.catalog import Source
from histoseg.sources._declaration import (
    FILE,
    IGNORED,
    IMAGE_FILES,
    LABEL_FILES,
    PLACE,
    TRANSPARENT,
    Declaration,
    read_declaration,
    read_toml,
)
from histoseg.sources._outlines import READERS, outline_maps, read_outlines
from histoseg.sources._samples import make_sample
from histoseg.types import IGNORE, Entry, InstanceMap, Sample, SemanticMap, Task


@dataclass(frozen=True, kw_only=True)
class DeclaredSource:
    """What a module of `histoseg.sources` has, made of a declaration."""

    TASK: Task
    entries: Callable[..., list[Entry]]
    read: Callable[[Entry], Sample]


def find_declarations(raw: Path) -> dict[str, Path]:
    """The declarations in a folder and below it, by the name of their source.

    A declaration without a name, which `load_source` refuses, has that of its folder.

    Raises:
        DataError: If two have the same name, or one that the catalog has.
    """
    found: dict[str, Path] = {}
    for folder, files in scan(raw).items():
        if (path := folder / FILE) in files:
            name = _name_in(path)
            if name in catalog.names(catalog.SOURCES):
                raise DataError(f"{path}: the name {name!r} is that of a source of the program; choose another one")
            if (other := found.setdefault(name, path)) != path:
                raise DataError(f"{path}: the name {name!r} is also that of {other}; choose another one")
    return found


def _name_in(path: Path) -> str:
    try:
        name = read_toml(path).get("name")
    except DataError:
        name = None
    return name if isinstance(name, str) else path.parent.name


def load_source(name: str, declared: Mapping[str, Path]) -> Source:
    """The source of that name: one that is declared, or one of the catalog.

    Raises:
        DataError: If its declaration cannot be used.
        ConfigError: If it is one of the catalog that cannot be used.
        MissingSourceError: If there is no such source.
    """
    if name in declared:
        return _declared_source(declared[name])
    choices = sorted({*catalog.names(catalog.SOURCES), *declared})
    if name not in choices:
        raise MissingSourceError(f"no {name!r} in sources; choose from {', '.join(choices)}, or declare it in a {FILE}")
    return catalog.load_source(name)


def _declared_source(path: Path) -> Source:
    """The source that a file declares."""
    declaration = read_declaration(path)

    def entries(
        root: Path,  # noqa: ARG001  # every source has one
        instances: str = declaration.instances,
        layer: str = "",
    ) -> list[Entry]:
        options = {"instances": require_choice(instances, declaration.task.name), "layer": layer}
        return _find_entries(declaration, path, options)

    return DeclaredSource(TASK=declaration.task, entries=entries, read=lambda entry: _read(entry, declaration))


def _find_entries(declaration: Declaration, path: Path, options: Mapping[str, str]) -> list[Entry]:
    """The images with their labels, pairs checked, no pixel read.

    The declaration is among an entry's files, so what is written from it is written again when it changes.
    """
    below: dict[str, Path] = {}
    for file in (file for files in scan(path.parent).values() for file in files):
        if (twin := below.setdefault(_below(file, path.parent), file)) != file:
            raise DataError(f"{file}: the same name as {twin}, but for how accents are stored; remove one of them")
    # Names begin where the pattern says what differs from image to image.
    fixed = declaration.images.partition("{")[0].partition("*")[0].rpartition("/")[0]
    entries = []
    for name, files in _pairs(declaration, path.parent, below).items():
        key = make_key(_without_ending(name).removeprefix(f"{fixed}/"))
        patient = _patient(declaration, path, name) if declaration.patient else key
        given = {**files, "declaration": path}
        entries.append(Entry(key=key, patient=patient, files=given, options=options))
    return require_unique(entries)


def _below(file: Path, folder: Path) -> str:
    """The path below the folder; characters have one form, as file systems differ in theirs."""
    return unicodedata.normalize("NFC", file.relative_to(folder).as_posix())


def _expression(pattern: str) -> re.Pattern[str]:
    """What paths of a pattern look like; upper and lower case are the same."""
    text, last = "", 0
    for place in PLACE.finditer(pattern):
        text += re.escape(pattern[last : place.start()]) + (f"(?P<{place[1]}>[^/]+?)" if place[1] else "[^/]*")
        last = place.end()
    return re.compile(text + re.escape(pattern[last:]), re.IGNORECASE)


def _pairs(declaration: Declaration, folder: Path, below: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """The files of each image by role; what is the label of another image is none itself."""
    of_image, of_label = _expression(declaration.images), _expression(declaration.labels)
    fields = {name: match.groupdict() for name in below if (match := of_image.fullmatch(name))}
    if declaration.images.endswith("*"):
        fields = {name: given for name, given in fields.items() if Path(name).suffix.lower() in IMAGE_FILES}
    by_case = {name.casefold(): name for name in below}
    filled = {name: _fill(declaration.labels, given) for name, given in fields.items()}
    label_of = {name: own if own in below else by_case.get(own.casefold(), "") for name, own in filled.items()}
    used = {*label_of.values()} - {""}
    images = {name: below[name] for name in fields if name not in used}
    if not images:
        raise DataError(f"{folder / FILE}: no file is as images = {declaration.images!r}; correct the pattern")
    if declaration.kind == "patch":
        return {name: {"image": image} for name, image in images.items()}
    labels = {name: below[label_of[name]] for name in images if label_of[name]}
    spare = {name: below[name] for name in below if of_label.fullmatch(name) and name not in {*used, *images}}
    return pair(folder, str(folder / FILE), declaration.images, images, labels | spare)


def _fill(pattern: str, fields: Mapping[str, str]) -> str:
    return PLACE.sub(lambda place: fields[place[1]], pattern)


def _without_ending(name: str) -> str:
    return name.removesuffix(Path(name).suffix)


def _patient(declaration: Declaration, path: Path, name: str) -> str:
    """The patient of an image, as its path says."""
    found = re.search(declaration.patient, f"/{_without_ending(name)}")
    if not found or not found[1]:
        raise DataError(f"{path}: patient = {declaration.patient!r} finds none in {name}; correct the expression")
    return found[1]


def _read(entry: Entry, declaration: Declaration) -> Sample:
    """One image with its maps."""
    task, image = declaration.task, read_image(entry.files["image"])
    if declaration.kind == "patch":
        number = _class_of_folder(entry.files["image"], declaration)
        return make_sample(entry, task, image, np.full(image.shape[:2], number, np.uint8))
    path, instances = entry.files["annotation"], entry.options["instances"]
    if path.suffix.lower() in READERS:
        regions = read_outlines(path, entry.files["image"], is_shared=not PLACE.search(declaration.labels))
        semantic_map, objects = outline_maps(regions, task.classes, image.shape[:2], path, entry.options["layer"])
        return make_sample(entry, task, image, semantic_map, objects if declaration.kind == "instance" else None)
    semantic_map, instance_map = read_maps(path, declaration, instances)
    return make_sample(entry, task, image, semantic_map, instance_map)


def _class_of_folder(image: Path, declaration: Declaration) -> int:
    numbers = {nfc(name): i for i, name in enumerate(declaration.classes)}
    numbers |= {nfc(name): i for name, i in declaration.numbers.items()}
    folder = nfc(image.parent.name)
    if folder not in numbers:
        raise DataError(f"{image}: its folder is none of {', '.join(numbers)}; add {folder!r} to `values` in {FILE}")
    return numbers[folder]


def read_maps(path: Path, declaration: Declaration, instances: Instances) -> tuple[SemanticMap, InstanceMap | None]:
    """The classes and, for kind `instance`, the objects of a label file, by its ending."""
    ending, num_classes = path.suffix.lower(), len(declaration.classes)
    if ending == ".mat" and declaration.kind == "instance":
        default = IGNORE if num_classes > 2 else 1
        objects, classes = read_objects(
            path, num_classes, has_classes=False, default_class=default, instances=instances
        )
        return classes, objects
    if ending not in LABEL_FILES:
        endings = ", ".join((*LABEL_FILES, *READERS, *([".mat"] if declaration.kind == "instance" else [])))
        raise DataError(f"{path}: labels of kind {declaration.kind} are read from {endings}")
    if declaration.kind == "semantic" or instances == "components":
        semantic_map = _read_classes(path, declaration)
        return semantic_map, _components(semantic_map) if declaration.kind == "instance" else None
    if num_classes > 2:
        raise DataError(
            f"{path}: numbers of objects do not say which of {num_classes - 1} classes each has; declare one class and"
            " background, or instances = 'components', or give .mat files with `inst_map`, `id` and `class`"
        )
    numbers = read_instance_map(path)
    return (numbers > 0).astype(np.uint8), numbers


def _read_classes(path: Path, declaration: Declaration) -> SemanticMap:
    """The class of each pixel of a mask; values and colours without a meaning are refused."""
    meanings = dict(declaration.numbers) or {str(i): i for i in range(len(declaration.classes))}
    if declaration.has_colours:
        values = read_colours(path)
        known = {CLEAR if key == TRANSPARENT else int(key[1:], 16): i for key, i in meanings.items()}
    else:
        values, known = read_labels(path).astype(np.int32), {int(key): i for key, i in meanings.items()}
    found, places = np.unique(values, return_inverse=True)
    if unknown := [value for value in found.tolist() if value not in known]:
        said = _say_value(unknown[0], declaration)
        count = int((values == unknown[0]).sum())
        raise DataError(
            f"{path}: {count} pixels are {said}; {FILE} gives a class to {', '.join(meanings)}; say in its [values]"
            f" what {said} means, a class or {IGNORED!r}"
        )
    return np.array([known[value] for value in found.tolist()], np.uint8)[places].reshape(values.shape)


def _say_value(value: int, declaration: Declaration) -> str:
    if not declaration.has_colours:
        return str(value)
    return TRANSPARENT if value == CLEAR else f"#{value:06x}"


def _components(semantic_map: SemanticMap) -> InstanceMap:
    """Each piece of a class as an object; pixels that touch by a corner belong together."""
    return number_pieces(np.where(semantic_map == IGNORE, 0, semantic_map).astype(np.int32))
