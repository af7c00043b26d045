"""Real tissue composed as on slides: mostly without a nucleus, and in each image one patient's nuclei.

    histoseg prepare monuseg consep --raw DATA --store file:///real --experiment annotation_loop --scale real-cpu
    python benchmarks/annotation/composed_tissue.py --store file:///real --out composed
    make submit EXP=annotation_loop DATA=composed SEEDS=3

Pixels and labels are real; only their places are not. MoNuSeg's images are patches that were chosen for their nuclei,
so nearly every region of them has something to annotate; of a slide, few have.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from histoseg.demo.files import write_image
from histoseg.experiments.annotation_loop import DATA
from histoseg.maps.objects import renumber
from histoseg.shards.reader import MetaDataset
from histoseg.sources.synthetic_nuclei import FOLDER, LABEL
from histoseg.store.objects import connect
from histoseg.types import Image, InstanceMap

SIDE_PX, BLOCK_PX, SQUARE_PX = 384, 64, 160
STEP_PX = 32  # From one block without a nucleus to the next


def main() -> None:
    """Write an image of each patient of MoNuSeg, with its labels, as the source `synthetic_nuclei` reads them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="where consep and monuseg are prepared")
    parser.add_argument("--out", required=True, type=Path, help="a new folder")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as cache:
        dataset = MetaDataset.open(connect(arguments.store), ("consep", "monuseg"), DATA.layout, Path(cache))
        blocks = [block for pair in pairs(dataset, "consep") for block in without_nuclei(*pair)]
        print(f"{len(blocks)} blocks without a nucleus")
        for number, pair in enumerate(pairs(dataset, "monuseg"), start=1):
            image, instances = compose(*pair, blocks, rng)
            name = arguments.out / FOLDER / f"patient{number:02}"
            write_image(name.with_name(f"{name.name}.png"), image)
            write_image(name.with_name(f"{name.name}{LABEL}.png"), instances)


def pairs(dataset: MetaDataset, source: str) -> Iterator[tuple[Image, InstanceMap]]:
    """The images of a source and their nuclei, by name."""
    names = dataset.sources[source].samples.image
    for name in sorted(set(names)):
        sample = dataset.whole_image(source, [row for row, other in enumerate(names) if other == name])
        if sample.instance_map is not None:
            yield sample.image, sample.instance_map


def without_nuclei(image: Image, nuclei: InstanceMap) -> list[Image]:
    """The blocks of an image without a nucleus: glass, mucus, muscle, ink."""
    height, width = nuclei.shape
    places = [
        (slice(top, top + BLOCK_PX), slice(left, left + BLOCK_PX))
        for top in range(0, height - BLOCK_PX + 1, STEP_PX)
        for left in range(0, width - BLOCK_PX + 1, STEP_PX)
    ]
    return [image[place] for place in places if not nuclei[place].any()]


def compose(
    image: Image, nuclei: InstanceMap, blocks: list[Image], rng: np.random.Generator
) -> tuple[Image, np.ndarray]:
    """Blocks side by side, each turned and mirrored at random, over them a square of a patient; and its nuclei."""
    made = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    instances = np.zeros((SIDE_PX, SIDE_PX), np.int32)
    for top in range(0, SIDE_PX, BLOCK_PX):
        for left in range(0, SIDE_PX, BLOCK_PX):
            block = np.rot90(blocks[rng.integers(len(blocks))], int(rng.integers(4)))
            made[top : top + BLOCK_PX, left : left + BLOCK_PX] = block[:, ::-1] if rng.integers(2) else block
    height, width = nuclei.shape
    there = [int(rng.integers(side - SQUARE_PX)) for side in (height, width)]
    here = rng.integers(0, SIDE_PX - SQUARE_PX, 2).tolist()
    source, place = (tuple(slice(start, start + SQUARE_PX) for start in corner) for corner in (there, here))
    made[place], instances[place] = image[source], nuclei[source]
    return made, renumber(instances).astype(np.uint16)


if __name__ == "__main__":
    main()
