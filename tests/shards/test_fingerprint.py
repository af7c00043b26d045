import base64
import json
from itertools import count

import cv2
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from histoseg.demo import drawing
from histoseg.shards.fingerprint import Fingerprint, fingerprint
from histoseg.shards.same_tissue import find_plain, find_same_tissue
from histoseg.sources import consep, glas, monuseg
from tests.beside import real_data

REAL = real_data()
MPP = 0.5
REAL_KEYS = {
    glas: ("testA_1", "testA_5", "testB_1", "testB_6", "train_13", "train_18", "train_22", "train_5"),
    consep: ("test_1", "train_3"),
    monuseg: ("TCGA-21-5784-01Z-00-DX1", "TCGA-69-7764-01A-01-TS1", "TCGA-AR-A1AK-01Z-00-DX1"),
}


def draw(rng, size=(500, 640)):
    """Made-up tissue at MPP; all of it has one stain, so that nothing but its structures tells it from others."""
    canvas = drawing.draw_stroma(size, rng)
    cell = drawing.Cell(radius_px=5.0)
    for centre, radius in drawing.pack(size, (50.0, 90.0), 8, rng):
        drawing.draw_gland(canvas, drawing.outline(centre, radius, rng), cell, rng)
    drawing.add_nuclei(canvas, drawing.scatter(np.ones(size, bool), 30.0, rng), cell, rng)
    stain = np.array([drawing.HAEMATOXYLIN, drawing.EOSIN], np.float32)
    return drawing.render(canvas, stain, rng)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [draw(rng) for _ in range(6)]


def zoom(image, factor):
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def encode(image, quality=80):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def crop(image, share, rng):
    """A part with that share of the sides, at a random place."""
    height, width = (round(share * length) for length in image.shape[:2])
    top, left = (rng.integers(0, whole - part + 1) for whole, part in zip(image.shape, (height, width), strict=False))
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def prints_of(source, images, mpp):
    return {f"{source}/{number}": fingerprint(image, mpp) for number, image in zip(count(), images, strict=False)}


def pairs(found):
    return {(pair.first, pair.second): pair.how for pair in found}


def own(how, n):
    """Each image of source a with the one of the same number of source b."""
    return {(f"a/{number}", f"b/{number}"): how for number in range(n)}


def test_unrelated_images_are_not_linked(images):
    assert find_same_tissue(prints_of("a", images[:3], MPP) | prints_of("b", images[3:], MPP)) == []


def test_another_resolution_and_encoding_is_a_copy(images):
    halves = [encode(zoom(image, 0.5)) for image in images]
    found = find_same_tissue(prints_of("a", images, MPP) | prints_of("b", halves, 2 * MPP))
    assert pairs(found) == own("copy", 6)
    assert all(pair.score > 0.95 for pair in found)


def test_copies_are_found_within_a_source_and_at_a_wrong_resolution(images):
    prints = {"a/one": fingerprint(images[0], MPP), "a/two": fingerprint(zoom(images[0], 0.5), 1.24 * 2 * MPP)}
    assert pairs(find_same_tissue(prints)) == {("a/one", "a/two"): "copy"}


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_part_is_found(images, share):
    rng = np.random.default_rng(1)
    parts = [encode(crop(image, share, rng)) for image in images]
    found = find_same_tissue(prints_of("a", images, MPP) | prints_of("b", parts, MPP))
    assert pairs(found) == own("part", 6)


@pytest.mark.parametrize("error", [0.94, 1.07])
def test_a_part_is_found_though_its_resolution_is_stated_a_little_wrong(images, error):
    rng = np.random.default_rng(2)
    parts = [zoom(crop(image, 0.5, rng), 0.8) for image in images]
    found = find_same_tissue(prints_of("a", images, MPP) | prints_of("b", parts, error * MPP / 0.8))
    assert pairs(found) == own("part", 6)


def test_images_that_overlap_are_found(images):
    left, right = (np.ascontiguousarray(images[0][:, columns]) for columns in (np.s_[:480], np.s_[160:]))
    prints = {"a/left": fingerprint(left, MPP), "b/right": fingerprint(right, MPP)}
    assert pairs(find_same_tissue(prints)) == {("a/left", "b/right"): "part"}


def test_parts_are_not_sought_within_a_source_nor_among_tiles(images):
    part = np.ascontiguousarray(images[0][100:300, 100:300])
    tile, within = (np.ascontiguousarray(part[20:side, 20:side]) for side in (160, 150))
    prints = {"a/whole": fingerprint(images[0], MPP), "a/part": fingerprint(part, MPP)}
    assert find_same_tissue(prints) == []
    tiles = {"b/tile": fingerprint(np.ascontiguousarray(tile), MPP), "c/tile": fingerprint(within[:-20], MPP)}
    assert all(max(print_.height, print_.width) < 32 for print_ in tiles.values())
    assert find_same_tissue(tiles) == []
    assert {("a/whole", name) for name in tiles} <= set(pairs(find_same_tissue(prints | tiles)))


def test_empty_images_are_left_out_and_told(images, caplog):
    rng = np.random.default_rng(3)
    glass = [np.clip(rng.normal(240, 4, (256, 256, 3)), 0, 255).astype(np.uint8) for _ in range(2)]
    glass.append(np.full((300, 300, 3), 242, np.uint8))
    speck = glass[2].copy()
    cv2.circle(speck, (150, 150), 6, (60, 20, 90), -1)
    prints = prints_of("a", [*glass, speck], MPP) | prints_of("b", [*glass, speck, images[0]], MPP)
    assert find_plain(prints) == [f"{source}/{number}" for source in "ab" for number in range(4)]
    with caplog.at_level("INFO"):
        assert find_same_tissue(prints) == []
    assert "8 of 9 images show too little" in caplog.text


def test_the_order_of_images_changes_nothing(images):
    rng = np.random.default_rng(4)
    prints = prints_of("a", images, MPP) | prints_of("b", [crop(image, 0.4, rng) for image in images], MPP)
    assert find_same_tissue(dict(reversed(prints.items()))) == find_same_tissue(prints)
    assert find_same_tissue({}) == []


def test_the_blocks_of_a_search_change_nothing(images, monkeypatch):
    rng = np.random.default_rng(5)
    prints = prints_of("a", images[:3], MPP) | prints_of("b", [crop(image, 0.4, rng) for image in images[:3]], MPP)
    prints |= prints_of("c", [zoom(image, 0.5) for image in images[:3]], 2 * MPP)
    whole = find_same_tissue(prints)
    monkeypatch.setattr("histoseg.shards.same_tissue.BLOCK", 2**15)
    assert [(p.first, p.second, p.how) for p in find_same_tissue(prints)] == [(p.first, p.second, p.how) for p in whole]
    assert [p.score for p in find_same_tissue(prints)] == pytest.approx([p.score for p in whole])


def test_a_fingerprint_survives_json(images):
    made = fingerprint(images[0], MPP)
    assert (made.height, made.width) == (62, 80)  # 500 x 640 pixels of 0.5 µm in steps of 4 µm: 62.5 and 80
    assert Fingerprint.model_validate_json(made.model_dump_json()) == made
    plain = json.loads(made.model_dump_json())
    assert base64.b64decode(plain["pixels"]) == made.pixels  # As stores of earlier versions have them.
    with pytest.raises(ValueError, match="4960 pixels for a size of 61 x 80"):
        Fingerprint.model_validate(plain | {"height": 61})


def test_what_is_no_image_is_refused():
    with pytest.raises(TypeCheckError):
        fingerprint(np.zeros((64, 64), np.uint8), MPP)
    with pytest.raises(TypeCheckError):
        fingerprint(np.zeros((64, 64, 3), np.float32), MPP)
    with pytest.raises(ValueError, match=r"at 0\.0 microns per pixel"):
        fingerprint(np.zeros((64, 64, 3), np.uint8), 0.0)
    with pytest.raises(ValueError, match=r"of \(0, 64\) pixels"):
        fingerprint(np.zeros((0, 64, 3), np.uint8), MPP)


@pytest.mark.skipif(not REAL.is_dir(), reason="set HISTOSEG_REAL_DATA to a folder with the raw data sets")
def test_real_tissue_is_found_by_its_parts_and_copies_and_by_nothing_else():
    rng = np.random.default_rng(6)
    samples = []
    for module, keys in REAL_KEYS.items():
        entries = {entry.key: entry for entry in module.entries(REAL)}
        samples += [module.read(entries[key]) for key in keys]
    prints = {f"a/{i}": fingerprint(sample.image, sample.mpp) for i, sample in enumerate(samples)}
    copies = {f"b/{i}": fingerprint(encode(zoom(s.image, 0.5)), 2 * s.mpp) for i, s in enumerate(samples)}
    assert find_same_tissue(prints) == []
    assert pairs(find_same_tissue(prints | copies)) == own("copy", len(samples))
    for share in (0.3, 0.5, 0.7):
        parts = {f"b/{i}": fingerprint(encode(crop(s.image, share, rng)), s.mpp) for i, s in enumerate(samples)}
        assert pairs(find_same_tissue(prints | parts)) == own("part", len(samples))
