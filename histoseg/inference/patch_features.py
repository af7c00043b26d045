"""Pooled features of patches of a slide or image, as a Parquet file: one row for each object, or for each place.

Coordinates are those of `objects.parquet`: base pixels from the upper left corner, whose middle pixel is (0.5, 0.5).
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, Int64

from histoseg.errors import ConfigError, DataError
from histoseg.inference.places import Places, identify_objects
from histoseg.inference.segment import identify
from histoseg.models.weights import Model
from histoseg.representation.patches import cut_patches
from histoseg.representation.pool import DEPTHS, pooled, require_encoder
from histoseg.runs.config import require
from histoseg.slides.ranged_file import RangedFile
from histoseg.slides.reader import Slide
from histoseg.store.objects import Store

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_PX = 2048  # Side of what is read of a slide at once
ROWS_AT_ONCE = 8192  # Of a row group


@dataclass(frozen=True, kw_only=True)
class PatchOptions:
    """What a person may choose.

    Attributes:
        patch_px: Side of a patch, at the model's resolution.
        depths: How many of the encoder's depths are pooled.
        objects: Where objects are from, see `histoseg.inference.places`; empty for patches side by side.
        structure: Which objects; empty means all.
        mpp: Microns per base pixel; None takes what each slide says.
    """

    patch_px: int = 32
    depths: int = DEPTHS
    objects: str = ""
    structure: str = ""
    mpp: float | None = None

    def __post_init__(self) -> None:
        require(self.patch_px >= 16, "--patch-px", self.patch_px, "16 or more")
        require(1 <= self.depths <= DEPTHS, "--depths", self.depths, f"within 1 and {DEPTHS}")


# What the fields of a description are about; all others are options.
OF_FIELDS = {
    **dict.fromkeys(("image", "mpp", "size_px", "identity"), "another image"),
    **dict.fromkeys(("model_sha256", "model_mpp", "origin"), "another model"),
    "objects_identity": "other objects",
}


def describe(slide: Slide, model: Model, options: PatchOptions) -> str:
    """What a file of features is of, as it says itself."""
    about = {"image": slide.name, "mpp": slide.mpp, "size_px": slide.size_px, "model_sha256": model.sha256}
    about |= {"identity": identify(slide.address), "objects_identity": identify_objects(slide, options.objects)}
    return json.dumps({**about, "model_mpp": model.mpp, "origin": model.origin, **asdict(options)})


def is_there(store: Store, key: str, about: str) -> bool:
    """Whether a store has this very file of features.

    Raises:
        ConfigError: If it has another file there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if store.size(key) is None:
        return False
    try:
        found = pq.read_schema(pa.PythonFile(RangedFile(store, key), mode="r")).metadata or {}
    except (pa.ArrowException, OSError):
        found = {}
    if (there := found.get(b"histoseg", b"")) == about.encode():
        return True
    raise ConfigError(
        f"{store.url}/{key} {_difference(there, about)}; give another --out, or --overwrite to replace it"
    )


def _difference(there: bytes, wanted: str) -> str:
    """In what a file of features differs from the one that is wanted, by their descriptions."""
    try:
        before = json.loads(there)
    except ValueError:
        before = None
    if not isinstance(before, dict):
        return "is damaged, or no file of features"
    about = json.loads(wanted)
    names = [name for name in {**before, **about} if before.get(name) != about.get(name)]
    changed = {OF_FIELDS.get(name, "other options") for name in names}
    return f"has features of {' and '.join(sorted(changed))}"


def write_features(path: Path, slide: Slide, model: Model, places: Places, options: PatchOptions) -> None:
    """Write the features of patches about some places of a slide; in memory are one block's at a time.

    Raises:
        ConfigError: If the model has no encoder.
        DataError: If a part of the slide cannot be read.
    """
    import pyarrow.parquet as pq

    require_encoder(model.network)
    if not len(places.ids):
        raise DataError(
            f"{slide.address}: no objects{_of(options.structure)} there, so there are no patches about them"
        )
    writer = None
    try:
        for table in _tables(slide, model, places, options):
            if writer is None:
                schema = table.schema.with_metadata({"histoseg": describe(slide, model, options)})
                writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["image", "structure"])
            writer.write_table(table.cast(writer.schema), row_group_size=ROWS_AT_ONCE)
    finally:
        if writer is not None:
            writer.close()


def _of(structure: str) -> str:
    return f" of {structure}" if structure else ""


def _tables(slide: Slide, model: Model, places: Places, options: PatchOptions) -> "Iterator[pa.Table]":
    """The rows of each block with places, block by block from the upper left corner."""
    centres = places.points / slide.scale_at(model.mpp) - 0.5
    blocks = np.floor_divide(centres, BLOCK_PX).astype(np.int64)
    for column, row in sorted({(int(x), int(y)) for x, y in blocks}, key=lambda block: block[::-1]):
        chosen = np.flatnonzero((blocks == (column, row)).all(axis=1))
        features = _features(slide, model, centres[chosen], options)
        yield _to_table(slide, places, chosen, features)


def _features(
    slide: Slide, model: Model, centres: Float64[np.ndarray, "N 2"], options: PatchOptions
) -> Float32[np.ndarray, "N F"]:
    """The features of patches about some centres that lie close to each other, in pixels of the model's resolution."""
    height, width = slide.size_at(model.mpp)
    reach = options.patch_px // 2 + 1
    left, top = np.maximum(np.floor(centres.min(axis=0)).astype(int) - reach, 0).tolist()
    right, bottom = np.minimum(np.ceil(centres.max(axis=0)).astype(int) + reach + 1, (width, height)).tolist()
    image = slide.read(top, left, bottom - top, right - left, model.mpp)
    return pooled(model.network, cut_patches(image, centres - (left, top), options.patch_px), options.depths)


def _to_table(
    slide: Slide, places: Places, chosen: Int64[np.ndarray, " M"], features: Float32[np.ndarray, "M F"]
) -> "pa.Table":
    import pyarrow as pa

    points = places.points[chosen]
    columns: dict[str, pa.Array] = {
        "image": pa.array([slide.name] * len(chosen), pa.string()),
        "id": pa.array(places.ids[chosen]),
        "structure": pa.array(places.structures[chosen].tolist(), pa.string()),
        "x_px": pa.array(points[:, 0]),
        "y_px": pa.array(points[:, 1]),
        "x_um": pa.array(points[:, 0] * slide.mpp),
        "y_um": pa.array(points[:, 1] * slide.mpp),
    }
    columns |= {f"f{i}": pa.array(np.ascontiguousarray(values)) for i, values in enumerate(features.T)}
    return pa.table(columns)
