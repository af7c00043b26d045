"""CoNSeP: nuclei of the colon by type (Graham et al. 2019, HoVer-Net)."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from histoseg.errors import ConfigError, DataError
from histoseg.files.folders import (
    LOSSLESS,
    by_image_name,
    by_name,
    in_part,
    make_key,
    pair,
    plain,
    require_unique,
    scan,
)
from histoseg.files.images import read_image
from histoseg.files.instances import REMEDY, require_choice, to_instance_map, to_objects
from histoseg.files.left_out import leave_out
from histoseg.files.mat import load_mat
from histoseg.files.notes import note
from histoseg.sources._samples import make_sample
from histoseg.types import IGNORE, Entry, InstanceMap, Sample, SemanticMap, Task

TASK = Task(
    name="consep",
    title="CoNSeP",
    classes=("background", "other", "inflammatory", "epithelial", "spindle-shaped"),
    mpp=0.25,  # 40x (Graham et al. 2019).
    licence="research, non-commercial (Warwick TIA Centre)",
    kind="instance",
    structure="nuclei",
    year=2019,
    reserve=1,  # Lizard has regions of it (Graham et al. 2021).
)

TYPES = ("auto", "published", "merged")
# Published: 1 other, 2 inflammatory, 3 healthy and 4 malignant epithelial, 5 fibroblast, 6 muscle, 7 endothelial;
# merged as in Graham et al. 2019.
MERGED = np.array([0, 1, 2, 3, 3, 4, 4, 4], np.uint8)


def entries(root: Path, *, types: str = "auto", instances: str = "numbered") -> list[Entry]:
    """The images of both official parts, pairs checked, no pixel read. Names state no patient: each image is its own.

    types: Whether the files have the seven published types or the four merged ones. Type 4 is malignant epithelium
        in the first and spindle-shaped in the second, so one file may fit both: "auto" reads the whole folder as
        merged if no nucleus in it has a type above 4. Use "published" for a selection without such nuclei.
    instances: Whether nuclei are "numbered", or each connected piece of a number is one ("components").
    """
    if types not in TYPES:
        raise ConfigError(f"no types {types!r} for {TASK.name}; choose from {', '.join(TYPES)}")
    folders = scan(root)
    images = by_image_name(folders, ".+", ("png", LOSSLESS), lambda folder: _is_part(folder, "images", root), _name)
    labels = by_name(folders, r".+\.mat", lambda folder: _is_part(folder, "labels", root), _name)
    wanted = "CoNSeP/Train and CoNSeP/Test with Images/*.png and Labels/*.mat"
    pairs = pair(root, TASK.title, wanted, images, labels)
    if types == "auto":
        types = _detect(labels.values())
    options = {"types": types, "instances": require_choice(instances, TASK.name)}
    return require_unique(
        [Entry(key=name, patient=name, files=files, options=options) for name, files in pairs.items()]
    )


def _name(path: Path) -> str:
    return make_key(path.stem)


def _is_part(folder: Path, kind: str, root: Path) -> bool:
    """Whether a folder is one of CoNSeP's, such as `Train/Images`; Kumar's and CPM's data sets have the same names."""
    return plain(folder.name) == kind and in_part(folder, root, "consep", ("train", "test"))


def _detect(paths: Iterable[Path]) -> str:
    return "published" if any(_highest_type(path) > 4 for path in paths) else "merged"


def _highest_type(path: Path) -> float:
    """The highest type in a label file; 0 in a damaged one, which is refused when it is read."""
    try:
        return float(_load(path, "inst_type")["inst_type"].max(initial=0))
    except (DataError, TypeError, ValueError):
        return 0.0


def _load(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Arrays of a label file."""
    content = load_mat(path, names)
    if lacking := [name for name in names if name not in content]:
        raise DataError(f"{path}: has no {lacking[0]}; expected inst_map, type_map and inst_type; fetch it again")
    return content


def read(entry: Entry) -> Sample:
    """One image, its nuclei and the type of each pixel's nucleus; a nucleus without a type is not labelled."""
    image = read_image(entry.files["image"])
    path = entry.files["annotation"]
    content = _load(path, "inst_map", "type_map")
    semantic_map = _to_classes(content["type_map"], entry.options["types"], path)
    numbered = to_instance_map(content["inst_map"], path, "inst_map")
    instance_map = to_objects(numbered, entry.options["instances"], path)
    sample = make_sample(entry, TASK, image, semantic_map, instance_map)
    return replace(sample, semantic_map=_without_guesses(semantic_map, instance_map, path))


def _without_guesses(semantic_map: SemanticMap, instance_map: InstanceMap, path: Path) -> SemanticMap:
    """The types, IGNORE where a nucleus has none: it is certainly not background."""
    has_type, has_nucleus = semantic_map > 0, instance_map > 0
    if not (has_type != has_nucleus).any():
        return semantic_map
    unknown = has_nucleus & ~has_type
    nuclei, typed = np.unique(instance_map[has_nucleus]), np.unique(instance_map[has_nucleus & has_type])
    untyped = len(nuclei) - len(typed)
    leave_out(path, "nuclei without a type", untyped, len(nuclei), REMEDY, done="kept, their class is not labelled")
    note("pixels of a nucleus without a type, not labelled", int(np.count_nonzero(unknown)))
    alone = int(np.count_nonzero(has_type & ~has_nucleus))
    leave_out(path, "pixels with a type but outside of any nucleus", alone, int(has_type.sum()), REMEDY, done="kept")
    return np.where(unknown, np.uint8(IGNORE), semantic_map)


def _to_classes(type_map: np.ndarray, types: str, path: Path) -> SemanticMap:
    highest = 7 if types == "published" else 4
    if type_map.ndim != 2 or not np.isin(type_map, np.arange(highest + 1)).all():
        raise DataError(
            f"{path}: type_map of shape {type_map.shape} with values up to {type_map.max(initial=0)};"
            f" expected two axes and types 0 to {highest} ({types}); fetch it again"
        )
    class_ids = type_map.astype(np.uint8)
    return MERGED[class_ids] if types == "published" else class_ids
