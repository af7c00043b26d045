"""Whole images through a model: read, segment, and write what was found in forms that other programs open."""

import hashlib
import io
import json
import logging
import math
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from histoseg.errors import ConfigError, DataError
from histoseg.inference.export import (
    Found,
    Seen,
    choose_colours,
    class_names,
    encode_map,
    list_objects,
    own_map,
    to_geojson,
    to_grid,
    to_table,
)
from histoseg.inference.overlay import draw_overlay
from histoseg.inference.segment import segment
from histoseg.machine import versions
from histoseg.models.weights import Model
from histoseg.runs.config import Windows
from histoseg.runs.plain import digest
from histoseg.shards.resample import resample
from histoseg.sources._files import read_image
from histoseg.store.objects import Store
from histoseg.types import Image, Sample, Structure

logger = logging.getLogger(__name__)

LARGE_PX = 10_000**2  # All of an image is in memory at once, with Cerberus' five decoders 93 bytes a pixel: then 9 GB.
# Scanners are within 0.1 and 4; files that only state 72 or 300 dots per inch for print mean no resolution of tissue.
CREDIBLE_MPP = (0.05, 5.0)
DISAGREEMENT = 0.05
MICRONS_PER_INCH = 25400
SUMMARY = "summary.json"
PLURAL: Mapping[Structure, tuple[str, str]] = {
    "gland": ("gland", "glands"),
    "lumen": ("lumen", "lumina"),
    "nuclei": ("nucleus", "nuclei"),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person may choose.

    Attributes:
        mpp: Microns per pixel of the images; None takes what each file says.
        overwrite: Whether images are segmented again whose results are there.
    """

    mpp: float | None = None
    windows: Windows = field(default_factory=Windows)
    overwrite: bool = False

    def __post_init__(self) -> None:
        low, high = CREDIBLE_MPP
        if self.mpp is not None and not low <= self.mpp <= high:
            raise ConfigError(f"--mpp {self.mpp:g}: must be within {low:g} and {high:g} microns per pixel")


def predict_image(path: Path, model: Model, store: Store, options: Options) -> str:
    """Write what the model sees in one image below `<stem>/` of a store; returns a line that tells what it was.

    The summary is written last: an image with one made of the same bytes, model and options is left as it is.

    Raises:
        DataError: If the file is no image, or its resolution is unknown or contradicts what was given.
    """
    begun = time.perf_counter()
    made_of = _digest_inputs(path, model, options)
    if not options.overwrite and model.sha256 and _is_done(store, path.stem, made_of):
        return f"{path.name}: already there"
    image = read_image(path)
    seen = look(path.stem, image, find_mpp(path, options.mpp), model, options.windows)
    objects = list_objects(seen)
    files = make_files(seen, image, objects)
    summary = summarise(seen, objects, model) | {
        "image": path.name,
        "windows": asdict(options.windows),
        "files": sorted(files),
        "made_of": made_of,
    }
    _write(store, path.stem, files, summary)
    return f"{path.name}: {describe(seen)} in {time.perf_counter() - begun:.1f} s"


def require_distinct(paths: Sequence[Path]) -> None:
    """Refuse images whose results would lie in the same folder.

    Raises:
        ConfigError: If two have the same name but for the ending.
    """
    first: dict[str, Path] = {}
    for path in paths:
        if path.stem in first:
            raise ConfigError(
                f"{first[path.stem]} and {path} would both be written to {path.stem}/; rename one or use another --out"
            )
        first[path.stem] = path


def find_mpp(path: Path, given: float | None) -> float:
    """Microns per pixel of an image, as given or as its file says.

    Raises:
        DataError: If neither is known, or the two differ by more than 5 %.
    """
    stored = stored_mpp(path)
    if given is None and stored is None:
        raise DataError(f"{path}: the file does not say how large a pixel is; give --mpp, its microns per pixel")
    if given is not None and stored is not None and abs(given / stored - 1) > DISAGREEMENT:
        raise DataError(
            f"{path}: --mpp {given:g}, but the file says {stored:.4g} microns per pixel; leave out --mpp to believe "
            "the file, or correct the resolution that it states"
        )
    mpp = given if given is not None else stored
    return float(mpp or 0)


def stored_mpp(path: Path) -> float | None:
    """Microns per pixel that a PNG or TIFF states; None if it states none, or one that no microscope has."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Odd tags, large images: `read_image` has judged the file already.
            with PillowImage.open(path) as header:
                dots = header.info.get("dpi") if header.format in ("PNG", "TIFF") else None
    except PillowImage.DecompressionBombError:
        return None
    if not dots or not all(math.isfinite(per_inch) and per_inch > 0 for per_inch in dots):
        return None
    x, y = (MICRONS_PER_INCH / float(per_inch) for per_inch in dots)
    low, high = CREDIBLE_MPP
    return x if low <= x <= high and abs(x / y - 1) < 0.01 else None


def look(name: str, image: Image, mpp: float, model: Model, windows: Windows) -> Seen:
    """What the model sees in an image, which is resampled to the resolution it was trained at."""
    blank = np.zeros(image.shape[:2], np.uint8)
    given = Sample(key="image", patient="image", image=image, semantic_map=blank, mpp=mpp)
    shown = resample(given, model.mpp).image
    _warn_if_large(name, shown, model)
    return Seen(
        name=name,
        segmentation=segment(model.network, shown, windows),
        classes=model.classes,
        image_px=(image.shape[0], image.shape[1]),
        seen_px=(shown.shape[0], shown.shape[1]),
        mpp=mpp,
    )


def _warn_if_large(name: str, shown: Image, model: Model) -> None:
    height, width = shown.shape[:2]
    if height * width > LARGE_PX:
        size = f"{width} x {height} px at {model.mpp:g} microns per pixel"
        gigabytes = 4 * sum(model.network.spec.decoders.values()) * height * width / 1e9
        text = "%s: %s; its maps alone take %.1f GB of memory; where there is less, cut the image into regions"
        logger.warning(text, name, size, gigabytes)


def make_files(seen: Seen, image: Image, objects: Sequence[Found]) -> dict[str, bytes]:
    """The contents of all files but the summary, by name."""
    colours = choose_colours(seen)
    files = {
        "objects.csv": to_table(objects).encode(),
        "objects.geojson": _json(to_geojson(objects, colours, seen.name)),
    }
    for structure in seen.segmentation.instance_maps:
        ending, body = encode_map(own_map(seen, structure))
        files[f"{structure}.{ending}"] = body
    if (grid := to_grid(seen)) is not None:
        files["tissue.json"] = _json(grid)
    overlay = io.BytesIO()
    PillowImage.fromarray(draw_overlay(image, seen, objects, colours)).save(overlay, "PNG")
    files["overlay.png"] = overlay.getvalue()
    return files


def summarise(seen: Seen, objects: Sequence[Found], model: Model) -> dict[str, Any]:
    """Counts, and what they are from."""
    grid = to_grid(seen)
    return {
        "size_px": [seen.image_px[1], seen.image_px[0]],
        "mpp": seen.mpp,
        "model": {"sha256": model.sha256, "origin": model.origin, "mpp": model.mpp},
        "histoseg": _version(),
        "counts": {structure: _counts(seen, structure, objects) for structure in seen.segmentation.instance_maps},
        "tissue": None if grid is None else grid["shares"],
    }


def _counts(seen: Seen, structure: Structure, objects: Sequence[Found]) -> dict[str, Any]:
    """How many there are, of each class, and how many are too small to have a pixel of the image of their own."""
    counts = Counter(found.class_name for found in objects if found.structure == structure)
    names = class_names(seen.classes, structure)[1:]
    told = {name: counts[name] for name in names} | ({"": counts[""]} if names and counts[""] else {})
    visible = int(np.count_nonzero(np.unique(own_map(seen, structure))))
    return {"all": counts.total(), "classes": told, "not_in_map": counts.total() - visible}


def describe(seen: Seen) -> str:
    """The counts in words: "no gland, 1 lumen, 12 nuclei"."""
    counts = {structure: len(seen.segmentation.classes[structure]) for structure in seen.segmentation.instance_maps}
    words = [
        f"no {PLURAL[structure][0]}" if count == 0 else f"{count} {PLURAL[structure][count != 1]}"
        for structure, count in counts.items()
    ]
    return ", ".join(words) or "classes of tissue"


def _digest_inputs(path: Path, model: Model, options: Options) -> str:
    """What stands for all that an image's results depend on."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    about = [model.sha256, model.mpp, dict(model.classes), asdict(options.windows), options.mpp, _version()]
    return digest([hashlib.sha256(body).hexdigest(), *about])


def _write(store: Store, folder: str, files: Mapping[str, bytes], summary: Mapping[str, Any]) -> None:
    """All files, the summary last; what an earlier model wrote and this one has not is removed."""
    store.delete(f"{folder}/{SUMMARY}")
    stale = {f"{structure}.{ending}" for structure in PLURAL for ending in ("png", "tif")} | {"tissue.json"}
    for name in stale - files.keys():
        store.delete(f"{folder}/{name}")
    for name, body in files.items():
        store.put(f"{folder}/{name}", body)
    store.put(f"{folder}/{SUMMARY}", _json(summary))


def _is_done(store: Store, folder: str, made_of: str) -> bool:
    """Whether all files are there that a summary made of the same names."""
    key = f"{folder}/{SUMMARY}"
    if store.size(key) is None:
        return False
    try:
        summary = json.loads(store.get(key))
        names = summary["files"] if summary["made_of"] == made_of else None
    except (ValueError, KeyError, TypeError):
        return False
    return names is not None and all(store.size(f"{folder}/{name}") is not None for name in names)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _version() -> str:
    return versions()["histoseg"]
