"""The page of prepared images: counts, sizes and truth, as they are known from drawn discs."""

import re

import cv2
import numpy as np
import pytest

from histoseg import cli
from histoseg.maps.colours import CLASS_COLOURS, to_rgb
from histoseg.report.look import choose_images, write_look
from histoseg.report.truth import GAP_PX, SHOWN_PX, draw_pair
from histoseg.shards.index import open_index
from histoseg.shards.reader import ShardCache
from histoseg.store.objects import connect
from histoseg.types import IGNORE, Sample
from tests.conftest import PATCH_PX

LAYOUT = f"{PATCH_PX}px"


def disc_sample(size=600, kinds=(1, 2), grey=90):
    """Two discs of radius 20 on one grey, of two classes, the second in the lower right corner."""
    instance_map = np.zeros((size, size), np.int32)
    for number, centre in enumerate([(60, 60), (size - 60, size - 60)], start=1):
        cv2.circle(instance_map, centre, 20, number, cv2.FILLED)
    lookup = np.array([0, *kinds], np.uint8)
    return Sample(
        key="a",
        patient="p",
        image=np.full((size, size, 3), grey, np.uint8),
        semantic_map=lookup[instance_map],
        mpp=0.5,
        instance_map=instance_map,
    )


def decode(jpeg):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def has_colour(picture, kind):
    """Whether some pixel is that class's colour, to within what JPEG changes."""
    return bool((np.abs(picture.astype(int) - to_rgb(CLASS_COLOURS[kind - 1])).max(axis=2) < 40).any())


def test_objects_are_outlined_in_the_colour_of_their_class():
    picture = decode(draw_pair(disc_sample(size=240), "instance"))
    left, right = picture[:, : 2 * 240], picture[:, 2 * 240 + GAP_PX :]
    assert picture.shape == (480, 2 * 480 + GAP_PX, 3)  # A small image is shown twice as large.
    assert np.abs(left.astype(int) - 90).max() < 6
    assert has_colour(right[60:180, 60:180], 1)
    assert has_colour(right[300:420, 300:420], 2)
    assert not has_colour(right[60:180, 60:180], 2)
    assert np.abs(right[120, 120].astype(int) - 90).max() < 12  # The tissue within stays as it is.


def test_of_a_large_image_the_part_with_most_objects_is_shown():
    sample = disc_sample(size=1200)
    sample.semantic_map[900:1190, 900:1190] = 2
    sample.instance_map[900:1190, 900:1190] = 3
    picture = decode(draw_pair(sample, "instance"))
    assert picture.shape == (SHOWN_PX, 2 * SHOWN_PX + GAP_PX, 3)
    assert has_colour(picture, 2)
    assert not has_colour(picture, 1)


def test_classes_of_pixels_are_tinted_and_what_is_not_labelled_is_grey():
    sample = disc_sample(size=500, grey=250)
    sample.semantic_map[:, 300:400] = IGNORE
    picture = decode(draw_pair(sample, "semantic"))[:, 500 + GAP_PX :].astype(int)
    assert np.abs(picture[250, 100] - 250).max() < 8
    expected = 0.7 * 250 + 0.3 * np.array(to_rgb(CLASS_COLOURS[0]))
    assert np.abs(picture[60, 60] - expected).max() < 12
    assert picture[250, 350].max() < 190


def test_images_are_chosen_so_that_each_class_is_seen(prepared):
    index = open_index(prepared, "synthetic", LAYOUT)
    tumour = {}
    for image, counts in zip(index.samples.image, index.samples.class_pixels, strict=True):
        tumour[image] = tumour.get(image, 0) + counts[2]
    assert max(tumour, key=tumour.get) in choose_images(index, 2)  # Tumour is the rarest class there.
    every = choose_images(index, 100)
    assert len(every) == 12
    assert {split: list(every.values()).count(split) for split in ("train", "val", "test")} == {
        split: len({index.samples.image[row] for row in index.rows(split)}) for split in ("train", "val", "test")
    }


def test_the_page_states_counts_and_sizes(prepared, tmp_path):
    index = open_index(prepared, "glas", LAYOUT)
    page = write_look([index], ShardCache(prepared, tmp_path / "cache"), tmp_path, 3).read_text()
    assert "<h1>GlaS, as prepared</h1>" in page
    assert "Drawn by the program: glas." in page
    assert "14 of 8 patients" in page
    assert "objects, from which Cerberus learns glands" in page
    share = index.class_pixels()[1] / index.class_pixels().sum()
    assert re.search(rf'gland</th>.*?{CLASS_COLOURS[0]}.*?<td class="number">{share:.1%}</td>', page, re.DOTALL)
    assert page.count("data:image/jpeg;base64,") == 3
    (diameter,) = re.findall(r"median diameter ([\d.]+) µm", page)
    assert 20 < float(diameter) < 60  # Glands are drawn with radii of 20 to 46 pixels of 0.62 µm, some cut by the edge.


def complain(capsys, *words):
    with pytest.raises(SystemExit):
        cli.main([str(word) for word in words])
    return capsys.readouterr()


def test_the_command_names_what_there_is(prepared, capsys, tmp_path):
    asked = ["--store", prepared.url, "--out", tmp_path / "page", "--cache", tmp_path / "cache", "--images", 1]
    out = complain(capsys, "look", "glas", "synthetic", *asked).out.splitlines()
    assert out == [f"glas ({LAYOUT}): 14 images", f"synthetic ({LAYOUT}): 12 images", f"{tmp_path}/page/index.html"]
    err = complain(capsys, "look", "crag", *asked).err
    assert f"lacks crag; it holds glas ({LAYOUT}), monuseg ({LAYOUT}), synthetic ({LAYOUT})" in err
    err = complain(capsys, "look", "--store", connect(f"file://{tmp_path}/x").url).err
    assert "lacks any source; it holds nothing; see `histoseg prepare --help`" in err
