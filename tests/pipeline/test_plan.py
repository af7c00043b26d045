"""An experiment against what a store holds: why nothing can be run, and what to do about it."""

from dataclasses import replace

import pytest

from histoseg.errors import ConfigError
from histoseg.experiments import smoke
from histoseg.pipeline import plan
from histoseg.pipeline.plan import data_of, make_plan
from histoseg.store.keys import index_key
from histoseg.store.objects import connect
from tests.synthetic import make_index


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path / 'store'}")


def hold(store, monkeypatch, layout="64px", **splits):
    """Have sources in the store, each with an image in those splits."""
    for source in splits:
        store.put(index_key(source, layout), b"{}")
    made = {source: make_index(source, names, layout) for source, names in splits.items()}
    monkeypatch.setattr(plan, "open_index", lambda store, source, layout: made[source])


ALL = ("train", "val", "test")


def test_sources_in_another_layout_are_named_with_the_command_that_helps(store, monkeypatch):
    hold(store, monkeypatch, "256px", glas=ALL)
    with pytest.raises(ConfigError) as error:
        make_plan("smoke", store, "laptop", 1, [])
    command = f"`histoseg prepare synthetic glas --raw FOLDER --store {store.url} --experiment smoke --scale laptop`"
    assert str(error.value) == (
        f"smoke: no cell can be had from no sources at {store.url}: no shards of glas; glas is prepared as 256px; "
        f"smoke at laptop reads 64px: {command}"
    )


def test_a_layout_that_assignments_changed_is_asked_for_by_its_size(store):
    with pytest.raises(ConfigError, match=r"smoke at laptop reads 32px: `.* synthetic glas .* --patch-px 32`"):
        make_plan("smoke", store, "laptop", 1, ["data.patch_px=32"])


def test_too_few_patients_are_said_where_nothing_is_absent(store, monkeypatch):
    hold(store, monkeypatch, glas=("train", "test"), synthetic=ALL)
    with pytest.raises(ConfigError, match=r"glas at .*: too few patients \(2\) for val; prepare them anew"):
        make_plan("smoke", store, "laptop", 1, [])


def test_why_no_network_over_folds_can_be_trained(store):
    with pytest.raises(ConfigError, match=r"no shards with gland; no shards with lumen; cerberus_table3 at laptop"):
        make_plan("cerberus_table3", store, "laptop", 1, [])


@pytest.mark.parametrize("assignment", ["new_task=glas", "column=x", "experiment=../foo", "seed=5", "scale=paper"])
def test_what_names_a_run_cannot_be_set(store, monkeypatch, assignment):
    hold(store, monkeypatch, glas=ALL, synthetic=ALL)
    with pytest.raises(ConfigError, match=r"cannot be set: .* is not among method, data, model, optim, refine, eval"):
        make_plan("smoke", store, "laptop", 1, [assignment])


def test_a_copied_experiment_that_keeps_the_old_name_is_refused(store, monkeypatch):
    hold(store, monkeypatch, glas=ALL, synthetic=ALL)
    monkeypatch.setattr(smoke, "runs", replace(smoke._GRID, experiment="table1").runs)
    with pytest.raises(ConfigError, match=r"smoke\.py: its runs are of the experiment 'table1'; it must be 'smoke'"):
        make_plan("smoke", store, "laptop", 1, [])


def test_a_wrong_field_of_the_data_is_named_in_full():
    with pytest.raises(ConfigError, match=r"no field 'data\.path_px'; 'path_px' is not among patch_px, "):
        data_of("smoke", "laptop", ["data.path_px=32"])
    with pytest.raises(ConfigError, match=r"'data\.scale=\(0\.8,' is no assignment; write it without blanks"):
        data_of("smoke", "laptop", ["data.scale=(0.8,", "1.2)"])
    assert data_of("smoke", "laptop", ["data.patch_px=32", "optim.steps=1"]).patch_px == 32


def test_a_wrong_assignment_is_refused_before_anything_is_written():
    with pytest.raises(ConfigError, match=r"'optim\.step'.*steps"):
        data_of("table1", "laptop", ["optim.step=3"])
    assert data_of("table1", "laptop", ["optim.steps=3", "method.first_order=true"]) == data_of("table1", "laptop", [])


@pytest.mark.parametrize(
    ("experiment", "assignment", "message"),
    [
        ("smoke", "bogus.x=1", "'bogus' is not among method, data, model, optim, refine, eval"),
        ("smoke", "method.first_orde=true", r"no method has a field 'method\.first_orde': .*; maml has .*first_order"),
        ("smoke", "method.support=two", r"method\.support = 'two': must be int"),
        ("cerberus_table4", "network.weightz=x", r"no field 'network\.weightz'; 'weightz' is not among encoder, "),
        ("cerberus_table4", "method.batch=0", r"method\.batch = 0: must be 1 or more"),
    ],
)
def test_what_no_scale_has_is_judged_without_the_sources(experiment, assignment, message):
    with pytest.raises(ConfigError, match=message):
        data_of(experiment, "laptop", [assignment])


def test_what_only_methods_and_runs_have_can_be_set():
    sets = ["method.mixed=false", "subtyping.batch=3", "network.width=4"]
    assert data_of("cerberus_table4", "laptop", sets) == data_of("cerberus_table4", "laptop", [])
