"""The file of a shard: a WebDataset tar whose bytes depend on its samples alone.

Pixels are stored as plain .npy: on H&E tissue that is 1.4 to 1.6 times the size of PNG, and reading a patch becomes
a view of memory instead of the decoding of a whole image (docs/adr/0002).
"""

import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from histoseg.errors import DataError
from histoseg.maps.boxes import NO_BOXES, areas, centred_within, cut, draw_boxes, touching
from histoseg.maps.objects import compact_ids
from histoseg.shards.stored import ShardColumns, StoredBox
from histoseg.shards.tiles import tile_boxes
from histoseg.types import (
    IGNORE,
    Boxes,
    Entry,
    InstanceMap,
    Kind,
    Sample,
    SemanticMap,
    Split,
    Task,
    is_credible_mpp,
    say_credible_mpp,
    say_labels,
)

NO_MAP = -1
MAX_OBJECTS = np.iinfo(np.uint16).max  # Instance maps are stored in two bytes.


@dataclass(frozen=True, kw_only=True)
class StoredTile:
    """One row of the index, by the names of its columns (`ShardColumns`)."""

    key: str
    image: str
    patient: str
    top: int
    left: int
    height: int
    width: int
    mpp: float
    class_pixels: list[int]
    num_objects: int
    image_offset: int = NO_MAP
    map_offset: int = NO_MAP
    instance_offset: int = NO_MAP
    boxes: list[StoredBox] = field(default_factory=list)


def write_tar(path: Path, samples: Iterable[Sample], task: Task, split: Split, tile_px: int) -> ShardColumns:
    """Write samples, large ones in tiles; return their columns of the index."""
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        rows = [
            _add_tile(tar, sample, box, split, task)
            for sample in samples
            for box in tile_boxes(sample.image.shape[0], sample.image.shape[1], tile_px)
        ]
    columns = {name: [getattr(row, name) for row in rows] for name in ShardColumns.model_fields}
    return ShardColumns(**columns if task.kind == "boxes" else {**columns, "boxes": []})


def _add_tile(
    tar: tarfile.TarFile, sample: Sample, box: tuple[int, int, int, int], split: Split, task: Task
) -> StoredTile:
    """Add one tile's members, sorted by name as WebDataset's own writer does; return its row of the index."""
    top, left, height, width = box
    here = np.s_[top : top + height, left : left + width]
    semantic_map = sample.semantic_map[here]
    instance_map = None if sample.instance_map is None else sample.instance_map[here].astype("<u2")
    boxes = touching(sample.boxes or NO_BOXES, box)
    tile = StoredTile(
        key=sample.key if sample.image.shape[:2] == (height, width) else f"{sample.key}_y{top:05d}_x{left:05d}",
        image=sample.key,
        patient=sample.patient,
        top=top,
        left=left,
        height=height,
        width=width,
        mpp=sample.mpp,
        class_pixels=np.bincount(semantic_map.ravel(), minlength=IGNORE + 1)[: task.num_classes].tolist(),
        num_objects=_count(instance_map) + int(centred_within(boxes.corners, box).sum()),
        boxes=np.column_stack([boxes.corners, boxes.classes]).tolist(),
    )
    image_offset = _add_array(tar, f"{tile.key}.image.npy", sample.image[here])
    instance_offset = map_offset = NO_MAP
    if instance_map is not None:
        instance_offset = _add_array(tar, f"{tile.key}.instance_map.npy", instance_map)
    _add_member(tar, f"{tile.key}.json", _describe(tile, int(semantic_map[0, 0]), split, task))
    if task.kind in ("semantic", "instance"):
        map_offset = _add_array(tar, f"{tile.key}.semantic_map.npy", semantic_map)
    return replace(tile, image_offset=image_offset, map_offset=map_offset, instance_offset=instance_offset)


def _count(instance_map: np.ndarray | None) -> int:
    return 0 if instance_map is None else len(np.unique(instance_map[instance_map > 0]))


def _describe(tile: StoredTile, patch_class: int, split: Split, task: Task) -> bytes:
    """What is known of a tile, as JSON, for readers of the tar alone; `patch_class` is the class of its first pixel."""
    record = {name: value for name, value in asdict(tile).items() if not name.endswith("_offset")}
    record |= {"source": task.name, "kind": task.kind, "classes": task.classes, "licence": task.licence}
    record |= {"split": split, "label_map_version": task.label_map_version, "ignore": IGNORE, "published_mpp": task.mpp}
    if task.kind == "patch":
        record["patch_class"] = patch_class
    if task.kind != "boxes":
        del record["boxes"]
    return json.dumps(record, sort_keys=True).encode()


def members_of(kind: Kind) -> tuple[str, ...]:
    """The members of a stored sample, without its key; the class of a whole patch, and boxes, are in its JSON."""
    maps = {"semantic": ("semantic_map.npy",), "instance": ("instance_map.npy", "semantic_map.npy")}
    return ("image.npy", "json", *maps.get(kind, ()))


def _add_array(tar: tarfile.TarFile, name: str, array: np.ndarray) -> int:
    """Add an array as .npy; return where its first pixel lies in the tar."""
    body = io.BytesIO()
    np.save(body, np.ascontiguousarray(array), allow_pickle=False)
    return _add_member(tar, name, body.getvalue()) - array.nbytes


def _add_member(tar: tarfile.TarFile, name: str, body: bytes) -> int:
    """Add a member without writer or time; return where its bytes end in the tar."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(body), 0o444, 0
    tar.addfile(info, io.BytesIO(body))
    padding = -len(body) % tarfile.BLOCKSIZE
    return tar.offset - padding


def checked(task: Task, entry: Entry, sample: Sample) -> Sample:
    """The sample of an entry, after checking it against its task; its objects are numbered without gaps."""
    where = f"{task.name}: {entry.key}"
    if (found := (sample.key, sample.patient)) != (entry.key, entry.patient):
        raise DataError(f"{where} was read with key and patient {found}; `read` must give those of the entry")
    if not isinstance(sample.mpp, float | int) or not is_credible_mpp(sample.mpp):
        raise DataError(f"{where} has {sample.mpp!r} microns per pixel; `read` must give a number {say_credible_mpp()}")
    _require_array(sample.image, f"{where}: image", "uint8", 3)
    _require_array(sample.semantic_map, f"{where}: semantic_map", "uint8")
    if sample.image.size == 0:
        raise DataError(f"{where} is an empty image; leave it out in `entries`")
    _require_size(sample.semantic_map, sample, f"{where}: semantic_map")
    _require_classes(sample.semantic_map, task, where)
    if (sample.instance_map is not None) != (task.kind == "instance"):
        has = "has an" if sample.instance_map is not None else "lacks its"
        raise DataError(
            f"{where} {has} instance map, but its task is of kind {task.kind!r}; only kind 'instance' has one"
        )
    if (sample.boxes is not None) != (task.kind == "boxes"):
        has = "has" if sample.boxes is not None else "lacks its"
        raise DataError(f"{where} {has} boxes, but its task is of kind {task.kind!r}; only kind 'boxes' has them")
    if sample.boxes is not None:
        _require_boxes(sample.boxes, sample, task, where)
        return replace(sample, semantic_map=draw_boxes(sample.boxes, (sample.image.shape[0], sample.image.shape[1])))
    if sample.instance_map is None:
        return sample
    _require_array(sample.instance_map, f"{where}: instance_map", "int32")
    _require_size(sample.instance_map, sample, f"{where}: instance_map")
    return replace(sample, instance_map=_numbered(sample.instance_map, where))


def _require_array(found: object, what: str, dtype: str, *channels: int) -> None:
    """Refuse anything but an array of that type with height, width and channels: its bytes would be read as such."""
    if not isinstance(found, np.ndarray):
        raise DataError(f"{what} is {type(found).__name__}; `read` must give a NumPy array")
    if found.dtype != dtype or found.ndim != 2 + len(channels) or found.shape[2:] != channels:
        wanted = ", ".join(["height", "width", *map(str, channels)])
        raise DataError(f"{what} is {found.dtype} of shape {found.shape}; `read` must give {dtype} of ({wanted})")


def _require_size(found: np.ndarray, sample: Sample, what: str) -> None:
    if found.shape != sample.image.shape[:2]:
        raise DataError(f"{what} is {found.shape} but the image {sample.image.shape[:2]}; `read` must give one size")


def _require_classes(semantic_map: SemanticMap, task: Task, where: str) -> None:
    seen = np.flatnonzero(cv2.calcHist([semantic_map], [0], None, [256], [0, 256]))  # A third of bincount's time
    if bad := [int(value) for value in seen if value >= task.num_classes and value != IGNORE]:
        raise DataError(f"{where} has class {bad[0]}; {say_labels(task.num_classes)}")
    if task.kind == "patch" and len(seen) > 1:
        raise DataError(f"{where} has classes {seen.tolist()}, but images of this source have one class as a whole")


def _require_boxes(boxes: Boxes, sample: Sample, task: Task, where: str) -> None:
    """Refuse boxes without area, outside of the image or of unknown classes, and arrays of another form."""
    found = [(array.dtype.name, array.shape[1:]) for array in (boxes.corners, boxes.classes)]
    if found != [("float32", (4,)), ("uint8", ())] or len(boxes.corners) != len(boxes.classes):
        shapes = f"{boxes.corners.dtype} {boxes.corners.shape} and {boxes.classes.dtype} {boxes.classes.shape}"
        raise DataError(f"{where} has boxes of {shapes}; `read` must give float32 (N, 4) and uint8 (N,)")
    size = (sample.image.shape[0], sample.image.shape[1])
    bad = ~(areas(cut(boxes.corners, size)) > 0) | (cut(boxes.corners, size) != boxes.corners).any(axis=1)
    if bad.any():
        first = boxes.corners[bad][0].tolist()
        raise DataError(
            f"{where} has a box {first} in an image of {size[1]}x{size[0]} px; it must lie in it and have an area"
        )
    if (kinds := boxes.classes[(boxes.classes < 1) | (boxes.classes >= task.num_classes)]).size:
        raise DataError(f"{where} has a box of class {kinds[0]}; expected 1 to {task.num_classes - 1}")


def _numbered(instance_map: InstanceMap, where: str) -> InstanceMap:
    """The map with its objects numbered from 1 in the order of their numbers."""
    if (lowest := int(instance_map.min())) < 0:
        raise DataError(f"{where} has an object numbered {lowest}; numbers begin at 1, and 0 is background")
    ids, numbered = compact_ids(instance_map)
    if len(ids) > MAX_OBJECTS:
        raise DataError(f"{where} has {len(ids)} objects, at most {MAX_OBJECTS} can be stored; cut it into pieces")
    return numbered
