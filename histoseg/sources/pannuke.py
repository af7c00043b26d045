"""PanNuke: nuclei by type in tissue of nineteen organs (Gamper et al. 2020)."""

import re
from pathlib import Path

import numpy as np

from histoseg.errors import ConfigError, DataError
from histoseg.files.arrays import open_array
from histoseg.files.folders import Folders, by_name, pair, plain, require_unique, scan
from histoseg.files.instances import Instances, are_whole, require_choice, to_objects
from histoseg.files.notes import note
from histoseg.maps.objects import renumber
from histoseg.sources._samples import make_sample
from histoseg.types import FOLDS, IGNORE, Entry, Image, InstanceMap, Sample, SemanticMap, Split, Task

TASK = Task(
    name="pannuke",
    title="PanNuke",
    classes=("background", "neoplastic", "inflammatory", "connective", "dead", "epithelial"),
    mpp=0.25,  # 40x (Gamper et al. 2020, Sec. 2).
    licence="CC BY-NC-SA 4.0",
    kind="instance",
    structure="nuclei",
    year=2020,
    reserve=2,  # Lizard has regions of it (Graham et al. 2021).
)

NUM_NUCLEI_CHANNELS = 5  # Of six; the last is background.
OVERLAPS = ("refuse", "ignore")
CONVERT = "np.save(path, np.load(path, allow_pickle=True).astype(str)), if you trust the file"


def entries(root: Path, *, tissue: str = "all", overlaps: str = "refuse", instances: str = "numbered") -> list[Entry]:
    """The images of all folds, arrays paired and counted, no pixel read. No file states patients: each is its own.

    tissue: "all", or one that `types.npy` names, such as "Colon".
    overlaps: For a pixel in nuclei of two types: "refuse" the image, or "ignore" the pixel.
    instances: Whether nuclei are "numbered", or each connected piece of a number is one ("components").
    """
    choice = require_choice(instances, TASK.name)
    if overlaps not in OVERLAPS:
        raise ConfigError(f"no overlaps {overlaps!r} for {TASK.name}; choose from {', '.join(OVERLAPS)}")
    folders = scan(root)
    images, masks = _arrays(folders, "images.npy"), _arrays(folders, "masks.npy")
    looked_for = "images.npy and masks.npy below folders fold1 (or Fold 1), fold2, fold3"
    pairs = pair(root, TASK.title, looked_for, images, masks)
    wanted = {fold: _numbers(images[fold], masks[fold]) for fold in images}
    if tissue != "all":
        wanted = _select(_arrays(folders, "types.npy"), images, wanted, tissue)
    options = {"overlaps": overlaps, "instances": choice}
    return require_unique(
        [_entry(fold, number, pairs[fold], options) for fold, numbers in wanted.items() for number in numbers]
    )


def _arrays(folders: Folders, name: str) -> dict[str, Path]:
    """The files of that name by fold."""
    return by_name(
        folders, re.escape(name), lambda folder: _fold(folder) is not None, lambda path: _fold(path.parent) or ""
    )


def _fold(folder: Path) -> Split | None:
    """The fold in the name of the nearest folder; archives nest folders as `Fold 1/images/fold1`."""
    for name in reversed(folder.parts):
        for fold in FOLDS:
            if plain(name) == fold:
                return fold
    return None


def _entry(fold: str, number: int, files: dict[str, Path], options: dict[str, str]) -> Entry:
    key = f"{fold}_{number:05}"
    part = next(name for name in FOLDS if name == fold)
    return Entry(key=key, patient=key, files=files, options={"number": number, **options}, fold=part)


def _numbers(images: Path, masks: Path) -> list[int]:
    """The positions of all images, after checking that the shapes of both arrays match."""
    first, second = open_array(images).shape, open_array(masks).shape
    if len(first) != 4 or first[3] != 3:
        raise DataError(f"{images}: shape {first}; expected images x height x width x 3; fetch the file again")
    if second != (*first[:3], NUM_NUCLEI_CHANNELS + 1):
        raise DataError(f"{masks}: shape {second}; expected {(*first[:3], NUM_NUCLEI_CHANNELS + 1)} as its images have")
    return list(range(first[0]))


def _select(
    types: dict[str, Path], images: dict[str, Path], numbers: dict[str, list[int]], tissue: str
) -> dict[str, list[int]]:
    """The positions of the images of that tissue."""
    names = {fold: _read_types(types, fold, images[fold], len(numbers[fold])) for fold in images}
    if tissue not in (known := sorted({name for found in names.values() for name in found})):
        raise ConfigError(f"no tissue {tissue!r} in {TASK.name}; choose from all, {', '.join(known)}")
    return {fold: [i for i, name in enumerate(found) if name == tissue] for fold, found in names.items()}


def _read_types(types: dict[str, Path], fold: str, images: Path, count: int) -> list[str]:
    if fold not in types:
        raise DataError(
            f"{images}: no types.npy of {fold}, which names tissues; fetch it, or prepare with --option tissue=all"
        )
    path = types[fold]
    try:
        names = np.load(path, allow_pickle=False)
    except Exception as error:
        raise DataError(
            f"{path}: not readable without unpickling ({error}), which could run code; convert it with {CONVERT};"
            " or prepare with --option tissue=all, which does without"
        ) from error
    if names.shape != (count,) or names.dtype.kind != "U":
        raise DataError(f"{path}: shape {names.shape} of {names.dtype}; expected {count} names; fetch the file again")
    return [str(name) for name in names]


def read(entry: Entry) -> Sample:
    """One image, its nuclei and the class of each; nuclei are numbered over all types together."""
    number = entry.options["number"]
    image = _to_image(np.array(open_array(entry.files["image"])[number]), f"{entry.files['image']}: image {number}")
    where = f"{entry.files['annotation']}: image {number}"
    channels = np.array(open_array(entry.files["annotation"])[number, :, :, :NUM_NUCLEI_CHANNELS])
    instance_map, semantic_map = merge_channels(
        channels, where, overlaps=entry.options["overlaps"], instances=entry.options["instances"]
    )
    return make_sample(entry, TASK, image, semantic_map, instance_map)


def _to_image(pixels: np.ndarray, where: str) -> Image:
    """The image as bytes; it is published as floats from 0 to 255."""
    if pixels.size == 0 or pixels.dtype.kind not in "uif":
        raise DataError(f"{where} has shape {pixels.shape} and type {pixels.dtype}; expected numbers; fetch it again")
    if not (np.isfinite(pixels).all() and 0 <= pixels.min() <= pixels.max() <= 255):
        raise DataError(f"{where} has values from {pixels.min()} to {pixels.max()}; expected 0 to 255; fetch it again")
    if 0 < pixels.max() <= 1:
        raise DataError(f"{where} has values from {pixels.min()} to {pixels.max()}; expected 0 to 255; multiply by 255")
    return np.round(pixels).astype(np.uint8)


def merge_channels(
    channels: np.ndarray, where: str, *, overlaps: str, instances: Instances = "numbered"
) -> tuple[InstanceMap, SemanticMap]:
    """One map of nuclei and one of classes, from one channel of numbered nuclei per class; numbers may recur."""
    if not are_whole(channels):
        raise DataError(f"{where} has masks that are not whole numbers from 0 up; fetch it again")
    twice = (channels > 0).sum(axis=2) > 1
    if twice.any() and overlaps == "refuse":
        raise DataError(
            f"{where} has {twice.sum()} pixels in nuclei of two types; fetch it again, or prepare with --option "
            "overlaps=ignore"
        )
    instance_map, semantic_map = np.zeros(twice.shape, np.int32), np.zeros(twice.shape, np.uint8)
    for channel in range(channels.shape[2]):
        numbered = to_objects(channels[:, :, channel].astype(np.int32), instances, where)
        compact = renumber(numbered)
        inside = (compact > 0) & ~twice
        instance_map[inside] = compact[inside] + instance_map.max()
        semantic_map[inside] = channel + 1
    semantic_map[twice] = IGNORE
    note("pixels in nuclei of two types, not labelled", int(twice.sum()))
    return instance_map, semantic_map
