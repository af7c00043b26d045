"""Raw files in the formats of the published data sets: images and MATLAB label files. Equal pixels give equal bytes."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.io
from PIL import Image as PillowImage

from histoseg.types import InstanceMap, SemanticMap

Compression = Literal["tiff_lzw", "packbits"]


def write_image(
    path: Path, pixels: np.ndarray, *, quality: int | None = None, compression: Compression | None = None
) -> None:
    """Write an RGB image or a label map of bytes; the file name's ending is the format, and its folder is made.

    `quality` is that of a JPEG (Pillow's default if None), `compression` that of a TIFF.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": quality, "compression": compression}
    PillowImage.fromarray(pixels).save(
        path, None, **{name: value for name, value in options.items() if value is not None}
    )


def write_mat(path: Path, content: Mapping[str, np.ndarray]) -> None:
    """Write a label file whose bytes depend on its content alone."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, dict(content), do_compression=True)
    heading = b"MATLAB 5.0 MAT-file, made up by histoseg".ljust(116)  # SciPy's own states the time of day.
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(heading + buffer.getvalue()[116:])


def write_objects(path: Path, instance_map: InstanceMap, semantic_map: SemanticMap, rng: np.random.Generator) -> None:
    """Write objects and their classes in the layout of Lizard, in a random order: no source promises one."""
    numbers, first = np.unique(instance_map, return_index=True)
    order = rng.permutation(np.flatnonzero(numbers))
    classes = semantic_map.ravel()[first][order].astype(np.uint8)
    write_mat(path, {"inst_map": instance_map, "id": numbers[order][:, None], "class": classes[:, None]})


def write_table(path: Path, rows: Sequence[str]) -> None:
    """Write the lines of a CSV table into a folder that exists."""
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
