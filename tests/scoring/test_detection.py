"""Boxes of whole images: FROC by images without objects, pictures, and ranks that share the images."""

import math

import cv2
import numpy as np
import pytest

from histoseg.errors import ConfigError
from histoseg.models.prediction import Detections
from histoseg.models.retinanet import RetinaNetSpec
from histoseg.scoring._pictures import Pictures
from histoseg.scoring.detection import DetectedBoxes, Seen, boxed, shown_threshold, summarise
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import connect
from histoseg.training.process import Process
from histoseg.types import Boxes
from tests.methods.test_detection import DATA, RUN, TASK, put
from tests.scoring.ranks import on_two_ranks


def seen(num_true, *found):
    """Detections as (score, IoU)."""
    numbers = np.array(found, np.float64).reshape(-1, 2)
    return Seen(num_true=num_true, scores=numbers[:, 0], ious=numbers[:, 1])


def test_only_images_without_objects_say_what_is_wrong():
    """Two of them have 3 wrong boxes, so one may be exceeded by two: above 0.3, 0.9 and 0.5 are right, of 4."""
    images = [
        seen(3, (0.9, 0.8), (0.7, 0), (0.5, 0.6), (0.2, 0.4)),
        seen(1),
        seen(0, (0.8, 0), (0.4, 0), (0.3, 0)),
        seen(0),
    ]
    found = summarise(images)
    assert [found[f"recall_at_{level}"] for level in (1, 2, 32)] == [0.5, 0.75, 0.75]
    assert found["froc"] == pytest.approx((0.5 + 5 * 0.75) / 6)
    assert shown_threshold(images) == 0.3
    # By score: right at 0.9 (1 of 1), wrong at 0.8 and 0.7, right at 0.5 (2 of 4), at 0.2 the third (3 of 7).
    assert found["ap"] == pytest.approx((1 / 1 + 2 / 4 + 3 / 7) / 4)


def test_without_such_images_those_with_objects_do():
    """One image has wrong boxes at 0.7 and 0.3: one may be exceeded by one, which leaves what is above 0.3."""
    found = summarise([seen(2, (0.9, 0.8), (0.7, 0), (0.5, 0.6), (0.3, 0), (0.2, 0.4))])
    assert (found["recall_at_1"], found["recall_at_2"]) == (1.0, 1.5)


def test_without_any_true_box_scores_are_undefined():
    found = summarise([seen(0, (0.5, 0))])
    assert all(math.isnan(value) for value in found.values())


@pytest.fixture
def dataset(tmp_path):
    url = f"file://{tmp_path / 'store'}"
    put(url)
    return MetaDataset.open(connect(url), [TASK.name], DATA.layout, tmp_path / "cache")


class Whites(RetinaNetSpec):
    """Finds the truth as it is drawn (white squares), the first of it twice."""

    def detect(self, network, image, windows):
        _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] == 250).astype(np.uint8))
        corners = [[x, y, x + width, y + height] for x, y, width, height, _ in stats[1:].tolist()]
        corners = np.array([*corners, *corners[:1]], np.float32).reshape(-1, 4)
        scores = np.linspace(0.9, 0.5, len(corners)).astype(np.float32)
        return Detections(corners=corners, classes=np.ones(len(corners), np.uint8), scores=scores)


def scored(dataset, process, pictures):
    from dataclasses import replace

    run = replace(RUN, network=Whites(encoder="resnet18", width=4))
    return DetectedBoxes(window_px=64, margin_px=16).score(None, run, dataset, process, pictures)


def test_images_are_scored_and_shown(dataset, tmp_path):
    store = connect(f"file://{tmp_path / 'pictures'}")
    found = scored(dataset, Process(), Pictures(store=store, folder="panels", leads=True))
    assert found.sizes == {"images": 4, "images_without_objects": 2, "objects": 5}
    assert found.scores["froc"] == found.scores["recall_at_1"]  # In images without objects nothing is found.
    assert 0.4 <= found.scores["froc"] <= 1  # Squares that overlap are one white piece.
    by_key = {image.key: image.objects for image in found.images}
    assert {key: counts.tp + counts.fn for key, counts in by_key.items()} == {"t0": 2, "t1": 0, "t2": 3, "t3": 0}
    assert by_key["t1"].fp == 0
    assert [panel.key for panel in found.panels] == ["t0", "t2"]
    assert all(store.size(panel.prediction) for panel in found.panels)
    assert found.headline.startswith("FROC ")


def test_two_ranks_score_as_one(dataset, tmp_path, monkeypatch):
    pictures = Pictures(store=connect(f"file://{tmp_path / 'p'}"), folder="panels", leads=False)
    whole = scored(dataset, Process(), pictures)
    ranks = on_two_ranks(monkeypatch, lambda process: scored(dataset, process, pictures))
    for part in ranks:
        assert part.scores == whole.scores
        assert part.images == whole.images


def test_boxes_are_drawn_within_their_own_border():
    """The outer pixels of the box from 4 to 12 change, nothing outside of it, nor its middle."""
    image = np.zeros((20, 30, 3), np.uint8)
    drawn = boxed(image, Boxes(corners=np.array([[4, 6, 12, 16]], np.float32), classes=np.ones(1, np.uint8))).any(
        axis=2
    )
    expected = np.zeros((20, 30), bool)
    expected[6:16, 4:12] = True
    expected[7:15, 5:11] = False
    np.testing.assert_array_equal(drawn, expected)
    assert not image.any()


def test_a_network_without_boxes_and_nonsense_are_refused(dataset, tiny_run):
    with pytest.raises(ConfigError, match="'unet' finds no boxes"):
        DetectedBoxes().validate(None, tiny_run, dataset, RUN.score, Process())
    with pytest.raises(ConfigError, match="min_iou"):
        DetectedBoxes(min_iou=0.0)
