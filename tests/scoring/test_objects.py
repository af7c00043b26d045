"""Objects and tissue of whole images: counts and scores of a few predicted objects, worked by hand."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from histoseg.errors import ConfigError, DataError
from histoseg.methods.multitask import MultiTask
from histoseg.methods.subtyping import Subtyping
from histoseg.models.spec import Heads
from histoseg.runs.config import Optim, Run, Select, Stage
from histoseg.scoring import _images, objects
from histoseg.scoring._images import own_share
from histoseg.scoring._pictures import Pictures
from histoseg.scoring.objects import Objects, typed_classes
from histoseg.shards.in_memory import put_source
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import connect
from histoseg.training.process import Process
from histoseg.types import IGNORE, Place
from tests.scoring.known_objects import (
    CELLS_A,
    CELLS_B,
    DATA,
    GLAND_A,
    GLAND_B,
    GLAND_EXTERNAL,
    NETWORK,
    SEEN,
    SOURCES,
    TISSUES,
    TYPES_A,
    TYPES_B,
    Known,
    OnlyObjects,
    counts,
    image_of,
    sample,
    tile,
)
from tests.scoring.ranks import on_two_ranks
from tests.small_store import make_sample, make_task


@pytest.fixture
def store(tmp_path):
    store = connect(f"file://{tmp_path / 'store'}")
    glands = {
        "fold1": [sample("g0", 20, GLAND_B)],
        "fold3": [sample("ga", 10, GLAND_A), sample("gb", 20, GLAND_B)],
        "external": [sample("gx", 30, GLAND_EXTERNAL)],
    }
    cells = {"fold3": [sample("ca", 40, CELLS_A, TYPES_A), sample("cb", 50, CELLS_B, TYPES_B)]}
    tissue = {
        "fold2": [tile(f"many{i}", 1, 0) for i in range(33)],
        "fold3": [tile("t1", 1, 0), tile("t2", 2, 1), tile("t3", 3, 1), tile("t4", 4, 0)],
        "external": [tile("t5", 5, 2)],
    }
    put_source(store, make_task("glands", ("background", "gland"), "instance", "gland"), DATA, glands)
    put_source(store, make_task("cells", ("background", "a", "b"), "instance", "nuclei"), DATA, cells)
    unnamed = {"fold3": [sample("ua", 60, GLAND_EXTERNAL)]}
    put_source(store, make_task("unnamed", ("background", "nucleus"), "instance", "nuclei"), DATA, unnamed)
    put_source(store, make_task("tissue", TISSUES, "patch", "tissue"), DATA, tissue)
    put_source(store, make_task("plain", ("background", "x")), DATA, {"fold3": [make_sample("p", [[0, 1]])]})
    faulty = {"fold3": [make_sample("f", [[0, 1]])]}
    put_source(store, make_task("faulty", ("background", "gland"), structure="gland"), DATA, faulty)
    return store


@pytest.fixture
def dataset(store, tmp_path):
    return MetaDataset.open(store, [*SOURCES, "plain", "faulty"], DATA.layout, tmp_path / "cache")


@pytest.fixture(autouse=True)
def otsu_threshold(monkeypatch):
    """Otsu's threshold finds what SEEN says, at the resolution of the run."""

    def found(image, structure, mpp=0.0):
        assert mpp == 0.5
        return np.array(SEEN[int(image[0, 0, 0])][2], np.int32)

    monkeypatch.setattr(objects, "otsu_objects", found)


@pytest.fixture
def run():
    learn = Stage(
        label="train",
        method=MultiTask(),
        select=Select(sources=SOURCES, splits=("fold1",)),
        optim=Optim(steps=1),
    )
    subtype = Stage(
        label="subtype",
        method=Subtyping(),
        select=Select(sources=("cells",), splits=("fold1",)),
        optim=Optim(steps=1),
    )
    return Run(
        experiment="lab",
        scale="tiny",
        row="all",
        division="fold1 to fold3",
        data=DATA,
        network=Known(),
        stages=(learn, subtype),
        score=Select(sources=SOURCES, splits=("fold3", "external")),
        evaluator=Objects(window_px=64, margin_px=16),
    )


@pytest.fixture
def score(dataset, store, run):
    """The scores of the run, or of one that is given, on some process."""

    def score(run=run, process=None):
        process = process or Process()
        pictures = Pictures(store=store, folder="panels", leads=process.leads)
        return run.evaluator.score(NETWORK, run, dataset, process, pictures)

    return score


@pytest.fixture
def validate(dataset, run):
    """The validation score of some sources and splits."""

    def validate(sources, splits=("fold3",), process=None):
        return run.evaluator.validate(
            NETWORK, run, dataset, Select(sources=sources, splits=splits), process or Process()
        )

    return validate


def test_glands_are_counted_by_hand(score):
    """PQ of A is (4 / 6) / (1 + 1 / 2 + 1 / 2), of B 1; Dice of A is 2 * 4 / (10 + 6)."""
    first, second, _, _, _, external = score().images
    assert (first.split, first.source, first.key, first.patient) == ("fold3", "glands", "ga", "pga")
    assert (first.structure, first.objects) == ("gland", counts(1, 1, 1, 4 / 6))
    # Of 24 pixels, 10 are gland and 6 are predicted, 4 of them rightly.
    assert first.confusion == ((12, 2), (6, 4))
    assert (first.otsu, first.by_class) == (counts(2, 0, 0, 2.0), ())
    assert (second.key, second.objects, second.confusion) == ("gb", counts(1, 0, 0, 1.0), ((11, 0), (0, 4)))
    assert second.otsu == counts(0, 0, 1, 0.0)
    assert (external.split, external.key) == ("external", "gx")
    assert (external.objects, external.confusion) == (counts(0, 0, 1, 0.0), ((3, 0), (3, 0)))


def test_scores_of_glands_are_means_over_images_and_pooled_counts(score):
    found = score()
    glands = {name: value for name, value in found.scores.items() if name.startswith("test.gland.")}
    assert glands == {
        "test.gland.pq": pytest.approx((1 / 3 + 1) / 2),
        "test.gland.dice": pytest.approx((1 / 2 + 1) / 2),
        "test.gland.pq_pooled": pytest.approx((4 / 6 + 1) / (2 + 1 / 2 + 1 / 2)),
        "test.gland.dq_pooled": pytest.approx(2 / (2 + 1 / 2 + 1 / 2)),
        "test.gland.sq_pooled": pytest.approx((4 / 6 + 1) / 2),
        "test.gland.dice_pooled": pytest.approx(2 * (4 + 4) / (10 + 4 + 6 + 4)),
        "test.gland.otsu_pq": pytest.approx((1 + 0) / 2),
    }
    assert found.sizes["test.gland.images"] == 2
    assert found.sizes["test.gland.objects"] == 2 + 1


def test_later_splits_go_by_their_own_name(score):
    """Nothing is found of the one external gland, so its PQ is 0 and no pair has an SQ."""
    found = score()
    assert found.scores["external.gland.pq"] == found.scores["external.gland.dice"] == 0.0
    assert np.isnan(found.scores["external.gland.sq_pooled"])
    assert (found.sizes["external.gland.images"], found.sizes["external.gland.objects"]) == (1, 1)
    assert not [name for name in (*found.scores, *found.sizes) if name.startswith(("external.nuclei", "fold3"))]


def test_what_is_not_annotated_is_neither_right_nor_wrong(score):
    """Network and Otsu both find the two nuclei, and one where nothing is known: neither gains nor loses by that."""
    _, _, first, *_ = score().images
    assert first.key == "ca"
    assert first.objects == first.otsu == counts(2, 0, 0, 2.0)
    # Of 14 pixels, 8 are nucleus and found; the two of which nothing is known count as background that was seen so.
    assert first.confusion == ((6, 0), (0, 8))


def test_classes_are_counted_apart(score):
    """Of A, both nuclei are predicted as class 1; of B, the nucleus of class 2 is right, and two of class 1 are not."""
    _, _, first, second, unnamed, _ = score().images
    assert first.by_class == (counts(1, 1, 0, 1.0), counts(0, 0, 1, 0.0))
    assert second.by_class == (counts(0, 2, 0, 0.0), counts(1, 0, 0, 1.0))
    assert (unnamed.key, unnamed.by_class) == ("ua", ())


def test_an_object_without_a_class_counts_as_an_object_alone(score, monkeypatch):
    """Both nuclei of A are found; of the second no class is known, so what was predicted there is no wrong class."""
    whole_image = MetaDataset.whole_image

    def untyped(dataset, source, rows):
        found = whole_image(dataset, source, rows)
        if found.key != "ca":
            return found
        return replace(
            found, semantic_map=np.where(found.instance_map == 2, IGNORE, found.semantic_map).astype(np.uint8)
        )

    monkeypatch.setattr(MetaDataset, "whole_image", untyped)
    _, _, first, *_ = score().images
    assert first.objects == counts(2, 0, 0, 2.0)
    assert first.by_class == (counts(1, 0, 0, 1.0), counts(0, 0, 0, 0.0))


def test_scores_of_nuclei_have_those_of_their_classes(score):
    """mPQ leaves out images whose truth lacks the class: 1 / 1.5, and the mean of 0 and 1. mPQ+ pools counts."""
    found = score()
    # PQ of A is 1, of B 1 / (1 + 2 / 2); of the third image, whose classes are others, 0.
    assert found.scores["test.nuclei.pq"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found.scores["test.nuclei.mpq"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.scores["test.nuclei.mpq_plus"] == pytest.approx((1 / 2.5 + 1 / 1.5) / 2)
    assert found.sizes["test.nuclei.images"] == 3
    assert found.sizes["test.nuclei.objects"] == 2 + 1 + 1
    assert not [name for name in found.scores if "gland.mpq" in name]


def test_classes_that_no_head_predicts_are_not_scored(score, run, dataset, monkeypatch):
    assert typed_classes(run, dataset, ("gland", "nuclei", "nuclei_type")) == {"nuclei": ("background", "a", "b")}
    assert typed_classes(run, dataset, ("gland", "nuclei")) == {}
    alone = replace(run, stages=run.stages[1:])
    assert typed_classes(alone, dataset, ("nuclei", "nuclei_type")) == {"nuclei": ("background", "a", "b")}
    monkeypatch.setattr(Known, "heads", lambda *_: Heads(num_classes={"gland": 2, "nuclei": 2}))
    found = score()
    assert not [image for image in found.images if image.by_class]
    assert not [name for name in found.scores if "mpq" in name]
    assert found.scores["test.nuclei.pq"] == pytest.approx(1 / 2)


def test_tissue_is_scored_by_the_middle_of_each_tile(score):
    """Of TILES 1 to 4 the truth is 0, 1, 1, 0. Class 0 ranks 1, 3, 4, 2: precision 1 and 2 / 3. Class 1 ranks 2, 3."""
    found = score()
    assert found.scores["test.tissue.map"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    # The most probable are 0, 1, 0, 2: F1 of class 0 is 2 * 1 / (2 + 2), of class 1 2 * 1 / (2 + 1).
    assert found.scores["test.tissue.mf1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    nan = pytest.approx(np.nan, nan_ok=True)
    assert found.per_class["test.tissue.ap"] == {"mucosa": pytest.approx(5 / 6), "muscle": pytest.approx(1), "fat": nan}
    assert found.per_class["test.tissue.f1"] == {"mucosa": 0.5, "muscle": pytest.approx(2 / 3), "fat": nan}
    assert found.sizes["test.tissue.images"] == 4
    # The one external tile is fat, and seen so.
    assert found.scores["external.tissue.map"] == found.scores["external.tissue.mf1"] == 1.0
    assert found.per_class["external.tissue.ap"]["fat"] == 1.0
    assert found.sizes["external.tissue.images"] == 1


def test_without_tiles_there_is_no_score_of_tissue(score, run):
    found = score(replace(run, score=Select(sources=("glands", "tissue"), splits=("external",))))
    assert "test.tissue.map" in found.scores
    none = score(replace(run, score=Select(sources=("glands",), splits=("external",))))
    assert none.per_class == {}
    assert set(none.sizes) == {"test.gland.images", "test.gland.objects"}


def test_tiles_are_classified_a_few_at_a_time(score, run):
    found = score(replace(run, score=Select(sources=("tissue",), splits=("fold2",))))
    assert run.network.sizes == [32, 1]
    assert found.sizes == {"test.tissue.images": 33}
    assert found.scores == {"test.tissue.map": 1.0, "test.tissue.mf1": 1.0}


def test_tissue_needs_a_network_that_predicts_its_classes(score, run):
    other = replace(run, network=OnlyObjects(), score=Select(sources=("tissue",), splits=("fold3",)))
    with pytest.raises(ConfigError, match="'known_objects' predicts no classes of patches; leave tissue out"):
        score(other)


def test_the_headline_is_the_first_score_of_each_structure(score):
    # 2 / 3, 1 / 2 and 11 / 12, as above.
    assert score().headline == "gland 0.667, nuclei 0.500, tissue 0.917"


def test_a_network_is_validated_by_the_mean_over_structures(validate):
    # Glands have (1 / 3 + 1) / 2, nuclei 1 / 2; tissue is not counted.
    assert validate(SOURCES) == pytest.approx((2 / 3 + 1 / 2) / 2)


@pytest.mark.parametrize("source", ["tissue", "plain"])
def test_without_annotated_objects_there_is_nothing_to_validate_by(validate, source):
    assert np.isnan(validate((source,)))


def test_a_structure_without_any_object_is_left_out_of_the_mean(validate, monkeypatch):
    """Where neither truth nor prediction has an object, PQ is 0 / 0."""
    whole_image = MetaDataset.whole_image

    def emptied(self, source, rows):
        found = whole_image(self, source, rows)
        return replace(found, instance_map=np.zeros_like(found.instance_map)) if found.key in ("gx", "ua") else found

    monkeypatch.setattr(MetaDataset, "whole_image", emptied)
    assert np.isnan(validate(("glands",), ("external",)))
    assert validate(("glands", "unnamed")) == pytest.approx(2 / 3)


def test_images_are_seen_by_the_evaluators_windows(score, run):
    score(replace(run, score=Select(sources=("glands",), splits=("external",))))
    windows = Objects(window_px=64, margin_px=16)
    assert run.network.asked == [("gland", windows, 0.5)] * 2  # To count, and for the pictures


def read_png(store, key):
    return cv2.imdecode(np.frombuffer(store.get(key), np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]


def test_pictures_outline_the_truth_and_the_prediction(score, store):
    panels = score().panels
    assert [(panel.source, panel.key, panel.structure) for panel in panels] == [
        ("glands", "ga", "gland"),
        ("glands", "gb", "gland"),
        ("cells", "ca", "nuclei"),
        ("cells", "cb", "nuclei"),  # The third image of nuclei is not shown.
    ]
    assert [panel.score for panel in panels] == pytest.approx([1 / 3, 1, 1, 1 / 2])
    first, _, third, _ = panels
    assert first.legend == {}
    assert first.image == "panels/ga-image.png"
    np.testing.assert_array_equal(read_png(store, first.image), image_of(10, (4, 6)))
    is_line = {name: (read_png(store, getattr(first, name)) != 10).any(axis=2) for name in ("truth", "prediction")}
    # Objects this small are border all over, but where they meet the edge of the image.
    assert is_line["truth"].tolist()[1] == [True, True, True, False, False, False]
    assert is_line["prediction"].tolist()[3] == [False, False, False, False, False, True]
    # What the network sees where nothing is known is drawn, though it is not scored.
    assert (read_png(store, third.prediction) != 40).any(axis=2).tolist()[0][3]


def test_pictures_are_of_the_first_split_and_of_each_structure(score, run):
    select = Select(sources=("cells", "unnamed", "glands"), splits=("fold3", "external"))
    assert [panel.key for panel in score(replace(run, score=select)).panels] == ["ca", "cb", "ga", "gb"]
    select = Select(sources=("glands",), splits=("external", "fold3"))
    assert [panel.key for panel in score(replace(run, score=select)).panels] == ["gx"]


def test_two_ranks_have_the_scores_of_one(score, monkeypatch):
    alone = score()
    leader, other = on_two_ranks(monkeypatch, lambda process: score(process=process))
    assert plain(leader) == plain(other) == plain(alone)
    assert (leader.panels, other.panels) == (alone.panels, ())  # One rank draws the pictures.


def plain(scores):
    """All but the pictures, in which an undefined score equals itself."""
    return str(replace(scores, panels=()))


@pytest.mark.parametrize(("rank", "share"), [(0, 2), (1, 1)])
def test_a_rank_predicts_its_share(validate, run, rank, share):
    validate(("glands",), ("fold3", "external"), Process(place=Place(rank=rank, world_size=2)))
    assert len(run.network.asked) == share


def test_an_image_without_objects_map_is_refused(validate):
    with pytest.raises(DataError, match=r"f has no instance map; prepare its source again"):
        validate(("faulty",))


def test_progress_is_said_every_ten_seconds_and_at_the_end(monkeypatch, caplog):
    clock = iter([100.0, 105.0, 110.0, 119.9, 120.0, 121.0])
    monkeypatch.setattr(_images, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with caplog.at_level(logging.INFO):
        assert list(own_share(5, "score x", Process())) == [0, 1, 2, 3, 4]
    # Ten seconds for two of five images, 20 for four.
    assert caplog.messages == [
        "score x  image 2/5  eta 15 s",
        "score x  image 4/5  eta 5 s",
        "score x  image 5/5  eta 0 s",
    ]


def test_a_rank_has_every_other_image_and_one_rank_speaks(monkeypatch, caplog):
    monkeypatch.setattr(_images, "time", SimpleNamespace(monotonic=iter([0.0, 6.0, 0.0, 6.0, 9.0, 12.0]).__next__))
    with caplog.at_level(logging.INFO):
        assert list(own_share(3, "x", Process(place=Place(rank=1, world_size=2)))) == [1]
        assert not caplog.messages
        assert list(own_share(3, "x", Process(place=Place(rank=0, world_size=2)))) == [0, 2]
    assert caplog.messages == ["x  image 3/3  eta 0 s"]


def test_the_log_says_what_is_done(score, run, caplog):
    with caplog.at_level(logging.INFO):
        score(replace(run, score=Select(sources=("glands",), splits=("external",))))
    assert caplog.messages == ["score all fold1 to fold3  image 1/1  eta 0 s"]
