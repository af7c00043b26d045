"""Whole images through a model: read, predict, and write what was found in forms that other programs open."""

import hashlib
import io
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from pydantic import BaseModel, ValidationError

from histoseg.errors import ConfigError, DataError, HistosegError
from histoseg.files.resolution import resolution_caveat
from histoseg.inference.export import choose_colours, encode_map, shares, to_geojson, to_grid, to_table
from histoseg.inference.objects import DetectedObject, PredictedImage, list_objects
from histoseg.inference.overlay import draw_overlay
from histoseg.inference.reading import read_apart
from histoseg.machine import versions
from histoseg.maps.windows import MarginWindows, Windows
from histoseg.models.prediction import Prediction
from histoseg.models.weights import Model
from histoseg.runs.plain import digest
from histoseg.shards.pool import ReaderPool
from histoseg.shards.resample import resample
from histoseg.store.objects import Store
from histoseg.structures import TISSUE, structure, structures
from histoseg.types import Image, Sample, is_credible_mpp, say_credible_mpp

logger = logging.getLogger(__name__)

LARGE_PX = 10_000**2  # All of an image is in memory at once, with Cerberus' five decoders 93 bytes a pixel: then 9 GB.
SUMMARY = "summary.json"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person may choose."""

    mpp: float | None = None  # Microns per pixel of the images; None takes what each file says.
    windows: Windows = field(default_factory=MarginWindows)
    overwrite: bool = False  # Whether images whose results exist are predicted again

    def __post_init__(self) -> None:
        if self.mpp is not None and not is_credible_mpp(self.mpp):
            raise ConfigError(f"--mpp {self.mpp:g}: must be {say_credible_mpp()}")


def predict_images(
    paths: Sequence[Path], model: Model, store: Store, options: Options
) -> Iterator[tuple[Path, str | DataError]]:
    """Write what a model predicts in some images; each comes with a line about the result, or why it has none."""
    with ReaderPool(1) as readers:
        for path in paths:
            try:
                yield path, predict_image(path, model, store, options, readers)
            except DataError as error:
                yield path, error
            except HistosegError:  # The store, for example: the other images would fail as well.
                raise
            except Exception as error:  # Too little memory, or a fault of the program that other images may not meet.
                logger.debug("%s", path, exc_info=True)
                what = " ".join(f"{type(error).__name__}: {error}".split())
                yield path, DataError(f"{path}: cannot be segmented ({what}); HISTOSEG_LOG=DEBUG shows the traceback")


def predict_image(path: Path, model: Model, store: Store, options: Options, readers: Executor) -> str:
    """Write what a model predicts in one image below `<stem>/` of a store; returns a line about the result.

    The summary is written last: an image whose summary states the same bytes, model and options is left as it is.

    Raises:
        DataError: If the file is not an image, or its resolution is unknown or contradicts what was given.
    """
    begun = time.perf_counter()
    made_of = _digest_inputs(path, model, options)
    if not options.overwrite and model.sha256 and _is_done(store, path.stem, made_of):
        return f"{path.name}: already there"
    image = read_apart(path, options.mpp, readers)
    predicted = look(path.stem, image.pixels, image.mpp, model, options.windows)
    objects = list_objects(predicted)
    files = make_files(predicted, image.pixels, objects)
    summary = summarise(predicted, objects, model) | {
        "image": path.name,
        "windows": asdict(options.windows),
        "files": sorted(files),
        "made_of": made_of,
    }
    _write(store, path.stem, files, summary | ({"notes": image.notes} if image.notes else {}))
    noted = "".join(f"; {text}: {count}" for text, count in image.notes.items())
    return f"{path.name}: {describe(predicted)} in {time.perf_counter() - begun:.1f} s{noted}"


def require_distinct(paths: Sequence[Path]) -> None:
    """Refuse images whose results would lie in the same folder."""
    first: dict[str, Path] = {}
    for path in paths:
        if path.stem in first:
            raise ConfigError(
                f"{first[path.stem]} and {path} would both be written to {path.stem}/; rename one or use another --out"
            )
        first[path.stem] = path


def look(name: str, image: Image, mpp: float, model: Model, windows: Windows) -> PredictedImage:
    """What a model predicts in an image, which is resampled to the resolution that the model was trained at."""
    blank = np.zeros(image.shape[:2], np.uint8)
    given = Sample(key="image", patient="image", image=image, semantic_map=blank, mpp=mpp)
    shown = resample(given, model.mpp).image
    _warn_if_large(name, shown, model)
    other_mpp = resolution_caveat(mpp, model.mpp)
    for caveat in other_mpp:
        logger.warning("%s: %s", name, caveat)
    return PredictedImage(
        name=name,
        prediction=model.spec.predict(model.network, shown, windows, mpp=model.mpp),
        classes=model.classes,
        image_px=(image.shape[0], image.shape[1]),
        seen_px=(shown.shape[0], shown.shape[1]),
        mpp=mpp,
        caveats=(*model.caveats, *other_mpp),
    )


def segment(model: Model, image: np.ndarray, mpp: float | None = None, windows: Windows | None = None) -> Prediction:
    """What a model predicts in an image; maps have the size of the image.

    Args:
        model: See `histoseg.load_model`.
        image: uint8, H x W x 3, RGB.
        mpp: Microns per pixel of the image; None stands for those of the model.
        windows: How the image is divided; None takes squares of 1024 pixels with a margin of 152.

    Raises:
        ValueError: If the image has another shape or type, or no microscope has that resolution.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image has shape {image.shape} and type {image.dtype}; it must be H x W x 3 of uint8")
    if mpp is not None and not is_credible_mpp(mpp):
        raise ValueError(f"mpp = {mpp:g}: must be {say_credible_mpp()}")
    predicted = look("image", image, model.mpp if mpp is None else mpp, model, windows or MarginWindows())
    found = predicted.prediction
    return replace(
        found,
        instance_maps={name: predicted.own_map(label_map) for name, label_map in found.instance_maps.items()},
        semantic_maps={name: predicted.own_map(label_map) for name, label_map in found.semantic_maps.items()},
    )


def _warn_if_large(name: str, shown: Image, model: Model) -> None:
    height, width = shown.shape[:2]
    if height * width > LARGE_PX:
        size = f"{width} x {height} px at {model.mpp:g} microns per pixel"
        heads = model.spec.heads(model.network).num_classes
        gigabytes = 4 * sum(count for head, count in heads.items() if head != TISSUE) * height * width / 1e9
        text = "%s: %s; its maps alone take %.1f GB of memory; where there is less, cut the image into regions"
        logger.warning(text, name, size, gigabytes)


def make_files(predicted: PredictedImage, image: Image, objects: Sequence[DetectedObject]) -> dict[str, bytes]:
    """The contents of all files but the summary, by name."""
    colours = choose_colours(predicted)
    files = {
        "objects.csv": to_table(objects).encode(),
        "objects.geojson": _json(to_geojson(objects, colours, predicted.name, predicted.caveats)),
    }
    for name, label_map in {**predicted.prediction.instance_maps, **predicted.prediction.semantic_maps}.items():
        ending, body = encode_map(predicted.own_map(label_map))
        files[f"{name}.{ending}"] = body
    if (grid := to_grid(predicted)) is not None:
        files["tissue.json"] = _json(grid)
    overlay = io.BytesIO()
    PillowImage.fromarray(draw_overlay(image, predicted, objects, colours)).save(overlay, "PNG")
    files["overlay.png"] = overlay.getvalue()
    return files


def summarise(predicted: PredictedImage, objects: Sequence[DetectedObject], model: Model) -> dict[str, object]:
    """Counts of objects and shares of the image's area, and what they are from."""
    grid = to_grid(predicted)
    return {
        "size_px": [predicted.image_px[1], predicted.image_px[0]],
        "mpp": predicted.mpp,
        "model": {"sha256": model.sha256, "origin": model.origin, "mpp": model.mpp},
        "caveats": list(predicted.caveats),
        "histoseg": versions()["histoseg"],
        "counts": {name: _counts(predicted, name, objects) for name in predicted.prediction.instance_maps},
        "tissue": None if grid is None else grid["shares"],
        "pixels": {
            task: shares(predicted.classes[task], np.bincount(found.ravel(), minlength=len(predicted.classes[task])))
            for task, found in predicted.prediction.semantic_maps.items()
        },
    }


def _counts(predicted: PredictedImage, name: str, objects: Sequence[DetectedObject]) -> dict[str, object]:
    """The number of objects, in all and of each class, and how many are too small for a pixel of the image."""
    counts = Counter(found.class_name for found in objects if found.structure == name)
    names = predicted.class_names(name)[1:]
    by_class = {name: counts[name] for name in names} | ({"": counts[""]} if names and counts[""] else {})
    own_map = predicted.own_map(predicted.prediction.instance_maps[name])
    visible = int(np.count_nonzero(np.unique(own_map)))
    return {"all": counts.total(), "classes": by_class, "not_in_map": counts.total() - visible}


def describe(predicted: PredictedImage) -> str:
    """The counts in words: "no gland, 1 lumen, 12 nuclei"."""
    words = [
        _say_count(len(found), structure(name).singular, structure(name).plural)
        for name, found in predicted.prediction.classes.items()
    ]
    if predicted.prediction.semantic_maps:
        words.append(f"classes of {', '.join(predicted.prediction.semantic_maps)}")
    return ", ".join(words) or "classes of tissue"


def _say_count(count: int, singular: str, plural: str) -> str:
    return f"{count or 'no'} {plural if count > 1 else singular}"


def _digest_inputs(path: Path, model: Model, options: Options) -> str:
    """A digest of everything that an image's results depend on."""
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    about = [model.sha256, model.mpp, dict(model.classes), asdict(options.windows), options.mpp, versions()["histoseg"]]
    return digest([content, *about, *model.caveats])


def _write(store: Store, folder: str, files: Mapping[str, bytes], summary: Mapping[str, object]) -> None:
    """All files, the summary last; files of another model that this one does not write are removed.

    They are removed before the earlier summary, which names them: a process killed in between is repeated.
    """
    earlier = _read_summary(store, folder).files
    maps = {f"{name}.{ending}" for name in structures() for ending in ("png", "tif")}
    for name in sorted({*maps, "tissue.json", *earlier} - files.keys()):
        store.delete(f"{folder}/{name}")
    store.delete(f"{folder}/{SUMMARY}")
    for name, body in files.items():
        store.put(f"{folder}/{name}", body)
    store.put(f"{folder}/{SUMMARY}", _json(summary))


def _is_done(store: Store, folder: str, made_of: str) -> bool:
    """Whether there is a summary made of the same inputs, and all files that it names."""
    summary = _read_summary(store, folder)
    return summary.made_of == made_of and all(store.size(f"{folder}/{name}") is not None for name in summary.files)


class _Summary(BaseModel):
    """What a later prediction reads of the summary of an earlier one."""

    made_of: str = ""
    files: list[str] = []


def _read_summary(store: Store, folder: str) -> _Summary:
    """The summary of an earlier prediction; empty if there is none that can be read."""
    key = f"{folder}/{SUMMARY}"
    if store.size(key) is None:
        return _Summary()
    try:
        return _Summary.model_validate_json(store.get(key))
    except ValidationError:
        return _Summary()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
