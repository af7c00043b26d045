"""A run as JSON, and with one field changed by an assignment."""

import json
from dataclasses import replace

import pytest

from histoseg.errors import ConfigError
from histoseg.methods.maml import Maml
from histoseg.methods.transfer import Transfer
from histoseg.models.cerberus import CerberusSpec
from histoseg.runs import catalog
from histoseg.runs.names import from_json, has_field, override, to_json
from tests.runs.known import EXPERIMENTS, all_runs
from tests.stages import with_stage


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_run_survives_json(experiment):
    for scale in catalog.load("histoseg.experiments", experiment).SCALES:
        runs = all_runs(experiment, scale)
        assert runs
        assert [from_json(json.loads(json.dumps(to_json(run)))) for run in runs] == runs


def test_settings_that_are_no_defaults_survive_json(tiny_run):
    run = with_stage(tiny_run, method=Maml(task_weights=(("glas", 0.5),)), optim={"compile": False, "lr": 0.25})
    assert from_json(json.loads(json.dumps(to_json(run)))) == run


def test_the_network_of_a_stage_survives_json_and_can_be_changed(tiny_run):
    run = replace(tiny_run, stages=(tiny_run.stages[0], replace(tiny_run.stages[1], network=CerberusSpec(width=8))))
    assert from_json(json.loads(json.dumps(to_json(run)))) == run
    assert "network" not in to_json(run)["stages"][0]
    assert has_field(run, "refine.network.width")
    assert not has_field(tiny_run, "refine.network.width")
    changed = override(run, "refine.network.width=16")
    assert [changed.at(number).network.width for number in (0, 1, -1)] == [4, 16, 16]


def test_json_has_every_field_and_settings_by_name(tiny_run):
    record = to_json(tiny_run)
    assert record["network"] == {"name": "unet", "width": 4, "norm": "group"}
    assert record["stages"][1]["method"] == {"name": "transfer", "batch": 4, "class_weighting": 0.0}
    assert record["stages"][0]["select"] == {
        "sources": ["synthetic", "glas"],
        "splits": [],
        "shots": 0,
        "draw": 0,
        "with_objects": False,
        "regions": 0,
        "choose": "random",
        "per_image": 0,
    }
    assert record["evaluator"] == {"name": "pixels", "window_px": 64, "overlap": 0.25, "bootstrap": 20}


def edited(record, path, value):
    """The record with one value changed, or left out if it is "missing"."""
    copy = json.loads(json.dumps(record))
    part = copy
    for key in path[:-1]:
        part = part[key]
    if value == "missing":
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return copy


@pytest.mark.parametrize("path", [("column",), ("stages", 0, "keep"), ("data", "hue"), ("network", "norm")])
def test_a_missing_field_has_its_default(tiny_run, path):
    run = replace(with_stage(tiny_run), column="")
    assert from_json(edited(to_json(run), path, "missing")) == run


METHODS = ("maml", "multitask", "subtyping", "transfer")
NETWORKS = ", ".join(catalog.names("histoseg.models"))


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("row",), "missing", ("run lacks row",)),
        (("stages", 1, "label"), "missing", ("run.stages[1] lacks label",)),
        (("stages", 0, "method", "name"), "missing", ("run.stages[0].method = ", *METHODS)),
        (("colour",), 1, ("run has no field colour", "experiment, scale, row, column")),
        (("stages", 0, "optim", "rate"), 1, ("run.stages[0].optim has no field rate", "lr, steps")),
        (("network", "depth"), 1, ("run.network has no field depth", "width, norm")),
        (("seed",), "x", ("run.seed = 'x'", "integer")),
        (("seed",), 1.5, ("run.seed = 1.5", "integer")),
        (("seed",), True, ("run.seed = True", "integer")),
        (("data", "folds"), 1, ("run.data.folds = 1", "boolean")),
        (("data", "mpp"), "1", ("run.data.mpp = '1'", "number")),
        (("data", "scale"), [0.8, 1.0, 1.2], ("run.data.scale = [0.8, 1.0, 1.2]", "2 items")),
        (("network", "norm"), "layer", ("run.network.norm = 'layer'", "'group'", "'batch'", "'frozen'")),
        (("network", "name"), "u", ("'u'", NETWORKS)),
        (("network",), 3, ("run.network = 3", NETWORKS)),
        (("evaluator", "name"), None, ("None", "objects, pixels")),
        (("stages", 0, "method"), "maml", ("run.stages[0].method = 'maml'", *METHODS)),
        (("stages", 0, "method", "name"), "nope", ("'nope'", *METHODS)),
        (("stages", 0, "method", "support"), None, ("run.stages[0].method.support = None", "integer")),
        (("stages", 1, "keep"), "best", ("run.stages[1].keep = 'best'", "'last'", "'best val'")),
        (("stages", 1, "optim", "precision"), 16, ("run.stages[1].optim.precision = 16", "'fp32'", "'bf16'")),
        (("stages", 1, "select", "splits"), ["fold9"], ("run.stages[1].select.splits", "fold9", "'fold1'")),
        (("stages", 1, "select", "sources"), "glas", ("run.stages[1].select.sources = 'glas'", "array")),
        (("stages", 1, "select"), ["glas"], ("run.stages[1].select = ['glas']", "sources, splits, shots")),
        (("stages", 1), 3, ("run.stages[1] = 3", "label, method, select")),
        (("stages",), 3, ("run.stages = 3", "label, method, select")),
        (("data",), 768, ("run.data = 768", "patch_px")),
        (("stages", 1, "optim", "lr"), 2.0, ("optim.lr = 2.0", "below 1")),
    ],
)
def test_json_of_another_form_is_refused(tiny_run, path, value, told):
    with pytest.raises(ConfigError) as error:
        from_json(edited(to_json(tiny_run), path, value))
    assert [text for text in told if text not in str(error.value)] == []


def at(run, *path):
    """What lies at a path of fields and numbers of stages."""
    for name in path:
        run = run[name] if isinstance(name, int) else getattr(run, name)
    return run


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("optim.steps=5", ("stages", 0, "optim", "steps"), 5),
        ("optim.lr=1e-3", ("stages", 0, "optim", "lr"), 1e-3),
        ("method.first_order=true", ("stages", 0, "method", "first_order"), True),
        ("method.task_weights=(('glas',1),)", ("stages", 0, "method", "task_weights"), (("glas", 1.0),)),
        ("pretrain.optim.steps=5", ("stages", 0, "optim", "steps"), 5),
        ("refine.optim.lr=1e-3", ("stages", 1, "optim", "lr"), 1e-3),
        ("refine.optim.epochs=7", ("stages", 1, "optim", "epochs"), 7),
        ("refine.method.batch=2", ("stages", 1, "method", "batch"), 2),
        ("refine.select.shots=3", ("stages", 1, "select", "shots"), 3),
        ("refine.keep=last", ("stages", 1, "keep"), "last"),
        ("network.width=8", ("network", "width"), 8),
        ("network.norm=batch", ("network", "norm"), "batch"),
        ("evaluator.window_px=96", ("evaluator", "window_px"), 96),
        ("data.scale=(0.9,1.1)", ("data", "scale"), (0.9, 1.1)),
        ("data.mpp = 1", ("data", "mpp"), 1.0),
    ],
)
def test_an_assignment_changes_one_field(tiny_run, assignment, path, value):
    found = override(tiny_run, assignment)
    assert at(found, *path) == value
    assert type(at(found, *path)) is type(value)
    assert has_field(tiny_run, assignment.partition("=")[0].strip())
    differing = [name for name in ("data", "network", "evaluator") if at(found, name) != at(tiny_run, name)]
    differing += [number for number in (0, 1) if found.stages[number] != tiny_run.stages[number]]
    assert differing == ([] if value == at(tiny_run, *path) else [path[1] if path[0] == "stages" else path[0]])


RUN, STAGE = "data, network, evaluator", "method, select, optim, keep, network"


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("optim.nope=1", ("'optim.nope'", "'nope'", "lr, steps, epochs")),
        ("refine.optim.nope=1", ("'refine.optim.nope'", "'nope'", "lr, steps, epochs")),
        ("network.nope=1", ("'network.nope'", "width, norm")),
        ("nope.steps=1", ("'nope.steps' cannot be set", f"'nope' is not among {RUN}, {STAGE}, pretrain, refine")),
        ("refine.nope=1", ("'refine.nope' cannot be set", f"'nope' is not among {STAGE}")),
        ("refine=1", ("'refine' is a group", STAGE)),
        ("refine.optim=1", ("'refine.optim' is a group", "lr, steps")),
        ("optim=3", ("'optim' is a group", "lr, steps")),
        ("select=3", ("'select' is a group", "shots")),
        ("optim.steps.x=3", ("'optim.steps.x'", "'steps' has no fields")),
        ("data.scale=(0.8,", ("'data.scale=(0.8,'", "without blanks", "data.scale=(0.8,1.2)")),
        ("1.2)", ("'1.2)'", "without blanks")),
        ("optim.steps", ("'optim.steps'", "without blanks")),
        ("optim.lr = 1", ("optim.lr = 1.0", "above 0 and below 1")),
        ("optim.steps=many", ("optim.steps = 'many'", "integer")),
        ("optim.steps=1.5", ("optim.steps = 1.5", "integer")),
        ("optim.steps=true", ("optim.steps = True", "integer")),
        ("network.norm=layer", ("network.norm = 'layer'", "'group'", "'batch'", "'frozen'")),
        ("data.scale=3", ("data.scale = 3", "array")),
        ("data.scale=(1,2,3)", ("data.scale = (1, 2, 3)", "2 items")),
        ("method.support=0", ("method.support = 0", "1 or more")),
        ("optim.compile=true", ("optim.compile = True", "method.first_order")),
    ],
)
def test_an_assignment_that_cannot_be_says_why(tiny_run, assignment, told):
    with pytest.raises(ConfigError) as error:
        override(tiny_run, assignment)
    assert [text for text in told if text not in str(error.value)] == []


@pytest.mark.parametrize(
    "path",
    [
        *("experiment", "scale", "row", "column", "part", "division", "seed", "stages", "score.splits", "label"),
        *("train.label", "select.sources", "select.splits", "subtype.select.sources", "data.layout"),
    ],
)
def test_what_tells_a_run_from_others_cannot_be_set(tiny_fold_run, path):
    assert not has_field(tiny_fold_run, path)
    with pytest.raises(ConfigError, match=f"'{path}' cannot be set: '[a-z_]+' is not among "):
        override(tiny_fold_run, f"{path}=x")


def test_a_run_has_the_fields_of_its_own_stages_and_settings(tiny_run, tiny_fold_run):
    assert has_field(tiny_run, "method.inner_lr")
    assert not has_field(with_stage(tiny_run, method=Transfer()), "method.inner_lr")
    assert has_field(tiny_run, "refine.optim.patience")
    assert not has_field(tiny_fold_run, "refine.optim.patience")
    assert not has_field(tiny_run, "optim.lr.x")
    assert not has_field(tiny_run, "refine")
    assert has_field(tiny_fold_run, "evaluator.margin_px")
    assert not has_field(tiny_run, "evaluator.margin_px")
