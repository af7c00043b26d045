from dataclasses import replace

import pytest

from histoseg.experiments import _grid, smoke, table1
from histoseg.experiments._available import Available, assumed
from histoseg.runs import catalog
from histoseg.runs.config import Select, public_name
from histoseg.runs.names import from_json, run_name, stage_name, to_json

TASKS = {name: catalog.load("histoseg.sources", name).TASK for name in table1.SOURCES}
ALL = {name: assumed(task) for name, task in TASKS.items()}
CHECKSUMS = {name: name for name in TASKS}


def held(name, splits, num_patients=1):
    return Available(task=TASKS[name], splits=frozenset(splits), num_patients=num_patients)


def runs(scale="paper", seeds=1, sources=ALL):
    return table1.runs(scale, seeds, sources)


def method_of(run):
    return public_name(run.stages[0].method)


@pytest.mark.parametrize("scale", table1.SCALES)
def test_sixteen_pretrainings_serve_thirty_two_cells(scale):
    found = runs(scale)
    assert len(found) == len({run_name(run, CHECKSUMS) for run in found}) == 32
    assert len({stage_name(run, 0, CHECKSUMS) for run in found}) == 16
    assert all(from_json(to_json(run)) == run for run in found)
    assert {(run.experiment, run.scale) for run in found} == {("table1", scale)}


def test_the_new_task_is_never_a_predecessor_and_all_others_are_four():
    for run in runs(seeds=2):
        pretrain, refine = run.stages
        assert run.row not in pretrain.select.sources
        assert len(pretrain.select.sources) == (4 if run.column.startswith("all_others.") else 1)
        assert (refine.select.sources, run.score.sources) == ((run.row,), (run.row,))


def test_predecessors_are_whole_and_the_new_task_is_trained_validated_and_tested_apart():
    for run in runs():
        pretrain, refine = run.stages
        assert (pretrain.label, pretrain.select.splits, pretrain.keep) == ("pretrain", (), "last")
        assert (refine.label, refine.select.splits, refine.keep) == ("refine", ("train",), "best val")
        assert (run.score.splits, refine.select.shots) == (("test",), 0)
        assert public_name(refine.method) == "transfer"  # Whichever method pretrained


def test_seeds_are_replicates_of_the_same_places():
    found = runs(seeds=3)
    assert len(found) == 3 * 32
    assert {run.seed for run in found} == {0, 1, 2}
    assert len({(run.row, run.column) for run in found}) == 32
    assert {run.replicate for run in found} == {"seed 0", "seed 1", "seed 2"}


def test_the_papers_scale_has_the_papers_numbers():
    """MetaHistoSeg, Sec. 3.1."""
    maml, transfer = (next(run for run in runs() if method_of(run) == name) for name in ("maml", "transfer"))
    method = maml.stages[0].method
    assert (method.episodes, method.support, method.query) == (4, 8, 8)
    assert (method.inner_lr, method.inner_steps, method.first_order) == (0.01, 1, False)
    assert transfer.stages[0].method.batch == 64
    for run in (maml, transfer):
        optim = run.stages[0].optim
        assert (optim.lr, optim.steps, run.data.patch_px) == (1e-4, 300_000, 768)
        assert (run.data.scale, run.data.rotate_deg, run.network.width) == ((0.8, 1.2), 15.0, 32)
        assert (run.data.brightness, run.data.contrast, run.data.saturation, run.data.hue) == (0.2, 0.2, 0.1, 0.1)


def test_refining_is_as_in_the_published_codes_readme():
    """50 epochs of batches of 32 at a rate of 1e-3, in the precision of pretraining."""
    for run in runs():
        refine = run.stages[1]
        assert (refine.optim.epochs, refine.optim.steps, refine.optim.lr) == (50, 0, 1e-3)
        assert (refine.method.batch, refine.optim.precision, refine.optim.patience) == (32, "bf16", 0)
    assert {run.stages[1].optim.precision for run in runs("reference-code")} == {"fp32"}


def test_both_methods_see_as_many_images_in_a_step():
    for scale in ("laptop", "real-cpu", "paper"):
        maml, transfer = (
            next(run.stages[0].method for run in runs(scale) if method_of(run) == name) for name in ("maml", "transfer")
        )
        assert maml.episodes * (maml.support + maml.query) == transfer.batch


@pytest.mark.parametrize(
    ("sources", "cell", "reason"),
    [
        ({"glas": ALL["glas"]}, ("monuseg", "glas"), "no shards of monuseg"),
        ({"glas": ALL["glas"]}, ("glas", "monuseg"), "no shards of monuseg"),
        ({"glas": ALL["glas"]}, ("glas", "all_others"), "no shards of all_others"),
        (
            {"glas": held("glas", {"train"}), "monuseg": ALL["monuseg"]},
            ("glas", "monuseg"),
            "too few patients (1) for val and test",
        ),
        ({"glas": held("glas", {"train", "test"}, 2)}, ("glas", "monuseg"), "too few patients (2) for val"),
    ],
)
def test_a_cell_that_cannot_be_had_says_why(sources, cell, reason):
    row, column = cell
    for method in ("maml", "transfer"):
        assert table1.why_missing(row, f"{column}.{method}", sources) == reason
    assert cell not in {(run.row, run.column.partition(".")[0]) for run in runs("laptop", 1, sources)}


def test_a_predecessor_needs_no_splits():
    """It is trained on as a whole, so few patients are enough."""
    sources = {"glas": ALL["glas"], "monuseg": held("monuseg", {"train"})}
    assert table1.why_missing("glas", "monuseg.maml", sources) == ""
    assert {run.row for run in runs("laptop", 1, sources)} == {"glas"}


def test_all_others_are_those_that_are_there():
    sources = {name: ALL[name] for name in ("glas", "monuseg")}
    found = [run for run in runs("laptop", 1, sources) if run.row == "glas"]
    assert {run.column for run in found} == {
        f"{before}.{method}" for before in ("all_others", "monuseg") for method in ("maml", "transfer")
    }
    assert {run.stages[0].select for run in found} == {Select(sources=("monuseg",))}


def test_an_experiment_may_have_scales_and_tasks_of_its_own():
    grid = _grid.LeaveOneTaskOut(
        experiment="mine",
        sources=("glas", "monuseg"),
        new_tasks=("monuseg",),
        columns=("glas",),
        scales={"tiny": replace(table1.SCALES["laptop"], methods={"maml": table1.SCALES["laptop"].methods["maml"]})},
    )
    (run,) = grid.runs("tiny", 1, ALL)
    assert (run.experiment, run.scale, run.row, run.column) == ("mine", "tiny", "monuseg", "glas.maml")


def test_the_smoke_test_is_two_cells():
    sources = {name: assumed(catalog.load("histoseg.sources", name).TASK) for name in smoke.SOURCES}
    found = smoke.runs("laptop", 1, sources)
    assert [(run.row, run.column) for run in found] == [("glas", "synthetic.maml"), ("glas", "synthetic.transfer")]
    assert all(from_json(to_json(run)) == run for run in found)


def test_every_number_of_the_paper_has_a_place():
    assert set(table1.SPEC.paper.numbers) == set(table1.SPEC.keys)
    assert table1.SPEC.paper.score[0] == "miou_reference"
