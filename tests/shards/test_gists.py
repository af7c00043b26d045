"""Near copies of a picture are found whatever their encoding and size, and other tissue is not taken for them."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from histoseg.demo import drawing
from histoseg.demo.write import write_demo_data
from histoseg.errors import DataError
from histoseg.runs.config import Data
from histoseg.shards.gists import SIDE_PX, _encode, find_near
from histoseg.shards.writer import Recipe, write_shards
from histoseg.store.keys import index_key
from histoseg.store.objects import connect


def tissue(seed, size=(300, 360)):
    """Stroma with nuclei of one stain: images that differ in the places of nuclei alone."""
    rng = np.random.default_rng(seed)
    canvas = drawing.draw_stroma(size, rng)
    drawing.add_nuclei(canvas, drawing.scatter(np.ones(size, bool), 16.0, rng), drawing.SPINDLE, rng)
    return drawing.render(canvas, drawing.draw_stain(np.random.default_rng(0)), rng)


def as_jpeg(image, quality=75):
    body = io.BytesIO()
    Image.fromarray(image).save(body, "JPEG", quality=quality)
    return np.array(Image.open(body))


def near(*images):
    gists = np.array([list(base64.b64decode(_encode(image))) for image in images], np.uint8)
    assert gists.shape == (len(images), SIDE_PX**2)
    return list(find_near(gists))


def test_other_encodings_and_sizes_are_near_and_other_tissue_is_not():
    first, *others = (tissue(seed) for seed in range(8))
    copies = [as_jpeg(first), cv2.resize(first, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), first]
    assert near(first, *copies) == [(i, j) for i in range(4) for j in range(i + 1, 4)]
    assert near(first, *others) == []


def test_empty_glass_is_no_copy_of_other_glass():
    glass = [np.random.default_rng(seed).integers(235, 245, (200, 200, 3)).astype(np.uint8) for seed in (0, 1)]
    assert near(*glass) == []


def test_a_picture_in_two_splits_is_refused_before_there_is_an_index(tmp_path):
    """The JPEG of one image, saved as another file, six times: some of the patients are in another split."""
    write_demo_data(tmp_path / "demo", sources=["synthetic"])
    folder = tmp_path / "demo" / "synthetic"
    with Image.open(folder / "patient01_image01.png") as image:
        pixels = np.array(image)
    mask = (folder / "patient01_image01_mask.png").read_bytes()
    for number in range(20, 26):
        Image.fromarray(as_jpeg(pixels, 70 + number)).save(folder / f"patient{number}_image{number}.png")
        (folder / f"patient{number}_image{number}_mask.png").write_bytes(mask)
    store = connect(f"file://{tmp_path / 'store'}")
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(
            DataError, match=r"synthetic: the same picture is in two splits: \w+ \(patient \w+, \w+\) and \w+ "
        ),
    ):
        write_shards("synthetic", tmp_path / "demo", store, Recipe(data=Data(patch_px=96)), pool)
    assert store.size(index_key("synthetic", "96px")) is None
