"""One shard: a WebDataset tar whose bytes depend on its samples alone.

Pixels are stored as plain .npy: on H&E tissue that is 1.4 to 1.6 times the size of PNG, and reading a patch becomes
a view of memory instead of the decoding of a whole image (docs/adr/0002).
"""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from histoseg.errors import DataError
from histoseg.shards.index import Samples
from histoseg.shards.tiles import tile_boxes
from histoseg.types import IGNORE, Sample, Split, Task


def write_tar(path: Path, samples: Iterable[Sample], task: Task, split: Split, tile_px: int) -> dict[str, list[Any]]:
    """Write samples, the large ones in tiles; return their columns of the index."""
    columns: dict[str, list[Any]] = {name: [] for name in Samples.__dataclass_fields__ if name != "shard"}
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            for box in tile_boxes(sample.image.shape[0], sample.image.shape[1], tile_px):
                row = _add_tile(tar, sample, box, split, task)
                for name, column in columns.items():
                    column.append(row[name])
    return columns


def _add_tile(
    tar: tarfile.TarFile, sample: Sample, box: tuple[int, int, int, int], split: Split, task: Task
) -> dict[str, Any]:
    """Add one tile's members, sorted by name as WebDataset's own writer does; return its row of the index."""
    top, left, height, width = box
    whole = sample.image.shape[:2] == (height, width)
    key = sample.key if whole else f"{sample.key}_y{top:05d}_x{left:05d}"
    semantic_map = sample.semantic_map[top : top + height, left : left + width]
    counts = np.bincount(semantic_map.ravel(), minlength=IGNORE + 1)[: task.num_classes]
    row = {
        "key": key,
        "image": sample.key,
        "patient": sample.patient,
        "top": top,
        "left": left,
        "height": height,
        "width": width,
        "class_pixels": [int(count) for count in counts],
    }
    record = {**row, "source": task.name, "classes": task.classes, "mpp": sample.mpp, "licence": task.licence}
    record |= {"split": split, "label_map_version": task.label_map_version, "ignore": IGNORE}
    row["image_offset"] = _add_array(tar, f"{key}.image.npy", sample.image[top : top + height, left : left + width])
    _add_member(tar, f"{key}.json", json.dumps(record, sort_keys=True).encode())
    row["map_offset"] = _add_array(tar, f"{key}.semantic_map.npy", semantic_map)
    return row


def _add_array(tar: tarfile.TarFile, name: str, array: np.ndarray) -> int:
    """Add an array as .npy; return where its first pixel lies in the tar."""
    body = io.BytesIO()
    np.save(body, np.ascontiguousarray(array), allow_pickle=False)
    return _add_member(tar, name, body.getvalue()) - array.nbytes


def _add_member(tar: tarfile.TarFile, name: str, body: bytes) -> int:
    """Add a member that looks the same whoever writes it and when; return where its bytes end in the tar."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(body), 0o444, 0
    tar.addfile(info, io.BytesIO(body))
    padding = -len(body) % tarfile.BLOCKSIZE
    return tar.offset - padding


def checked(task: Task, sample: Sample) -> Sample:
    """The sample, if its map fits its image and its task.

    Raises:
        DataError: If not; the text says which image and what was found.
    """
    image, semantic_map = sample.image, sample.semantic_map
    if image.shape[:2] != semantic_map.shape:
        raise DataError(f"{task.name}: {sample.key} has image {image.shape[:2]} but map {semantic_map.shape}")
    if image.size == 0:
        raise DataError(f"{task.name}: {sample.key} is an empty image")
    seen = np.flatnonzero(np.bincount(semantic_map.ravel(), minlength=IGNORE + 1))
    if bad := [int(value) for value in seen if value >= task.num_classes and value != IGNORE]:
        raise DataError(
            f"{task.name}: {sample.key} has class {bad[0]}, expected 0 to {task.num_classes - 1} or {IGNORE} (ignore)"
        )
    return sample
