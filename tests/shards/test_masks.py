"""Masks where numbered objects are expected: a source that has little else is refused, one such image is noted."""

import numpy as np
import pytest
from PIL import Image as PillowImage

from histoseg.errors import DataError
from histoseg.files.instances import IN_PIECES
from histoseg.runs.config import Data
from histoseg.shards.writer import Recipe, write_shards
from histoseg.store.keys import index_key

COUNT = 11


def recipe(**options):
    return Recipe(data=Data(patch_px=96), options=options)


@pytest.fixture
def masks(tmp_path):
    """The folder of a source of gland masks, each with nine glands that all have the number 1."""
    folder = tmp_path / "raw" / "glas"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    mask = np.zeros((120, 120), np.uint8)
    for top in (10, 50, 90):
        for left in (10, 50, 90):
            mask[top : top + 20, left : left + 20] = 1
    rows = ["name,patient ID"]
    for number in range(1, COUNT + 1):
        picture = random.integers(0, 256, (120, 120, 3), np.uint8)
        PillowImage.fromarray(picture).save(folder / f"train_{number}.bmp")
        PillowImage.fromarray(mask).save(folder / f"train_{number}_anno.bmp")
        rows.append(f"train_{number},{number}")
    (folder / "Grade.csv").write_text("\n".join(rows))
    return tmp_path / "raw"


def test_masks_in_nearly_every_image_are_refused(store, pool, masks):
    remedy = r"--option instances=components .* to number the pieces, or --option instances=numbered"
    for _ in range(2):  # The second time from the shards that are there
        with pytest.raises(DataError, match=rf"glas: in {COUNT} of {COUNT} images a number has many .*{remedy}"):
            write_shards("glas", masks, store, recipe(), pool)
    assert store.size(index_key("glas", "96px")) is None


def test_pieces_are_numbered_or_kept_as_an_option_says(store, pool, masks):
    pieces = write_shards("glas", masks, store, recipe(instances="components"), pool)
    assert pieces.samples.num_objects == [9] * COUNT
    kept = write_shards("glas", masks, store, recipe(instances="numbered"), pool)
    assert kept.samples.num_objects == [1] * COUNT
    assert kept.notes == {IN_PIECES: COUNT}


def test_a_few_masks_are_noted(store, pool, masks):
    for number in (1, 2):
        numbered = np.zeros((120, 120), np.uint8)
        numbered[10:30, 10:30] = 1
        PillowImage.fromarray(numbered).save(masks / "glas" / f"train_{number}_anno.bmp")
    assert write_shards("glas", masks, store, recipe(), pool).notes == {IN_PIECES: COUNT - 2}
