import pytest

from histoseg.experiments import table1
from histoseg.runs.config import method_name
from histoseg.runs.names import from_json, pretraining_id, to_json
from tests.synthetic import make_index

ALL = {name: make_index(name) for name in table1.SOURCES}
CHECKSUMS = {name: index.checksum for name, index in ALL.items()}


@pytest.mark.parametrize("scale", table1.SCALES)
def test_sixteen_pretrainings_serve_thirty_two_cells(scale):
    runs = table1.runs(scale, 1, ALL)
    assert len(runs) == 32
    assert len({pretraining_id(run, CHECKSUMS) for run in runs}) == 16
    assert all(from_json(to_json(run)) == run for run in runs)


def test_the_new_task_is_never_a_predecessor_and_all_others_are_four():
    for run in table1.runs("paper", 2, ALL):
        assert run.new_task not in run.predecessors
        assert len(run.predecessors) == (4 if run.column == "all_others" else 1)


def test_the_papers_scale_has_the_papers_numbers():
    """MetaHistoSeg, Sec. 3.1."""
    maml, transfer = (
        next(run for run in table1.runs("paper", 1, ALL) if method_name(run.method) == name)
        for name in ("maml", "transfer")
    )
    assert (maml.method.episodes, maml.method.support, maml.method.query) == (4, 8, 8)
    assert (maml.method.inner_lr, maml.method.inner_steps, maml.method.first_order) == (0.01, 1, False)
    assert transfer.method.batch == 64
    for run in (maml, transfer):
        assert (run.optim.lr, run.optim.steps, run.data.patch_px) == (1e-4, 300_000, 768)
        assert (run.data.scale, run.data.rotate_deg, run.model.width) == ((0.8, 1.2), 15.0, 32)
        assert (run.data.brightness, run.data.contrast, run.data.saturation, run.data.hue) == (0.2, 0.2, 0.1, 0.1)


def test_both_methods_see_as_many_images_in_a_step():
    for scale in ("laptop", "real-cpu", "paper"):
        sizes = {
            name: next(run.method for run in table1.runs(scale, 1, ALL) if method_name(run.method) == name)
            for name in ("maml", "transfer")
        }
        maml = sizes["maml"]
        assert maml.episodes * (maml.support + maml.query) == sizes["transfer"].batch


@pytest.mark.parametrize(
    ("sources", "cell", "reason"),
    [
        ({"glas": ALL["glas"]}, ("monuseg", "glas"), "no shards of monuseg"),
        ({"glas": ALL["glas"]}, ("glas", "monuseg"), "no shards of monuseg"),
        (
            {"glas": make_index("glas", ("train",))},
            ("glas", "monuseg"),
            r"too few patients \(1\) for val and test",
        ),
    ],
)
def test_a_cell_that_cannot_be_had_says_why(sources, cell, reason):
    import re

    assert re.search(reason, table1.why_missing(*cell, sources))
    assert cell not in {(run.new_task, run.column) for run in table1.runs("laptop", 1, sources)}


def test_all_others_are_those_that_are_there():
    sources = {name: ALL[name] for name in ("glas", "monuseg")}
    runs = table1.runs("laptop", 1, sources)
    assert {run.predecessors for run in runs if run.column == "all_others" and run.new_task == "glas"} == {("monuseg",)}


def test_every_number_of_the_paper_has_a_place():
    assert set(table1.SPEC.paper.numbers) == set(table1.SPEC.keys)
    assert table1.SPEC.paper.score[0] == "miou_reference"
