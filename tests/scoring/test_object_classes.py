"""Classes of annotated objects: scores of a few objects worked by hand, and of many by scikit-learn."""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from histoseg import distributed
from histoseg.errors import ConfigError, DataError
from histoseg.maps.colours import to_rgb
from histoseg.methods.multitask import MultiTask
from histoseg.methods.subtyping import Subtyping
from histoseg.models.prediction import ClassifiedObjects, most_probable
from histoseg.models.probe import ProbeSpec
from histoseg.representation import cache
from histoseg.representation import objects as of_objects
from histoseg.runs.config import Optim, Run, Select, Stage
from histoseg.scoring._pictures import Pictures, class_colour
from histoseg.scoring.object_classes import Classified, ObjectClasses, summarise
from histoseg.shards.in_memory import put_source
from histoseg.shards.reader import MetaDataset
from histoseg.store.objects import connect
from histoseg.training.process import Process
from histoseg.types import IGNORE
from tests.scoring.known_objects import DATA, NETWORK, OnlyObjects, sample
from tests.scoring.ranks import on_two_ranks
from tests.small_store import make_task

CLASSES = ("background", "a", "b", "c")
# Two images with four objects, which are a, b, a and b; nothing is known of a fifth one's class.
FIRST, FIRST_TYPES = [[7, 7, 0, 3, 3, 9]], [[2, 2, 0, 1, 1, IGNORE]]
SECOND, SECOND_TYPES = [[1, 0, 2]], [[1, 0, 2]]
EXTERNAL = [[1, 1, 0]]
# By the colour of an image: probabilities of its objects in ascending order of ids, and their classes.
SEEN = {
    10: ([[0.6, 0.4, 0.0], [0.7, 0.3, 0.0]], [1, 1]),  # Object 3 is an a, object 7 a b.
    20: ([[0.2, 0.5, 0.3], [0.1, 0.9, 0.0]], [2, 0]),
    30: ([[1.0, 0.0, 0.0]], [1]),
}
NUCLEI = "nuclei"
SOURCES = ("cells", "unnamed")


@dataclass(frozen=True, kw_only=True)
class KnownClasses(OnlyObjects):
    """Settings of a network that says what SEEN says, and notes which objects it was given."""

    asked: list = field(default_factory=list, compare=False)

    def classify_objects(self, network, image, instance_map, structure, windows):
        colour = int(image[0, 0, 0])
        self.asked.append((colour, np.unique(instance_map).tolist(), structure, windows.window_px))
        probabilities, classes = SEEN[colour]
        return ClassifiedObjects(probabilities=np.array(probabilities, np.float32), classes=np.array(classes, np.uint8))


@pytest.fixture
def store(tmp_path):
    store = connect(f"file://{tmp_path / 'store'}")
    cells = {
        "fold3": [sample("ca", 10, FIRST, FIRST_TYPES), sample("cb", 20, SECOND, SECOND_TYPES)],
        "external": [sample("cx", 30, EXTERNAL)],
    }
    put_source(store, make_task("cells", CLASSES, "instance", NUCLEI), DATA, cells)
    other = {"fold3": [sample("ua", 40, EXTERNAL)]}
    put_source(store, make_task("unnamed", ("background", "nucleus"), "instance", NUCLEI), DATA, other)
    return store


@pytest.fixture
def run():
    select = Select(sources=SOURCES, splits=("fold1",))
    learn = Stage(label="train", method=MultiTask(), select=select, optim=Optim(steps=1))
    subtype = Stage(
        label="subtype", method=Subtyping(), select=replace(select, sources=("cells",)), optim=Optim(steps=1)
    )
    return Run(
        experiment="lab",
        scale="tiny",
        row="all",
        data=DATA,
        network=KnownClasses(),
        stages=(learn, subtype),
        score=Select(sources=SOURCES, splits=("fold3", "external")),
        evaluator=ObjectClasses(window_px=64, margin_px=16),
    )


@pytest.fixture
def score(store, run, tmp_path):
    def score(run=run, process=None):
        dataset, process = MetaDataset.open(store, SOURCES, DATA.layout, tmp_path / "cache"), process or Process()
        pictures = Pictures(store=store, folder="panels", leads=process.leads)
        return run.evaluator.score(NETWORK, run, dataset, process, pictures)

    return score


def test_scores_are_those_worked_by_hand(score, run):
    """True and predicted classes: a as a, b as a, a as b, b without a class.

    Of class a, probabilities 0.7 (b), 0.6 (a), 0.2 (a), 0.1 (b): precision 1/2 and 2/3 at the two of a.
    Of class b, 0.9 (b), 0.5 (a), 0.4 (a), 0.3 (b): 1 and 2/4. No object is a c.
    F1 of a is 2 * 1 / (2 + 2), of b 0.
    """
    found = score()
    assert found.scores == {
        "test.nuclei.map": pytest.approx(((1 / 2 + 2 / 3) / 2 + (1 + 2 / 4) / 2) / 2),
        "test.nuclei.mf1": pytest.approx(1 / 4),
        # All of one score, half of them are right; "a" for all has F1 2 * 2 / (2 + 4) of a and 0 of b.
        "test.nuclei.majority_map": pytest.approx(1 / 2),
        "test.nuclei.majority_mf1": pytest.approx(1 / 3),
        **dict.fromkeys(
            (f"external.nuclei.{name}" for name in ("map", "mf1", "majority_map", "majority_mf1")), pytest.approx(1)
        ),
    }
    nan = pytest.approx(np.nan, nan_ok=True)
    assert found.per_class["test.nuclei.ap"] == {"a": pytest.approx(7 / 12), "b": pytest.approx(3 / 4), "c": nan}
    assert found.per_class["test.nuclei.f1"] == {"a": pytest.approx(1 / 2), "b": 0.0, "c": nan}
    assert found.sizes == {"test.nuclei.objects": 4, "external.nuclei.objects": 1}
    assert found.headline == "test.nuclei: mAP 0.667, mF1 0.250; the most frequent class mF1 0.333"
    # The network sees each image once, also for pictures; the object of unknown class is not asked about.
    assert run.network.asked[0] == (10, [0, 3, 7], NUCLEI, 64)
    assert [colour for colour, *_ in run.network.asked] == [10, 20, 30]


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    true, probabilities = rng.integers(1, 4, 200), rng.dirichlet(np.ones(3), 200).round(1)  # With ties
    predicted = rng.integers(0, 4, 200)
    scores, single = summarise(Classified(np.zeros(200, np.int64), true, predicted, probabilities), CLASSES)
    ap = [average_precision_score(true == i + 1, probabilities[:, i]) for i in range(3)]
    f1 = f1_score(true, predicted, labels=[1, 2, 3], average=None, zero_division=0)
    assert list(single["ap"].values()) == pytest.approx(ap)
    assert list(single["f1"].values()) == pytest.approx(f1)
    assert (scores["map"], scores["mf1"]) == pytest.approx((np.mean(ap), np.mean(f1)))
    most = np.full(200, np.bincount(true).argmax())
    assert scores["majority_mf1"] == pytest.approx(f1_score(true, most, average="macro", zero_division=0))


def test_two_ranks_have_the_scores_of_one(score, monkeypatch):
    alone = score()
    leader, other = on_two_ranks(monkeypatch, lambda process: score(process=process))
    assert str(replace(leader, panels=())) == str(replace(other, panels=())) == str(replace(alone, panels=()))
    assert (leader.panels, other.panels) == (alone.panels, ())


def test_pictures_have_the_colours_of_classes(score, store):
    first, second = score().panels
    assert (first.source, first.key, first.structure, first.score) == ("cells", "ca", NUCLEI, 1 / 2)
    assert first.legend == {name: class_colour(i) for i, name in enumerate(CLASSES) if i}
    assert "no class" in second.legend
    pixels = {
        name: cv2.imdecode(np.frombuffer(store.get(getattr(first, name)), np.uint8), cv2.IMREAD_COLOR_RGB)[0]
        for name in ("truth", "prediction")
    }
    colours = {i: to_rgb(class_colour(i)) for i in (1, 2)}
    assert tuple(pixels["truth"][1]) == colours[2]  # The right end of object 7, a b that is seen as an a
    assert tuple(pixels["prediction"][1]) == tuple(pixels["truth"][3]) == colours[1]


def test_pictures_are_of_the_images_with_most_classes(store, run, score):
    cells = {"fold3": [sample("one", 30, EXTERNAL), sample("two", 10, FIRST, FIRST_TYPES), sample("too", 30, EXTERNAL)]}
    put_source(store, make_task("cells", CLASSES, "instance", NUCLEI), DATA, cells)
    run = replace(run, score=replace(run.score, splits=("fold3",)))
    assert [panel.key for panel in score(run).panels] == ["two", "one"]


def test_a_network_is_validated_by_its_mean_average_precision(store, run, tmp_path):
    dataset = MetaDataset.open(store, SOURCES, DATA.layout, tmp_path / "cache")
    select = Select(sources=("cells",), splits=("fold3",))
    assert run.evaluator.validate(NETWORK, run, dataset, select, Process()) == pytest.approx(2 / 3)


def test_the_most_probable_class_counts_from_one():
    assert most_probable(np.array([[0.2, 0.8], [0.9, 0.1]], np.float32)).classes.tolist() == [2, 1]


def test_what_cannot_be_scored_is_refused(score, run):
    with pytest.raises(DataError, match="unnamed have no nuclei of the classes that all learns, a, b, c"):
        score(replace(run, score=Select(sources=("unnamed",), splits=("fold3",))))
    with pytest.raises(DataError, match="no stage of all learns gland"):
        score(replace(run, evaluator=ObjectClasses(structure="gland")))
    with pytest.raises(ConfigError, match=r"evaluator.structure = 'tissue'.*gland, lumen, nuclei"):
        ObjectClasses(structure="tissue")
    with pytest.raises(ConfigError, match="predicts no classes of objects"):
        score(replace(run, network=OnlyObjects()))


@pytest.fixture
def probe(run):
    """A probe on random features, and its run."""
    spec = ProbeSpec(encoder="resnet18", width=4, hidden=8, patch_px=16)
    network = spec.with_outputs({"nuclei_type": len(CLASSES) - 1}, 3).eval()
    return network, replace(run, network=spec)


@pytest.fixture
def classify(store, tmp_path):
    def classify(network, run, process=None):
        dataset = MetaDataset.open(store, SOURCES, DATA.layout, tmp_path / "cache")
        return run.evaluator._classify(network, run, dataset, run.score, process or Process())

    return classify


def test_features_of_scored_images_are_computed_once(probe, classify, monkeypatch):
    """Also for another head on the same encoder. Of each object the class is that of the patch about its middle."""
    network, run = probe
    calls, compute = [], of_objects.pooled
    monkeypatch.setattr(of_objects, "pooled", lambda *words: calls.append(1) or compute(*words))
    found = classify(network, run)
    assert len(calls) == 3  # Images of two splits
    other = run.network.with_outputs({"nuclei_type": len(CLASSES) - 1}, 4).with_encoder_of(network).eval()
    assert not np.allclose(classify(other, run).probabilities, found.probabilities)
    assert_equal(classify(network, run), found)
    assert len(calls) == 3
    assert found.image.tolist() == [0, 0, 1, 1, 2]
    assert found.true.tolist() == [1, 2, 1, 2, 1]
    patches = np.concatenate(
        [np.full((count, 16, 16, 3), colour, np.uint8) for colour, count in ((10, 2), (20, 2), (30, 1))]
    )
    wanted = run.network.classify_features(network, compute(network, patches), NUCLEI)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-6)
    assert found.predicted.tolist() == wanted.classes.tolist()


def test_no_scored_images_give_no_objects(probe, classify):
    network, run = probe
    found = classify(network, replace(run, score=replace(run.score, splits=("fold2",))))
    assert len(found.true) == len(found.probabilities) == 0


def test_two_ranks_share_the_features_of_scored_images(probe, classify, store, monkeypatch):
    network, run = probe
    alone = classify(network, run)
    for key in store.list("features/"):
        store.delete(key)

    def sum_over_ranks(tensor):
        return distributed.sum_over_ranks(tensor)  # That of the two threads, when it is called

    for module in (cache, of_objects):
        monkeypatch.setattr(module, "sum_over_ranks", sum_over_ranks)
    for found in on_two_ranks(monkeypatch, lambda process: classify(network, run, process)):
        assert_equal(found, alone)


def assert_equal(found, expected):
    for one in ("image", "true", "predicted", "probabilities"):
        np.testing.assert_allclose(getattr(found, one), getattr(expected, one), atol=1e-6)
