"""Sums over the scores of images, and the settings of the evaluator."""

import numpy as np
import pytest

from histoseg.errors import ConfigError
from histoseg.records.schema import ScoredImage
from histoseg.scoring.objects import Objects, summarise, summarise_tissue
from tests.scoring.known_objects import counts


def scored(structure, split, objects, confusion=((1, 0), (0, 1)), by_class=()):
    none = counts(0, 0, 0, 0.0)
    return ScoredImage(
        split=split,
        structure=structure,
        source="s",
        key="k",
        patient="p",
        objects=objects,
        confusion=confusion,
        otsu=none,
        by_class=by_class,
    )


def test_images_are_summarised_by_split_and_structure():
    images = [
        scored("lumen", "fold3", counts(1, 0, 0, 0.8)),
        scored("lumen", "fold2", counts(0, 1, 2, 0.0), confusion=((5, 3), (1, 0))),
        scored("gland", "fold3", counts(0, 0, 0, 0.0)),
    ]
    scores, sizes = summarise(images, {"fold3": "test", "fold2": "second", "external": "external"})
    assert scores["test.lumen.pq"] == scores["test.lumen.sq_pooled"] == 0.8
    assert (scores["second.lumen.pq"], scores["second.lumen.dice_pooled"]) == (0.0, 0.0)
    assert np.isnan([scores["test.gland.pq"], scores["test.lumen.otsu_pq"]]).all()
    assert sizes == {
        "test.lumen.images": 1,
        "test.lumen.objects": 1,
        "test.gland.images": 1,
        "test.gland.objects": 0,
        "second.lumen.images": 1,
        "second.lumen.objects": 2,
    }


def test_an_image_without_counts_adds_nothing():
    scores, sizes = summarise([scored("gland", "fold3", None)], {"fold3": "test"})
    assert np.isnan(scores["test.gland.pq"])
    assert sizes == {"test.gland.images": 1, "test.gland.objects": 0}


def test_classes_of_tissue_are_named_in_order():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    scores, by_class = summarise_tissue(np.array([0, 1]), probabilities, ("a", "b"))
    assert scores == {"map": 1.0, "mf1": 1.0}
    assert by_class == {"ap": {"a": 1.0, "b": 1.0}, "f1": {"a": 1.0, "b": 1.0}}


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"window_px": 304}, "window_px"),  # Twice the margin, so nothing is left
        ({"window_px": 1030}, "window_px"),
        ({"margin_px": -8}, "margin_px"),
        ({"margin_px": 12}, "margin_px"),
    ],
)
def test_windows_that_cannot_be_are_refused(values, path):
    with pytest.raises(ConfigError, match=rf"{path} = "):
        Objects(**values)


def test_defaults_that_results_depend_on():
    """The margin of the published code, and the window of docs/protocols-cerberus.md, which gives the same result."""
    assert (Objects().window_px, Objects().margin_px) == (1024, 152)
