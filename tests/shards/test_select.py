"""Which stored samples a selection has: whole images of some splits, drawn by the seed where only some are wanted."""

import numpy as np
import pytest

from histoseg.runs.config import Select

SOURCE = "monuseg"  # Its images are stored as several tiles each.


@pytest.fixture
def index(dataset):
    return dataset.sources[SOURCE]


def chosen(dataset, shots, seed=0, splits=("train",)):
    return dataset.select(Select(sources=(SOURCE,), splits=splits, shots=shots), seed).training_rows(SOURCE)


@pytest.mark.parametrize("shots", [1, 2, 5])
def test_shots_are_whole_images_of_the_split(dataset, index, shots):
    images, train = np.array(index.samples.image), index.rows("train")
    rows = chosen(dataset, shots)
    names = np.unique(images[rows])
    assert len(names) == shots < len(np.unique(images[train]))
    tiles = [row for row in train if images[row] in names]
    assert rows.tolist() == tiles
    assert len(tiles) > shots


@pytest.mark.parametrize("shots", [0, 10_000])
def test_no_limit_or_one_above_all_images_is_the_whole_split(dataset, index, shots):
    assert chosen(dataset, shots).tolist() == index.rows("train").tolist()


def test_shots_are_drawn_by_the_seed_and_reach_every_image(dataset, index):
    drawn = [chosen(dataset, 2, seed).tolist() for seed in range(40)]
    assert drawn[0] == chosen(dataset, 2).tolist()
    # Of n images, one is missed by 40 seeds once in (1 - 2/n) ** -40 times; the seeds are fixed.
    assert set().union(*drawn) == set(index.rows("train").tolist())


def test_splits_are_taken_together_and_none_means_all(dataset, index):
    both = chosen(dataset, 0, splits=("train", "val")).tolist()
    assert sorted(both) == sorted([*index.rows("train").tolist(), *index.rows("val").tolist()])
    assert chosen(dataset, 0, splits=()).tolist() == index.rows().tolist()


def test_sources_that_are_not_selected_are_left_out(dataset):
    part = dataset.select(Select(sources=("glas", SOURCE), splits=("val",)), 0)
    assert list(part.sources) == ["glas", SOURCE]
    for source, one in part.sources.items():
        assert part.training_rows(source).tolist() == one.rows("val").tolist()
