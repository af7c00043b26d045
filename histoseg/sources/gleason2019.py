"""Gleason 2019: tissue cores of the prostate, graded pixel by pixel by up to six pathologists (Nir et al. 2018)."""

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from histoseg.demo import drawing as _drawing
from histoseg.errors import ConfigError, DataError
from histoseg.maps import consensus as rater_consensus
from histoseg.sources import _files
from histoseg.types import Entry, Image, Sample, SemanticMap, Task

logger = logging.getLogger(__name__)

TASK = Task(
    name="gleason2019",
    title="Gleason2019",
    classes=("background", "benign", "never used", "Gleason 3", "Gleason 4", "Gleason 5"),
    mpp=0.25,  # Scanned at 40x (Nir et al. 2018).
    licence="CC BY-NC-SA 4.0",
)

RATERS = tuple(f"rater{number}" for number in range(1, 7))
CONSENSUS = ("staple", "majority", *RATERS)
IMAGE = r"slide\d+_core\d+\.jpe?g"
MAP = r"slide\d+_core\d+_classimg_nonconvex\.png"
BENIGN = 1  # Ids above 5 are slips of the pen for benign (Foucart's corrections of this data set).


def entries(root: Path, *, consensus: str = "staple") -> list[Entry]:
    """The training cores with their maps, pairs checked, no pixel read.

    Args:
        root: The folder that holds the data set, or one above it.
        consensus: How several raters' maps become one: STAPLE, the majority, or one rater alone, whose missing cores
            are left out and counted.

    Raises:
        ConfigError: If there is no such consensus.
        MissingSourceError: If there is neither core nor map.
        DataError: If a core has no map, or a map no core.
    """
    if consensus not in CONSENSUS:
        raise ConfigError(f"no consensus {consensus!r} for {TASK.name}; choose from {', '.join(CONSENSUS)}")
    folders = _files.scan(root)
    images = _files.by_name(_files.select(folders, IMAGE, _holds_training_images), lambda path: path.stem)
    maps = _maps(folders)
    if not images and not maps:
        raise _files.missing(root, TASK.title, "Train Imgs/slideNNN_coreNNN.jpg with Maps1_T to Maps6_T")
    _files.require_pairs(TASK.title, images, {core: next(iter(found.values())) for core, found in maps.items()})
    chosen = {core: _choose(found, consensus) for core, found in maps.items()}
    if left_out := sum(not found for found in chosen.values()):
        logger.info("%s: %s of %s cores left out: %s drew no map", TASK.title, left_out, len(chosen), consensus)
    return _files.require_unique([_entry(images[core], found, consensus) for core, found in chosen.items() if found])


def _holds_training_images(folder: Path) -> bool:
    """Whether the folder is `Train Imgs`, `Train_imgs`, ...; test cores have no maps."""
    return "train" in _files.plain(folder.name)


def _belongs_to(rater: str, folder: Path) -> bool:
    return _rater(folder) == rater


def _rater(folder: Path) -> str | None:
    """Whose maps lie in a folder: `Maps3_T`, also as a folder of the same name inside, is rater3."""
    number = re.fullmatch(r"maps([1-6])t?", _files.plain(folder.name))
    return f"rater{number[1]}" if number else None


def _maps(folders: _files.Folders) -> dict[str, dict[str, Path]]:
    """By core, the raters' maps in the order of the raters.

    Raises:
        DataError: If a rater has two maps of one core.
    """
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for rater in RATERS:
        paths = _files.select(folders, MAP, partial(_belongs_to, rater))
        for core, path in _files.by_name(paths, lambda path: path.stem.partition("_classimg")[0]).items():
            found[core][rater] = path
    return found


def _choose(maps: Mapping[str, Path], consensus: str) -> dict[str, Path]:
    return {rater: path for rater, path in maps.items() if consensus in ("staple", "majority", rater)}


def _entry(image: Path, maps: Mapping[str, Path], consensus: str) -> Entry:
    return Entry(
        key=_files.make_key(image.stem),
        patient=image.stem.partition("_")[0],
        files={"image": image, **maps},
        options={"consensus": consensus},
    )


def read(entry: Entry) -> Sample:
    """One core; pixels on which the raters are undecided are IGNORE.

    Raises:
        DataError: If a file is damaged, or a map and the core differ in size.
    """
    image = _files.read_image(entry.files["image"])
    maps = [_read_map(path, image) for rater, path in entry.files.items() if rater in RATERS]
    semantic_map = _unite(maps, entry.options["consensus"])
    return _files.make_sample(entry, image, semantic_map, num_classes=TASK.num_classes, mpp=TASK.mpp)


def _read_map(path: Path, image: Image) -> SemanticMap:
    rater_map = _files.read_labels(path)
    if rater_map.shape != image.shape[:2]:
        raise DataError(
            f"{path}: {rater_map.shape[1]}x{rater_map.shape[0]} px,"
            f" but its core has {image.shape[1]}x{image.shape[0]} px; fetch both again"
        )
    return np.where(rater_map < TASK.num_classes, rater_map, np.uint8(BENIGN))


def _unite(maps: list[SemanticMap], consensus: str) -> SemanticMap:
    if consensus == "staple":
        return rater_consensus.staple(maps, TASK.num_classes)
    if consensus == "majority":
        return rater_consensus.majority(maps, TASK.num_classes)
    return maps[0]


SIZE = (480, 480)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write twelve small made-up cores of eight slides with three to six raters each, in the published layout."""
    folder = root / "Gleason2019"
    for i in range(12):
        core = f"slide{i % 8 + 1:03}_core{10 + i:03}"
        stain = _drawing.draw_stain(rng)
        truth, image = _draw(stain, rng)
        _files.write_image(folder / "Train Imgs" / f"{core}.jpg", image, quality=92)
        raters = sorted(rng.permutation(6)[: int(rng.integers(3, 7))] + 1)
        for rater in raters:
            name = f"{core}_classimg_nonconvex.png"
            rated = _disturb(truth, rng)
            _files.write_image(folder / f"Maps{rater}_T" / f"Maps{rater}_T" / name, rated)


def _draw(stain: _drawing.Stain, rng: np.random.Generator) -> tuple[SemanticMap, Image]:
    """A round core on glass with two or three kinds of tissue, and its true map."""
    core = _drawing.fill(SIZE, _drawing.outline(np.array([240.0, 240.0]), 212.0, rng, wobble=0.015))
    kinds = rng.permutation([1, 3, 4, 5])[: int(rng.integers(2, 4))]
    heights = np.stack([_drawing.noise(SIZE, 150.0, rng) for _ in kinds])
    truth = np.where(core, kinds[heights.argmax(axis=0)], 0).astype(np.uint8)
    canvas = _drawing.draw_stroma(SIZE, rng)
    _drawing.add_nuclei(canvas, _drawing.scatter(core, 20.0, rng), _drawing.Cell(radius_px=2.0, length=2.6), rng)
    for kind, draw in ((1, _add_benign), (3, _add_grade3), (4, _add_grade4), (5, _add_grade5)):
        draw(canvas, truth == kind, rng)
    canvas.haematoxylin[~core], canvas.eosin[~core] = 0.01, 0.02
    return truth, _drawing.render(canvas, stain, rng)


def _add_benign(canvas: _drawing.Canvas, region: np.ndarray, rng: np.random.Generator) -> None:
    """Large glands with folded edges and wide lumina."""
    cell = _drawing.Cell(radius_px=2.3, length=1.6, dark=0.8)
    _add_glands(canvas, region, (26.0, 40.0), rng, cell, (0.5, 0.68))


def _add_grade3(canvas: _drawing.Canvas, region: np.ndarray, rng: np.random.Generator) -> None:
    """Small round separate glands."""
    _add_glands(canvas, region, (10.0, 15.0), rng, _drawing.Cell(radius_px=2.5, dark=1.05), (0.3, 0.5))


def _add_glands(
    canvas: _drawing.Canvas,
    region: np.ndarray,
    radii_px: tuple[float, float],
    rng: np.random.Generator,
    cell: _drawing.Cell,
    lumina: tuple[float, float],
) -> None:
    inside = _drawing.shrink(region, int(radii_px[0] * 0.8))
    for centre, radius in _drawing.pack(SIZE, radii_px, int(60_000 / radii_px[1] ** 2), rng, gap=1.15):
        if inside[_drawing.pixel(centre, SIZE)]:
            curve = _drawing.outline(centre, radius, rng, wobble=0.08)
            _drawing.add_gland(canvas, curve, cell, rng, float(rng.uniform(*lumina)))


def _add_grade4(canvas: _drawing.Canvas, region: np.ndarray, rng: np.random.Generator) -> None:
    """Fused sheets with many small holes."""
    sheet = _drawing.shrink(region, 3)
    _drawing.add_tissue(canvas, sheet, haematoxylin=0.27, eosin=0.36, rng=rng)
    _drawing.add_nuclei(canvas, _drawing.scatter(sheet, 8.0, rng), _drawing.Cell(radius_px=2.6, dark=1.05), rng)
    for centre in _drawing.scatter(_drawing.shrink(region, 9), 21.0, rng):
        hole = _drawing.fill(SIZE, _drawing.outline(centre, float(rng.uniform(3, 6)), rng))
        _drawing.add_tissue(canvas, hole, haematoxylin=0.03, eosin=0.07, rng=rng)


def _add_grade5(canvas: _drawing.Canvas, region: np.ndarray, rng: np.random.Generator) -> None:
    """Single cells everywhere, no glands."""
    cell = _drawing.Cell(radius_px=2.7, length=1.2, dark=1.2, spread=0.35)
    _drawing.add_nuclei(canvas, _drawing.scatter(region, 9.0, rng), cell, rng)


def _disturb(truth: SemanticMap, rng: np.random.Generator) -> SemanticMap:
    """What a rater draws: shifted borders, now and then the neighbouring grade, and a stray id as published."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    down, right = (5 * _drawing.noise(SIZE, 60.0, rng) for _ in range(2))
    drawn: SemanticMap = cv2.remap(truth, columns + right, rows + down, cv2.INTER_NEAREST)
    if rng.random() < 0.25:
        drawn[drawn == 3] = 4
    if rng.random() < 0.1:
        drawn[drawn == BENIGN] = 6
    return drawn
