"""Gleason 2019: tissue cores of the prostate, graded pixel by pixel by up to six pathologists (Nir et al. 2018)."""

import logging
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from histoseg.errors import ConfigError, DataError
from histoseg.files.folders import (
    LOSSLESS,
    LOSSY,
    Folders,
    by_image_name,
    make_key,
    pair,
    plain,
    require_unique,
    scan,
    spelt_as,
)
from histoseg.files.images import read_image
from histoseg.files.labels import read_labels
from histoseg.files.left_out import leave_out
from histoseg.files.notes import note
from histoseg.maps import consensus as rater_consensus
from histoseg.sources._samples import make_sample
from histoseg.types import Entry, Image, Sample, SemanticMap, Task

logger = logging.getLogger(__name__)

TASK = Task(
    name="gleason2019",
    title="Gleason2019",
    classes=("background", "benign", "never used", "Gleason 3", "Gleason 4", "Gleason 5"),
    mpp=0.25,  # Scanned at 40x (Nir et al. 2018).
    licence="CC BY-NC-SA 4.0",
    year=2018,
)

RATERS = tuple(f"rater{number}" for number in range(1, 7))
CONSENSUS = ("staple", "majority", *RATERS)
IMAGE = r"slide\d+_core\d+"
MAP_ENDING = "_classimg_nonconvex"
FETCH = "fetch the map again"
BENIGN = 1  # Ids above 5 are slips for benign (Foucart's corrections of this data set).
LARGEST_SLIP = 9  # A rater types one digit; a map full of larger ids is of another kind, such as grey levels.


def entries(root: Path, *, consensus: str = "staple") -> list[Entry]:
    """The training cores with their maps, pairs checked, no pixel read.

    consensus: How several raters' maps become one: STAPLE, the majority, or one rater alone; cores without a map
        of that rater are left out and counted.
    """
    if consensus not in CONSENSUS:
        raise ConfigError(f"no consensus {consensus!r} for {TASK.name}; choose from {', '.join(CONSENSUS)}")
    folders = scan(root)
    images = by_image_name(folders, IMAGE, (LOSSY, LOSSLESS), _holds_training_images)
    maps = _maps(folders, images)
    first_maps = {core: next(iter(found.values())) for core, found in maps.items()}
    pair(root, TASK.title, "Train Imgs/slideNNN_coreNNN.jpg with Maps1_T to Maps6_T", images, first_maps)
    chosen = {core: _choose(found, consensus) for core, found in maps.items()}
    if left_out := sum(not found for found in chosen.values()):
        logger.info("%s: %s of %s cores left out: %s drew no map", TASK.title, left_out, len(chosen), consensus)
    return require_unique([_entry(images[core], found, consensus) for core, found in chosen.items() if found])


def _holds_training_images(folder: Path) -> bool:
    """Whether the folder is `Train Imgs`, `Train_imgs`, ...; test cores have no maps."""
    return "train" in plain(folder.name)


def _rater(folder: Path) -> str | None:
    """The rater whose maps lie in a folder: `Maps3_T`, also nested in a folder of the same name, is of rater3."""
    number = re.fullmatch(r"maps([1-6])t?", plain(folder.name))
    return f"rater{number[1]}" if number else None


def _maps(folders: Folders, images: Collection[str]) -> dict[str, dict[str, Path]]:
    """The maps of each core, by rater, in the order of the raters."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for rater in RATERS:
        own = {folder: files for folder, files in folders.items() if _rater(folder) == rater}
        maps = by_image_name(
            own, IMAGE + MAP_ENDING, ("png", LOSSLESS, LOSSY), name=lambda path: path.stem[: -len(MAP_ENDING)]
        )
        for core, path in spelt_as(images, maps).items():
            found[core][rater] = path
    return found


def _choose(maps: Mapping[str, Path], consensus: str) -> dict[str, Path]:
    return {rater: path for rater, path in maps.items() if consensus in ("staple", "majority", rater)}


def _entry(image: Path, maps: Mapping[str, Path], consensus: str) -> Entry:
    return Entry(
        key=make_key(image.stem),
        patient=image.stem.partition("_")[0],
        files={"image": image, **maps},
        options={"consensus": consensus},
    )


def read(entry: Entry) -> Sample:
    """One core; pixels without agreement between the raters are IGNORE."""
    image = read_image(entry.files["image"])
    maps = [_read_map(path, image) for rater, path in entry.files.items() if rater in RATERS]
    semantic_map = _unite(maps, entry.options["consensus"])
    return make_sample(entry, TASK, image, semantic_map)


def _read_map(path: Path, image: Image) -> SemanticMap:
    rater_map = read_labels(path)
    if rater_map.shape != image.shape[:2]:
        raise DataError(
            f"{path}: {rater_map.shape[1]}x{rater_map.shape[0]} px,"
            f" but its core has {image.shape[1]}x{image.shape[0]} px; fetch both again"
        )
    slips = rater_map >= TASK.num_classes
    strange = int(np.count_nonzero(rater_map > LARGEST_SLIP))
    leave_out(path, f"pixels with an id above {LARGEST_SLIP}", strange, rater_map.size, FETCH, done="read as benign")
    note("pixels with an id above 5 read as benign", int(np.count_nonzero(slips)) - strange)
    return np.where(slips, np.uint8(BENIGN), rater_map)


def _unite(maps: list[SemanticMap], consensus: str) -> SemanticMap:
    if consensus == "staple":
        return rater_consensus.staple(maps, TASK.num_classes)
    if consensus == "majority":
        return rater_consensus.majority(maps, TASK.num_classes)
    return maps[0]
