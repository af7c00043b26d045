import json
from dataclasses import replace

import pytest

from histoseg.errors import ConfigError
from histoseg.methods.maml import Maml
from histoseg.methods.transfer import Transfer
from histoseg.runs.config import Data, Eval, Model, Optim, Refine
from histoseg.runs.names import cell_id, from_json, has_field, override, pretraining_id, to_json

CHECKSUMS = {"synthetic": "a", "glas": "b", "monuseg": "c"}


@pytest.mark.parametrize("method", [Maml(task_weights=(("glas", 0.5),)), Transfer(batch=3)])
def test_a_run_survives_json(tiny_run, method):
    run = replace(tiny_run, method=method)
    assert from_json(json.loads(json.dumps(to_json(run)))) == run


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("optim.steps=200", "optim.steps", 200),
        ("optim.lr=1e-3", "optim.lr", 1e-3),
        ("optim.lr = 1", "optim.lr", None),
        ("method.first_order=true", "method.first_order", True),
        ("data.scale=(0.9,1.1)", "data.scale", (0.9, 1.1)),
        ("model.norm=batch", "model.norm", "batch"),
    ],
)
def test_override(tiny_run, assignment, path, value):
    if value is None:
        with pytest.raises(ConfigError, match=r"optim.lr = 1.0: must be above 0 and below 1"):
            override(tiny_run, assignment)
        return
    found = override(tiny_run, assignment)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optim.nope=1", "'nope' is not among lr, steps"),
        ("optim.nope=1", "no field 'optim.nope'"),
        ("nope.steps=1", "'nope' is not among method, data, model, optim, refine, eval"),
        ("seed=5", "'seed' cannot be set: 'seed' is not among method, data"),
        ("experiment=../foo", "'experiment' cannot be set"),
        ("new_task=glas", "'new_task' cannot be set"),
        ("predecessors=('a',)", "'predecessors' cannot be set"),
        ("data.scale=(0.8,", r"'data.scale=\(0.8,' is no assignment; write it without blanks, as data.scale=\(0.8,1.2"),
        ("1.2)", "is no assignment; write it without blanks"),
        ("optim.steps", "is no assignment"),
        ("optim=3", "is a group; set one of lr"),
        ("optim.steps.x=3", "has no fields"),
        ("optim.steps=many", "must be int"),
        ("optim.steps=1.5", "must be int"),
        ("optim.steps=true", "must be int"),
        ("model.norm=layer", "must be one of group, batch, frozen"),
        ("data.scale=3", "must be a list"),
        ("data.scale=(1,2,3)", "must be a list of 2"),
        ("method.support=0", r"method.support = 0"),
    ],
)
def test_an_override_that_cannot_be_says_why(tiny_run, assignment, message):
    with pytest.raises(ConfigError, match=message):
        override(tiny_run, assignment)


@pytest.mark.parametrize("field", ["row", "structures", "train", "test", "sources", "scale"])
def test_what_says_which_run_it_is_cannot_be_set(tiny_fold_run, field):
    choices = "method, data, network, optim, subtyping, subtype_optim, windows"
    with pytest.raises(ConfigError, match=f"'{field}' cannot be set: '{field}' is not among {choices}"):
        override(tiny_fold_run, f"{field}=x")


def test_has_field(tiny_run):
    assert has_field(tiny_run, "method.inner_lr")
    assert not has_field(replace(tiny_run, method=Transfer()), "method.inner_lr")
    assert not has_field(tiny_run, "optim.lr.x")


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        (Data, "patch_px", 100),
        (Data, "scale", (1.2, 0.8)),
        (Data, "hue", 0.6),
        (Data, "rotate_deg", 200.0),
        (Model, "width", 6),
        (Optim, "lr", 0.0),
        (Optim, "steps", -1),
        (Refine, "epochs", 0),
        (Refine, "batch", 0),
        (Refine, "shots", -1),
        (Eval, "window_px", 50),
        (Eval, "overlap", 1.0),
        (Eval, "bootstrap", -1),
    ],
)
def test_nonsense_is_refused_with_its_path(part, field, value):
    with pytest.raises(ConfigError, match=rf"{part.__name__.lower()}\.{field} = "):
        part(**{field: value})


def test_a_new_task_is_no_predecessor(tiny_run):
    with pytest.raises(ConfigError, match="new_task"):
        replace(tiny_run, new_task="glas")


def test_second_order_cannot_be_compiled(tiny_run):
    with pytest.raises(ConfigError, match=r"optim\.compile = True: must be false unless method\.first_order"):
        override(tiny_run, "optim.compile=true")
    assert override(override(tiny_run, "method.first_order=true"), "optim.compile=true").optim.compile


def test_json_of_another_version_is_refused(tiny_run):
    record = to_json(tiny_run)
    with pytest.raises(ConfigError, match="no field colour"):
        from_json(record | {"colour": 1})
    del record["optim"]["lr"]
    with pytest.raises(ConfigError, match="lacks lr"):
        from_json(record)


def test_ids_follow_what_they_stand_for(tiny_run):
    """A cell depends on everything, its pretraining only on what comes before refining."""
    cell, pretraining = cell_id(tiny_run, CHECKSUMS), pretraining_id(tiny_run, CHECKSUMS)
    assert (cell, pretraining) == (cell_id(tiny_run, CHECKSUMS), pretraining_id(tiny_run, CHECKSUMS))
    later = replace(tiny_run, refine=Refine(epochs=3))
    assert cell_id(later, CHECKSUMS) != cell
    assert pretraining_id(later, CHECKSUMS) == pretraining
    earlier = override(tiny_run, "optim.steps=9")
    assert pretraining_id(earlier, CHECKSUMS) != pretraining
    new_data = CHECKSUMS | {"monuseg": "d"}  # the new task's shards
    assert cell_id(tiny_run, new_data) != cell
    assert pretraining_id(tiny_run, new_data) == pretraining
    assert pretraining_id(tiny_run, CHECKSUMS | {"glas": "d"}) != pretraining
