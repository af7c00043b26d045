"""CoNSeP: nuclei of the colon by type (Graham et al. 2019, HoVer-Net)."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from histoseg.errors import ConfigError, DataError
from histoseg.files.folders import by_name, in_part, make_key, pair, plain, require_unique, scan
from histoseg.files.images import read_image
from histoseg.files.mat import load_mat, to_instance_map
from histoseg.sources._samples import make_sample
from histoseg.types import Entry, Sample, SemanticMap, Task

logger = logging.getLogger(__name__)

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


def entries(root: Path, *, types: str = "auto") -> list[Entry]:
    """The images of both official parts, pairs checked, no pixel read. Names state no patient: each image is its own.

    types: Whether the files have the seven published types or the four merged ones. Type 4 is malignant epithelium
        in the first and spindle-shaped in the second, so one file may fit both: "auto" reads the whole folder as
        merged if no nucleus in it has a type above 4. Use "published" for a selection without such nuclei.
    """
    if types not in TYPES:
        raise ConfigError(f"no types {types!r} for {TASK.name}; choose from {', '.join(TYPES)}")
    folders = scan(root)
    images = by_name(folders, r".+\.png", lambda folder: _is_part(folder, "images", root), _name)
    labels = by_name(folders, r".+\.mat", lambda folder: _is_part(folder, "labels", root), _name)
    wanted = "CoNSeP/Train and CoNSeP/Test with Images/*.png and Labels/*.mat"
    pairs = pair(root, TASK.title, wanted, images, labels)
    if types == "auto":
        types = _detect(labels.values())
    return require_unique(
        [Entry(key=name, patient=name, files=files, options={"types": types}) for name, files in pairs.items()]
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
    """One image, its nuclei and the type of each pixel's nucleus."""
    image = read_image(entry.files["image"])
    path = entry.files["annotation"]
    content = _load(path, "inst_map", "type_map")
    semantic_map = _to_classes(content["type_map"], entry.options["types"], path)
    instance_map = to_instance_map(content["inst_map"], path)
    sample = make_sample(entry, TASK, image, semantic_map, instance_map)
    if differing := int(((instance_map > 0) != (semantic_map > 0)).sum()):
        logger.info("%s: %s pixels have a nucleus but no type, or a type but no nucleus", path, differing)
    return sample


def _to_classes(type_map: np.ndarray, types: str, path: Path) -> SemanticMap:
    highest = 7 if types == "published" else 4
    if type_map.ndim != 2 or not np.isin(type_map, np.arange(highest + 1)).all():
        raise DataError(
            f"{path}: type_map of shape {type_map.shape} with values up to {type_map.max(initial=0)};"
            f" expected two axes and types 0 to {highest} ({types}); fetch it again"
        )
    class_ids = type_map.astype(np.uint8)
    return MERGED[class_ids] if types == "published" else class_ids
