"""Shards of made-up images in the sizes that data sets publish, for the experiments' own sources and loaders."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from _tissue import draw_tissue

from histoseg.demo import tissue
from histoseg.demo.mucosa import Mucosa, draw_mucosa
from histoseg.experiments import cerberus, table1
from histoseg.runs import catalog
from histoseg.runs.config import Data
from histoseg.shards.in_memory import put_source
from histoseg.store.objects import Store
from histoseg.structures import TISSUE
from histoseg.types import FOLDS, SPLITS, Image, InstanceMap, Sample, SemanticMap, Split, Task

TILE_PX = 160  # Tiles of one tissue have 150 pixels in Kather 5K, 224 in NCT-CRC-HE; a patch of tissue needs 144.
CELL_PX = 256  # An image is made of drawings, none of which is smaller than 272 pixels.
NUM_DRAWN = 6
# Every third nucleus is annotated, some 1,700 in 1000²: as many as Lizard has, 495,179 in 291 images of about
# 1016 x 917 (Graham et al. 2021). The made-up images have more.
NUCLEI_KEPT = 3
LARGEST_PX = 1000
Drawn = tuple[Image, SemanticMap, InstanceMap]

# A source for each structure of the paper, the first of those that are used if all are prepared.
CERBERUS = tuple(catalog.teaching(name)[0].name for name in ("gland", "lumen", "nuclei", TISSUE))


def put_table1(store: Store, scale: str, side_px: int, num_images: int) -> None:
    """Write the sources of Table 1, with `num_images` square images in each split, each of its own patient."""
    image, semantic_map = draw_tissue(np.random.default_rng(0), side_px)

    def draw(number: int) -> Drawn:  # To draw an image takes long, so that one is moved along.
        moved, classes = (np.roll(pixels, 97 * number, axis=1) for pixels in (image, semantic_map))
        return moved, classes, classes.astype(np.int32)

    for name in table1.SOURCES:
        task = catalog.load_source(name).TASK
        _put(store, task, table1.SCALES[scale].data, dict.fromkeys(SPLITS, num_images), draw)


def put_cerberus(store: Store, scale: str, side_px: int, num_images: int) -> None:
    """Write a source of each structure, with `num_images` square images in each fold; of tissue, two of each class."""
    rng = np.random.default_rng(0)
    drawn = [draw_mucosa(rng, malignant=i % 2 == 1) for i in range(NUM_DRAWN)]
    tiles = [tissue.draw_tissue(name, TILE_PX, rng) for name in tissue.DRAWERS]
    for name in CERBERUS:
        task = catalog.load_source(name).TASK
        is_tissue = task.structure == TISSUE
        draw = partial(_tile, tiles) if is_tissue else partial(_mosaic, drawn, task.structure, side_px)
        counts = dict.fromkeys(FOLDS, 2 * task.num_classes if is_tissue else num_images)
        _put(store, task, cerberus.SCALES[scale].data, counts, draw)


def draw_large(side_px: int) -> Image:
    """An image to predict."""
    image, _ = draw_tissue(np.random.default_rng(0), min(side_px, LARGEST_PX))
    times = -(-side_px // image.shape[0])
    return np.ascontiguousarray(np.tile(image, (times, times, 1))[:side_px, :side_px])


def _put(store: Store, task: Task, data: Data, counts: Mapping[Split, int], draw: Callable[[int], Drawn]) -> None:
    mpp = data.mpp or task.mpp
    splits = {
        split: [_sample(f"{split}{i:03}", task, mpp, draw(i)) for i in range(count)] for split, count in counts.items()
    }
    put_source(store, task, data, splits)


def _sample(key: str, task: Task, mpp: float, drawn: Drawn) -> Sample:
    image, classes, numbers = drawn
    return Sample(
        key=key,
        patient=key,
        image=image,
        semantic_map=classes % task.num_classes,
        mpp=mpp,
        instance_map=numbers if task.kind == "instance" else None,
    )


def _tile(tiles: list[Image], number: int) -> Drawn:
    """A tile of one class."""
    image = tiles[number % len(tiles)]
    return image, np.full(image.shape[:2], number, np.uint8), np.zeros(image.shape[:2], np.int32)


def _mosaic(drawn: list[Mucosa], structure: str, side_px: int, number: int) -> Drawn:
    """An image put together of drawings, with numbers of its own for their objects."""
    rng, size = np.random.default_rng(number), (side_px, side_px)
    image, classes, numbers = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8), np.zeros(size, np.int32)
    for top in range(0, side_px, CELL_PX):
        for left in range(0, side_px, CELL_PX):
            place = np.s_[top : top + CELL_PX, left : left + CELL_PX]
            height, width = numbers[place].shape
            pixels, kinds, objects = (
                part[:height, :width] for part in _parts(drawn[rng.integers(NUM_DRAWN)], structure)
            )
            image[place], classes[place] = pixels, kinds
            numbers[place] = np.where(objects > 0, objects + numbers.max(), 0)
    return image, classes, numbers


def _parts(one: Mucosa, structure: str) -> Drawn:
    objects = {"gland": one.glands, "lumen": one.lumina, "nuclei": one.nuclei}[structure]
    kept = objects.instance_map % (NUCLEI_KEPT if structure == "nuclei" else 1) == 0
    return one.image, np.where(kept, objects.semantic_map, 0).astype(np.uint8), np.where(kept, objects.instance_map, 0)
