"""An experiment against what a store holds: which runs there are, why nothing can be run, and what to do about it."""

from dataclasses import replace

import pytest

from histoseg.errors import ConfigError
from histoseg.experiments import smoke
from histoseg.experiments._available import assumed
from histoseg.pipeline import plan
from histoseg.pipeline.plan import assigned_to_runs, available, data_of, load_experiment, make_plan
from histoseg.runs import catalog
from histoseg.runs.names import run_name, stage_name
from histoseg.shards.index import index_key
from histoseg.store.objects import connect
from histoseg.types import FOLDS
from tests.synthetic import make_index

ALL = ("train", "val", "test")


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path / 'store'}")


@pytest.fixture
def hold(store, monkeypatch):
    """Has sources in the store, each with an image in those splits."""

    def hold(layout="64px", **splits):
        for source in splits:
            store.put(index_key(source, layout), b"{}")
        made = {source: make_index(source, names, layout) for source, names in splits.items()}
        monkeypatch.setattr(plan, "open_index", lambda store, source, layout: made[source])

    return hold


def test_runs_are_grouped_by_their_first_stage_and_named_by_their_result(store, hold):
    hold(glas=ALL, synthetic=ALL)
    found = make_plan("smoke", store, "laptop", 2, [])
    assert (found.experiment, found.absent) == ("smoke", ())
    assert [(run.row, run.column, run.seed) for run in found.runs] == [
        ("glas", "synthetic.maml", 0),
        ("glas", "synthetic.transfer", 0),
        ("glas", "synthetic.maml", 1),
        ("glas", "synthetic.transfer", 1),
    ]
    sums = {"glas": "glas", "synthetic": "synthetic"}  # As `make_index` has them
    assert found.checksums == sums
    assert found.cells == {run_name(run, sums): run for run in found.runs}
    assert found.groups == {stage_name(run, 0, sums): [run] for run in found.runs}


def test_sources_that_are_lacking_leave_out_their_runs_only(store, hold):
    hold("96px", glas=ALL, monuseg=ALL)
    found = make_plan("table1", store, "laptop", 1, [])
    assert {run.row for run in found.runs} == {"glas", "monuseg"}
    assert set(found.absent) == {"gleason2019", "breastpathq", "digestpath"}
    assert list(found.sources) == ["monuseg", "glas"]
    # Two methods; "all others" of either is the other, so that cell shares the training of the named one.
    assert (len(found.runs), len(found.groups), len(found.cells)) == (2 * 2 * 2, 2 * 2, 2 * 2 * 2)


def test_what_is_known_of_a_source_are_its_task_splits_and_patients(store, hold):
    hold(glas=("train", "test"), synthetic=ALL)
    indexes = {name: plan.open_index(store, name, "64px") for name in ("glas", "synthetic")}
    known = available(indexes)
    assert (known["glas"].splits, known["glas"].num_patients) == ({"train", "test"}, 2)
    assert (known["synthetic"].splits, known["synthetic"].num_patients) == (set(ALL), 3)
    assert known["glas"].task == indexes["glas"].task
    folds = {"lizard": make_index("lizard", (*FOLDS, "external"))}
    assert available(folds)["lizard"].splits == {*FOLDS, "external"}


def test_an_unknown_experiment_or_scale_lists_the_choices(store):
    with pytest.raises(ConfigError, match=r"'nope' in experiments; choose from affinity, .*smoke, table1"):
        make_plan("nope", store, "laptop", 1, [])
    with pytest.raises(ConfigError, match=r"table1 has no scale 'nope'; choose from laptop, real-cpu, paper, ref"):
        make_plan("table1", store, "nope", 1, [])
    with pytest.raises(ConfigError, match=r"smoke has no scale 'paper'; choose from laptop$"):
        data_of("smoke", "paper", [])
    assert load_experiment("smoke", "laptop") is smoke


def test_where_nothing_is_prepared_the_command_that_helps_is_named(store):
    command = f"`histoseg prepare synthetic glas --raw FOLDER --store {store.url} --experiment smoke --scale laptop`"
    with pytest.raises(ConfigError) as error:
        make_plan("smoke", store, "laptop", 1, [])
    assert str(error.value).startswith("smoke: ")
    assert f" from no sources at {store.url}: no shards of glas; smoke at laptop reads 64px: {command}" in str(
        error.value
    )


def test_sources_in_another_layout_are_named_with_the_command_that_helps(store, hold):
    hold("256px", glas=ALL)
    command = f"`histoseg prepare synthetic glas --raw FOLDER --store {store.url} --experiment smoke --scale laptop`"
    with pytest.raises(ConfigError) as error:
        make_plan("smoke", store, "laptop", 1, [])
    parts = ["no shards of glas", "glas is prepared as 256px", f"smoke at laptop reads 64px: {command}"]
    assert str(error.value).endswith("; ".join(parts))


def test_a_layout_that_assignments_changed_is_asked_for_by_its_size(store):
    with pytest.raises(ConfigError, match=r"smoke at laptop reads 32px: `.* synthetic glas .* --patch-px 32`"):
        make_plan("smoke", store, "laptop", 1, ["data.patch_px=32"])


def test_a_layout_that_prepare_cannot_be_asked_for_is_left_to_a_submission(store):
    command = f"`make submit EXP=cerberus SCALE=laptop DATA=FOLDER STORE={store.url}` with the same SET"
    with pytest.raises(ConfigError, match=rf"reads 96px-0\.25mpp-folds: {command}"):
        make_plan("cerberus", store, "laptop", 1, ["data.mpp=0.25"])


def test_only_sources_that_are_absent_are_to_be_prepared(store, hold):
    hold(synthetic=ALL)
    with pytest.raises(ConfigError, match=r"from synthetic at .*: no shards of glas; .*`histoseg prepare glas --raw"):
        make_plan("smoke", store, "laptop", 1, [])


def test_too_few_patients_are_said_where_nothing_is_absent(store, hold):
    hold(glas=("train", "test"), synthetic=ALL)
    with pytest.raises(ConfigError, match=r"glas at .*: too few patients \(2\) for val; prepare them again with more"):
        make_plan("smoke", store, "laptop", 1, [])


def test_why_no_network_over_folds_can_be_trained(store):
    with pytest.raises(ConfigError, match=r": no shards with gland; no shards with lumen; cerberus_table3 at laptop"):
        make_plan("cerberus_table3", store, "laptop", 1, [])


def test_too_few_structures_are_said_where_every_source_is_there(store, hold):
    """A row that compares one network of several structures with others needs two of them at least."""
    hold("96px-0.5mpp-folds", lizard=(*FOLDS, "external"))
    with pytest.raises(ConfigError, match=r"from lizard at .*: .*no shards with gland"):
        make_plan("cerberus_table3", store, "laptop", 1, [])


def test_a_cerberus_of_one_structure_trains(store, hold):
    hold("96px-0.5mpp-folds", lizard=(*FOLDS, "external"))
    (run,) = make_plan("cerberus", store, "laptop", 1, []).runs
    assert run.sources == ("lizard",)
    assert [stage.label for stage in run.stages] == ["train", "subtype"]


def test_what_is_prepared_but_not_read_is_named_with_the_reason(store, hold, caplog):
    hold("96px-0.5mpp-folds", lizard=(*FOLDS, "external"), pannuke=FOLDS, consep=FOLDS)
    assert make_plan("cerberus", store, "laptop", 1, []).runs[0].sources == ("lizard",)
    for name in ("pannuke", "consep"):
        reason = f"nuclei is learnt from lizard, and {name} is for where none of them is prepared"
        assert f"{name} is prepared, but no run of cerberus reads it: {reason}" in caplog.text
    caplog.clear()
    hold(glas=ALL, synthetic=ALL)
    make_plan("smoke", store, "laptop", 1, [])
    assert "is prepared" not in caplog.text


def test_a_copied_experiment_that_keeps_the_old_name_is_refused(store, hold, monkeypatch):
    hold(glas=ALL, synthetic=ALL)
    monkeypatch.setattr(smoke, "runs", replace(smoke._GRID, experiment="table1").runs)
    with pytest.raises(ConfigError, match=r"smoke\.py: .*'table1'; it must be 'smoke'"):
        make_plan("smoke", store, "laptop", 1, [])


@pytest.mark.parametrize("assignment", ["row=glas", "column=x", "experiment=../foo", "seed=5", "scale=paper"])
def test_what_names_a_run_cannot_be_set(store, hold, assignment):
    hold(glas=ALL, synthetic=ALL)
    with pytest.raises(ConfigError, match=r"cannot be set: .* is not among data, network, evaluator, method, select, "):
        make_plan("smoke", store, "laptop", 1, [assignment])


def test_assignments_reach_the_stage_that_they_name(store, hold):
    hold("32px", glas=ALL, synthetic=ALL)
    sets = ["data.patch_px=32", "optim.steps=7", "refine.optim.epochs=3", "network.width=8", "evaluator.bootstrap=9"]
    for run in make_plan("smoke", store, "laptop", 1, sets).runs:
        pretrain, refine = run.stages
        assert (pretrain.optim.steps, refine.optim.steps, refine.optim.epochs) == (7, 0, 3)
        assert (run.data.patch_px, run.network.width, run.evaluator.bootstrap) == (32, 8, 9)


def test_assignments_reach_the_runs_that_have_the_field(store, hold, caplog):
    """Other runs of the same row are no matter for a line."""
    hold(glas=ALL, synthetic=ALL)
    with caplog.at_level("INFO"):
        maml, transfer = make_plan("smoke", store, "laptop", 1, ["method.first_order=true", "method.batch=3"]).runs
    assert "no such setting" not in caplog.text
    assert (maml.stages[0].method.first_order, transfer.stages[0].method.batch) == (True, 3)


@pytest.mark.parametrize(
    ("experiment", "assignment", "message"),
    [
        (
            "smoke",
            "bogus.x=1",
            r"'bogus' is not among data, network, evaluator, method, select, optim, keep, network, pretrain",
        ),
        ("smoke", "refine.bogus=1", r"'refine\.bogus' cannot be set: 'bogus' is not among .*method, select, optim"),
        ("smoke", "method.first_orde=true", r"no field 'method\.first_orde'; 'first_orde' is not among support, query"),
        ("smoke", "method.support=two", r"method\.support = 'two': must be a valid integer"),
        ("smoke", "optim.step=3", r"no field 'optim\.step'; 'step' is not among lr, steps"),
        ("smoke", "data.path_px=32", r"no field 'data\.path_px'; 'path_px' is not among patch_px, "),
        ("smoke", "data.patch_px=33", r"data\.patch_px = 33: must be a multiple of 16"),
        ("smoke", "data.scale=(0.8,", r"'data\.scale=\(0\.8,' .*write it without blanks, as data\.scale=\(0\.8,1\.2"),
        ("smoke", "optim.steps", r"'optim\.steps' is not an assignment"),
        ("smoke", "subtype.optim.steps=1", r"'subtype' is not among .*, pretrain, refine"),
        ("cerberus_table4", "network.weightz=x", r"no field 'network\.weightz'; 'weightz' is not among encoder, "),
        ("cerberus_table4", "method.batch=0", r"method\.batch = 0: must be 1 or more"),
        ("cerberus_table4", "subtype.optim.steps=1", r"'subtype' is not among .*, train$"),
    ],
)
def test_an_assignment_that_no_run_can_take_is_refused_before_anything_is_written(experiment, assignment, message):
    with pytest.raises(ConfigError, match=message):
        data_of(experiment, "laptop", [assignment])


def test_an_assignment_that_no_prepared_run_has_lists_the_fields(store, hold):
    hold("96px", glas=ALL, monuseg=ALL)
    with pytest.raises(ConfigError, match=r"no field 'method\.nope'; 'nope' is not among "):
        make_plan("table1", store, "laptop", 1, ["method.nope=1"])


def test_what_only_some_runs_have_can_be_set():
    """Table 1 has methods of two kinds, and only some rows of Table 2 are subtyped."""
    for name, sets in (
        ("table1", ["optim.steps=3", "method.first_order=true", "method.batch=4"]),
        ("cerberus_table2", ["method.mixed=false", "subtype.method.batch=3", "network.width=8"]),
    ):
        assert data_of(name, "laptop", sets) == data_of(name, "laptop", [])


def test_the_data_that_assignments_ask_for_are_known_without_the_sources():
    assert data_of("smoke", "laptop", ["data.patch_px=32", "optim.steps=1"]).patch_px == 32


def test_a_source_that_an_experiment_passes_over_is_named_with_the_one_that_it_takes(store, hold, caplog):
    hold(data_of("annotation_loop", "laptop", []).layout, synthetic_nuclei=FOLDS, monuseg=FOLDS)
    make_plan("annotation_loop", store, "laptop", 1, [])
    assert "no run of annotation_loop reads it: nuclei is learnt from synthetic_nuclei" in caplog.text


def test_rows_that_cannot_take_a_value_stay_as_they_are_and_are_named(caplog):
    """nnU-Net's rate falls to 0 by itself, so it has no step after which it drops."""
    module = catalog.load("histoseg.experiments", "cerberus_table2")
    sources = {name: assumed(catalog.load("histoseg.sources", name).TASK) for name in ("lizard",)}
    runs = module.runs("laptop", 1, sources)
    found = assigned_to_runs(runs, ["optim.steps=90", "optim.drop_at=70"])
    drops = {run.row: run.stages[0].optim.drop_at for run in found}
    assert drops.pop("nnunet") == 0
    assert set(drops.values()) == {70}
    assert {run.stages[0].optim.steps for run in found} == {90}
    (line,) = caplog.messages
    assert line.startswith("optim.drop_at=70 is not for nnunet: optim.drop_at = 70: must be 0 where optim.schedule is")
    with pytest.raises(ConfigError, match=r"optim.lr = 2"):
        assigned_to_runs(runs, ["optim.lr=2"])


def test_rows_without_a_setting_stay_as_they_are_and_are_named(caplog):
    """As networks that begin with no given weights do with START."""
    module = catalog.load("histoseg.experiments", "cerberus_table3")
    sources = {name: assumed(catalog.load("histoseg.sources", name).TASK) for name in ("glas", "crag")}
    runs = module.runs("laptop", 1, sources)
    with caplog.at_level("INFO"):
        found = assigned_to_runs(runs, [assignment := "network.weights='0123456789abcdef'"])
    assert caplog.messages == [f"{assignment}: no such setting in mildnet, rotanet, nnunet, which stay as they are"]
    assert {run.row for run in found if run in runs} == {"mildnet", "rotanet", "nnunet"}
