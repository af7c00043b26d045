"""Semantic classes of whole images: confusions, scores and pictures of images whose every pixel is known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from histoseg.errors import ConfigError
from histoseg.methods.transfer import Transfer
from histoseg.metrics.iou import bootstrap_interval
from histoseg.models.unet import UNetSpec
from histoseg.models.unet.network import UNet
from histoseg.runs.config import Optim, Run, Select, Stage
from histoseg.scoring._pictures import Pictures
from histoseg.scoring.pixels import Pixels, summarise
from histoseg.seeds import stream
from histoseg.shards.in_memory import put_source
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import connect
from histoseg.training.process import Process
from histoseg.types import IGNORE, Place
from tests.scoring.ranks import on_two_ranks
from tests.small_store import SEMANTIC_DATA, make_sample, make_task

CLASSES = ("background", "gland", "stroma")
OTHER = ("background", "tumour")

# Two rows of four pixels; below them what is predicted. Confusion, rows true: [1 1 0], [0 3 0], [1 0 1].
TRUTH_A = [[0, 0, 1, 1], [2, 2, IGNORE, 1]]
SEEN_A = [[0, 1, 1, 1], [2, 0, 0, 1]]
CONFUSION_A = ((1, 1, 0), (0, 3, 0), (1, 0, 1))
# Three rows of two: [1 0 0], [1 2 0], [0 2 0].
TRUTH_B = [[0, 1], [1, 1], [2, 2]]
SEEN_B = [[0, 0], [1, 1], [1, 1]]
CONFUSION_B = ((1, 0, 0), (1, 2, 0), (0, 2, 0))
# Together [2 1 0], [1 5 0], [1 2 1]. IoU of a class is its diagonal by row plus column less the diagonal:
# 2 / (3 + 4 - 2), 5 / (6 + 8 - 5), 1 / (4 + 1 - 1).
IOU = {"background": 2 / 5, "gland": 5 / 9, "stroma": 1 / 4}
MIOU = (2 / 5 + 5 / 9 + 1 / 4) / 3
# The same of A alone: 1 / 3, 3 / 4, 1 / 2; of B alone: 1 / 2, 2 / 5, 0 / 2.
PRESENT_A, PRESENT_B = (1 / 3 + 3 / 4 + 1 / 2) / 3, (1 / 2 + 2 / 5 + 0) / 3
# All 13 pixels as gland, the most frequent class of the train split but not of the test split: 0, 6 / 13, 0.
MAJORITY = 6 / 13 / 3


class Reader(UNet):
    """A network that predicts the red of each pixel as its class."""

    def forward(self, images, task):
        classes = torch.arange(self.num_classes(task), device=images.device)[None, :, None, None]
        return 9.0 * (images[..., 0][:, None] == classes).float()


def picture(red):
    """An image that `Reader` predicts these classes for; its green is 200, its blue the number of the pixel."""
    image = np.zeros((*np.shape(red), 3), np.uint8)
    image[..., 0], image[..., 1] = red, 200
    image[..., 2] = np.arange(image[..., 2].size).reshape(image.shape[:2])
    return image


def sample(key, truth, seen):
    return make_sample(key, truth, image=picture(seen))


@pytest.fixture
def store(tmp_path):
    """`labset` has two images to test and one in every other split; `other` has three, of two classes."""
    store = connect(f"file://{tmp_path / 'store'}")
    splits = {
        "train": [sample("t", [[1, 1, 0]], [[1, 1, 0]])],
        "val": [sample("v", TRUTH_B, SEEN_B)],
        "test": [sample("a", TRUTH_A, SEEN_A), sample("b", TRUTH_B, SEEN_B)],
    }
    put_source(store, make_task("labset", CLASSES), SEMANTIC_DATA, splits)
    others = [sample("c", [[0, 1]], [[0, 0]]), sample("d", [[1, 1]], [[1, 0]]), sample("e", [[0, 0]], [[1, 1]])]
    put_source(store, make_task("other", OTHER), SEMANTIC_DATA, {"test": others})
    return store


@pytest.fixture
def dataset(store, tmp_path):
    return MetaDataset.open(store, ["labset", "other"], SEMANTIC_DATA.layout, tmp_path / "cache")


@pytest.fixture
def network():
    return Reader(4, "group", {"labset": 3, "other": 2}).eval()


@pytest.fixture
def run():
    stage = Stage(
        label="train",
        method=Transfer(),
        select=Select(sources=("labset",), splits=("train",)),
        optim=Optim(steps=1),
    )
    return Run(
        experiment="lab",
        scale="tiny",
        row="labset",
        seed=3,
        data=SEMANTIC_DATA,
        network=UNetSpec(width=4),
        stages=(stage,),
        score=Select(sources=("labset",), splits=("test",)),
        evaluator=Pixels(window_px=16, bootstrap=50),
    )


@pytest.fixture
def three_images(run):
    return replace(run, score=Select(sources=("other",), splits=("test",)))


@pytest.fixture
def score(network, run, dataset, store):
    """The scores of the run, or of one that is given, on some process."""

    def score(run=run, process=None):
        process = process or Process()
        pictures = Pictures(store=store, folder="panels", leads=process.leads)
        return run.evaluator.score(network, run, dataset, process, pictures)

    return score


def test_scores_are_those_of_the_test_images_together(score):
    found = score()
    assert set(found.scores) == {
        *("miou_pooled", "miou_reference", "miou_present", "majority_miou_pooled"),
        *("interval_low", "interval_high"),
    }
    assert found.scores["miou_pooled"] == pytest.approx(MIOU)
    # Every class is in the truth of both images, so the reference counts no class as absent.
    assert found.scores["miou_present"] == pytest.approx((PRESENT_A + PRESENT_B) / 2)
    assert found.scores["miou_reference"] == pytest.approx((PRESENT_A + PRESENT_B) / 2)
    assert found.scores["majority_miou_pooled"] == pytest.approx(MAJORITY)
    assert found.per_class == {"iou": {name: pytest.approx(value) for name, value in IOU.items()}}
    assert found.sizes == {"images": 2, "pixels": 7 + 6}
    # MIOU and MAJORITY, rounded by hand.
    assert found.headline == "mIoU 0.402; the most frequent class 0.154"


def test_each_image_is_kept_with_its_confusion(score):
    first, second = score().images
    assert (first.split, first.source, first.key, first.patient) == ("test", "labset", "a", "pa")
    assert (second.split, second.source, second.key, second.patient) == ("test", "labset", "b", "pb")
    assert (first.confusion, second.confusion) == (CONFUSION_A, CONFUSION_B)
    assert (first.objects, first.otsu, first.by_class, first.structure) == (None, None, (), "")


def test_the_interval_is_drawn_by_the_runs_seed_and_count(score, run):
    confusions = np.array([CONFUSION_A, CONFUSION_B])
    for seed, draws in ((3, 50), (4, 50), (3, 7)):
        found = score(replace(run, seed=seed, evaluator=Pixels(window_px=16, bootstrap=draws))).scores
        expected = bootstrap_interval(confusions, draws, stream(seed))  # By the metric, which has tests itself.
        assert (found["interval_low"], found["interval_high"]) == expected
    none = score(replace(run, evaluator=Pixels(window_px=16, bootstrap=0))).scores
    assert np.isnan([none["interval_low"], none["interval_high"]]).all()


def test_equal_images_have_an_interval_without_width():
    """Any draw of images with one confusion has the same score, here (1 / 2 + 1 / 2) / 2."""
    found = summarise(np.array([[[1, 1], [0, 1]]] * 4), 0, 30, 0)
    assert (found["interval_low"], found["interval_high"]) == pytest.approx((1 / 2, 1 / 2))


def test_what_no_image_has_scores_nan():
    """Class 1 is neither in truth nor prediction; nothing is in the second."""
    found = summarise(np.array([[[3, 0], [0, 0]]]), 0, 0, 0)
    assert found["miou_pooled"] == found["miou_present"] == 1.0
    assert np.isnan(summarise(np.zeros((1, 2, 2), np.int64), 0, 0, 0)["miou_pooled"])


def test_a_network_is_validated_by_its_pooled_score(network, run, dataset):
    select = Select(sources=("labset",), splits=("val",))
    # The val image is B: 1 / 2, 2 / 5 and 0 / 2.
    assert Pixels(window_px=16).validate(network, run, dataset, select, Process()) == pytest.approx(PRESENT_B)
    both = replace(select, splits=("test",))
    assert Pixels(window_px=16).validate(network, run, dataset, both, Process()) == pytest.approx(MIOU)


@pytest.mark.parametrize(
    "select",
    [
        Select(sources=("labset", "other"), splits=("test",)),
        Select(sources=("labset",), splits=("val", "test")),
        Select(sources=("labset",)),
    ],
)
def test_one_source_and_one_split_are_scored(network, run, dataset, select):
    with pytest.raises(ConfigError, match=r"^score = .*one source and one split"):
        Pixels(window_px=16).validate(network, run, dataset, select, Process())


@pytest.fixture
def asked(monkeypatch):
    """What is asked of the network, and what it is asked about: (head, windows) and the size of the image."""
    predict, asked = UNetSpec.predict, []

    def noted(spec, network, image, windows, *, heads):
        asked.append((*heads, windows, image.shape[:2]))
        return predict(spec, network, image, windows, heads=heads)

    monkeypatch.setattr(UNetSpec, "predict", noted)
    return asked


def test_windows_are_those_of_the_evaluator(score, run, asked):
    score(replace(run, evaluator=Pixels(window_px=32, overlap=0.5, bootstrap=0)))
    windows = Pixels(window_px=32, overlap=0.5, bootstrap=0)
    images = [("labset", windows, (2, 4)), ("labset", windows, (3, 2))]
    assert asked == images * 2  # To count, and for the pictures


def read_png(store, key):
    return cv2.imdecode(np.frombuffer(store.get(key), np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]


DARK, ORANGE, BLUE, GREY = (22, 25, 29), (230, 159, 0), (86, 180, 233), (138, 143, 150)  # #16191d and so on


def test_pictures_show_image_truth_and_prediction(score, store):
    first, second = score().panels
    assert (first.source, first.key, first.structure) == ("labset", "a", "")
    assert (second.source, second.key) == ("labset", "b")
    assert (first.score, second.score) == pytest.approx((PRESENT_A, PRESENT_B))
    colours = np.array([DARK, ORANGE, BLUE, *[GREY] * 253], np.uint8)
    np.testing.assert_array_equal(read_png(store, first.image), picture(SEEN_A))
    np.testing.assert_array_equal(read_png(store, first.truth), colours[np.array(TRUTH_A)])
    np.testing.assert_array_equal(read_png(store, first.prediction), colours[np.array(SEEN_A)])
    np.testing.assert_array_equal(read_png(store, second.prediction), colours[np.array(SEEN_B)])


def test_the_legend_names_the_colours(score):
    first, second = score().panels
    named = {"background": "#16191d", "gland": "#E69F00", "stroma": "#56B4E9"}
    assert first.legend == named | {"not annotated": "#8a8f96"}
    assert second.legend == named  # Every pixel of its truth has a class.


def test_two_images_are_shown_at_most(score, three_images):
    found = score(three_images)
    assert [panel.key for panel in found.panels] == ["c", "d"]
    assert [image.key for image in found.images] == ["c", "d", "e"]


def test_two_ranks_have_the_scores_of_one(score, three_images, monkeypatch):
    alone = score(three_images)
    leader, other = on_two_ranks(monkeypatch, lambda process: score(three_images, process))
    assert [image.confusion for image in alone.images] == [((1, 0), (1, 0)), ((0, 0), (1, 1)), ((0, 2), (0, 0))]
    assert plain(leader) == plain(other) == plain(alone)
    assert (leader.panels, other.panels) == (alone.panels, ())  # One rank draws the pictures.


def plain(scores):
    """All but the pictures, in which an undefined score equals itself."""
    return str(replace(scores, panels=()))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_reads_its_share_of_the_images_when_it_comes_to_them(network, run, dataset, monkeypatch, asked, rank):
    whole_image, happened = MetaDataset.whole_image, []

    def read(self, source, rows):
        sample = whole_image(self, source, rows)
        happened.append((sample.key, len(asked)))
        return sample

    monkeypatch.setattr(MetaDataset, "whole_image", read)
    process = Process(place=Place(rank=rank, world_size=2))
    Pixels(window_px=16).validate(network, run, dataset, Select(sources=("other",), splits=("test",)), process)
    own = (["c", "e"], ["d"])[rank]
    assert happened == [(key, number) for number, key in enumerate(own)]  # One is predicted before the next is read.


@pytest.mark.parametrize(
    ("field", "value"),
    [("window_px", 0), ("window_px", 8), ("window_px", 40), ("overlap", -0.01), ("overlap", 1.0), ("bootstrap", -1)],
)
def test_what_cannot_be_is_refused_by_its_path(field, value):
    with pytest.raises(ConfigError, match=rf"{field} = {value}: must be "):
        Pixels(**{field: value})


def test_the_smallest_values_are_taken():
    assert Pixels(window_px=16, overlap=0.0, bootstrap=0).window_px == 16


def test_defaults_that_results_depend_on():
    """MetaHistoSeg, Sec. 3.1, has patches of 768; the paper gives neither overlap nor interval."""
    assert (Pixels().window_px, Pixels().overlap, Pixels().bootstrap) == (768, 0.25, 1000)
