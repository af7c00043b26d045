"""What a run may be, and what it says of itself."""

from dataclasses import replace

import pytest

from histoseg.errors import ConfigError
from histoseg.methods.maml import Maml
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.spec import NetworkSpec
from histoseg.models.unet import UNetSpec
from histoseg.runs.config import Data, Optim, Select, Settings, Stage, public_name
from histoseg.scoring.objects import Objects
from histoseg.scoring.pixels import Pixels
from tests.stages import with_stage


@pytest.mark.parametrize(
    ("part", "path", "value"),
    [
        (Data, "data.patch_px", 100),
        (Data, "data.tissue_px", 8),
        (Data, "data.mpp", 100.0),
        (Data, "data.scale", (1.2, 0.8)),
        (Data, "data.rotate_deg", 200.0),
        (Data, "data.shear_deg", 45.0),
        (Data, "data.colour_p", 1.5),
        (Data, "data.contrast", 1.0),
        (Data, "data.hue", 0.6),
        (UNetSpec, "network.width", 6),
        (CerberusSpec, "network.width", 6),
        (CerberusSpec, "network.weights", "nope"),
        (Optim, "optim.lr", 0.0),
        (Optim, "optim.steps", -1),
        (Optim, "optim.epochs", -1),
        (Optim, "optim.patience", -1),
        (Optim, "optim.drop_at", -1),
        (Pixels, "windows.window_px", 50),
        (Pixels, "windows.overlap", 1.0),
        (Pixels, "evaluator.bootstrap", -1),
    ],
)
def test_nonsense_is_refused_with_its_path_and_value(part, path, value):
    with pytest.raises(ConfigError) as error:
        part(**{path.partition(".")[2]: value})
    assert str(error.value).startswith(f"{path} = {value!r}: must be ")


@pytest.mark.parametrize(("width", "encoder"), [(8, "resnet34"), (64, "unet")])
def test_imagenets_weights_are_of_a_resnet_of_the_published_width(width, encoder):
    with pytest.raises(ConfigError, match=r"network\.weights = 'imagenet'.*ResNet of width 64"):
        CerberusSpec(width=width, encoder=encoder, weights="imagenet")
    assert CerberusSpec(weights="imagenet").width == 64


@pytest.mark.parametrize(("changes", "path"), [({"sources": ()}, "sources"), ({"shots": -1}, "shots")])
def test_a_selection_of_nothing_is_refused(changes, path):
    with pytest.raises(ConfigError, match=rf"select\.{path} = "):
        Select(**{"sources": ("glas",), **changes})


def test_steps_and_epochs_exclude_each_other():
    with pytest.raises(ConfigError, match=r"optim\.steps = 5.*optim\.epochs"):
        Optim(steps=5, epochs=2)
    assert Optim(steps=0, epochs=2).epochs == 2


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"optim": {"steps": 5, "epochs": 0}}, r"refine\.keep = 'best val'"),
        ({"keep": "last", "optim": {"patience": 2}}, r"refine\.optim\.patience = 2"),
    ],
)
def test_a_stage_chooses_among_epochs_or_not_at_all(tiny_run, changes, path):
    with pytest.raises(ConfigError, match=path):
        with_stage(tiny_run, 1, **changes)


def test_a_second_order_method_is_not_compiled(tiny_run):
    select = Select(sources=("glas",))
    with pytest.raises(ConfigError, match=r"optim\.compile = True: must be false unless method\.first_order"):
        Stage(label="pretrain", method=Maml(), select=select, optim=Optim(compile=True))
    Stage(label="pretrain", method=Maml(first_order=True), select=select, optim=Optim(compile=True))
    assert with_stage(tiny_run, 1, optim={"compile": True}).stages[1].optim.compile  # Its method has one order only.


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"seed": -1}, "seed = -1"),
        ({"stages": ()}, r"stages = \(\)"),
        ({"score": Select(sources=("monuseg",))}, r"score\.splits = \(\)"),
        (
            {"score": Select(sources=("monuseg",), splits=("fold1",))},
            r"select\.splits = \('fold1',\).*train, val, test",
        ),
        ({"data": Data(folds=True)}, r"select\.splits = \('train',\).*fold1, fold2, fold3, external"),
    ],
)
def test_a_run_that_cannot_be_is_refused(tiny_run, changes, path):
    with pytest.raises(ConfigError, match=path):
        replace(tiny_run, **changes)


def test_stages_have_labels_of_their_own(tiny_run):
    with pytest.raises(ConfigError, match=r"stages = \['pretrain', 'pretrain'\]"):
        with_stage(tiny_run, 1, label="pretrain")


@pytest.mark.parametrize(
    ("source", "split", "label"),
    [
        ("glas", "test", "pretrain"),  # Pretraining names no split, so it sees all.
        ("monuseg", "train", "refine"),
    ],
)
def test_nothing_is_scored_that_a_stage_was_trained_on(tiny_run, source, split, label):
    with pytest.raises(ConfigError, match=rf"{label}\.select = "):
        replace(tiny_run, score=Select(sources=(source,), splits=(split,)))
    assert replace(tiny_run, score=Select(sources=("monuseg",), splits=("val",))).score.splits == ("val",)


def test_no_fold_is_trained_and_scored_on(tiny_fold_run):
    score = replace(tiny_fold_run.score, splits=("fold1", "external"))
    with pytest.raises(ConfigError, match=r"train\.select = "):
        replace(tiny_fold_run, score=score)


def test_what_a_run_says_of_itself(tiny_run, tiny_fold_run):
    assert tiny_run.sources == ("synthetic", "glas", "monuseg")
    assert tiny_fold_run.sources == ("cerberus_gland", "cerberus_lumen", "lizard", "kather5k")
    assert tiny_run.replicate == "seed 0"
    assert replace(tiny_fold_run, seed=3).replicate == "fold1 to fold3, seed 3"
    assert tiny_run.address == "monuseg all_others.maml"
    assert replace(tiny_fold_run, part="gland").address == "cerberus gland fold1 to fold3"


@pytest.mark.parametrize(
    ("data", "layout"),
    [
        (Data(), "768px"),
        (Data(patch_px=96, rotate_deg=90.0, blur=True), "96px"),  # Augmentation does not change what is stored.
        (Data(patch_px=448, mpp=0.5, folds=True), "448px-0.5mpp-folds"),
        (Data(patch_px=448, mpp=0.25), "448px-0.25mpp"),
    ],
)
def test_the_layout_names_how_images_are_stored(data, layout):
    assert data.layout == layout


@pytest.mark.parametrize(
    ("settings", "name"), [(Maml(), "maml"), (UNetSpec(), "unet"), (CerberusSpec(), "cerberus"), (Objects(), "objects")]
)
def test_settings_are_called_as_the_module_they_come_from(settings, name):
    assert public_name(settings) == name
    assert isinstance(settings, Settings)
    assert isinstance(settings, NetworkSpec) is (name in ("unet", "cerberus"))
