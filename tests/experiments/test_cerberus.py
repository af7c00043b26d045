"""The runs behind Cerberus' tables, and the paper's numbers beside them."""

from dataclasses import replace

import pytest

from histoseg.experiments import _cerberus, _cerberus_paper
from histoseg.runs import catalog
from histoseg.runs.config import FoldRun
from histoseg.runs.names import from_json, pretraining_id, to_json
from histoseg.types import FOLDS
from tests.synthetic import make_index

NAMES = ("cerberus", "cerberus_table2", "cerberus_table3", "cerberus_table4", "cerberus_table5")
ALL = {name: make_index(name, (*FOLDS, "external"), "448px-0.5mpp-folds") for name in _cerberus.SOURCES}
CHECKSUMS = {name: index.checksum for name, index in ALL.items()}


def module(name):
    return catalog.load("histoseg.experiments", name)


def trainings(name, scale="paper", sources=ALL):
    return {pretraining_id(run, CHECKSUMS) for run in module(name).runs(scale, 1, sources)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", _cerberus.SCALES)
def test_every_run_can_be_written_down(name, scale):
    runs = module(name).runs(scale, 1, ALL)
    assert runs
    assert all(isinstance(run, FoldRun) and from_json(to_json(run)) == run for run in runs)
    assert len({run.address for run in runs}) == len(runs)


def test_table4_trains_a_network_for_each_single_task():
    """Two rows of three networks, six rows of one, three divisions each."""
    runs = module("cerberus_table4").runs("paper", 1, ALL)
    assert len(runs) == (2 * 3 + 6) * 3
    assert len(trainings("cerberus_table4")) == 36
    assert {run.network.encoder for run in runs if run.row.startswith("unet")} == {"unet"}
    assert {run.row for run in runs if run.network.weights == "imagenet"} == {"in_mixed", "in_mixed_pc"}
    assert {run.row for run in runs if not run.method.mixed} == {"unet_stl", "unet_fixed", "stl", "fixed"}


def test_tables_share_their_trainings():
    """Cerberus is one training per division, whichever table asks for it; so is the U-Net of one structure."""
    assert trainings("cerberus_table3") <= trainings("cerberus_table4") | trainings("cerberus_table2")
    assert len(trainings("cerberus_table2") & trainings("cerberus_table4")) == 2 * 3  # U-Net of nuclei, Cerberus
    assert len(trainings("cerberus_table5") & trainings("cerberus_table4")) == 3


def test_without_imagenet_rows_that_name_it_share_a_training():
    assert len(trainings("cerberus_table4", "laptop")) == 33


def test_nothing_is_scored_on_what_was_trained_on():
    for name in NAMES:
        for run in module(name).runs("paper", 1, ALL):
            assert run.test not in run.train
    assert {(run.train, run.test) for run in module("cerberus_table5").runs("paper", 1, ALL)} == {
        (("fold1",), "fold3"),
        (("fold2",), "fold1"),
        (("fold3",), "fold2"),
    }


def test_the_papers_schedule():
    """Sec. 4.4: 90,000 steps of Adam, 1e-3 until step 70,000, then 1e-4; 9 samples on each of 3 GPUs; 448 and 144."""
    for run in module("cerberus_table4").runs("paper", 1, ALL):
        assert run.optim.steps == 90_000
        assert [run.optim.lr_at(step) for step in (1, 70_000, 70_001)] == pytest.approx([1e-3, 1e-3, 1e-4])
        assert run.method.batch == 27
        assert (run.data.patch_px, run.data.tissue_px, run.data.mpp) == (448, 144, 0.5)
        assert run.method.loss_weights == ()


def test_an_experiment_may_have_scales_and_sources_of_its_own():
    sizes = replace(_cerberus.SCALES["laptop"], width=12)
    grid = replace(
        module("cerberus_table4")._GRID,
        scales={"tiny": sizes},
        sources_of={**_cerberus.SOURCES_OF, "nuclei": (("pannuke",),)},
    )
    (run, *_) = (run for run in grid.runs("tiny", 1, ALL) if run.structures == ("nuclei",))
    assert (run.network.width, run.sources) == (12, ("pannuke",))


def test_nuclei_are_learnt_from_lizard_or_what_stands_in_for_it():
    grid = module("cerberus_table4")._GRID
    assert grid.chosen("nuclei", ALL) == ("lizard", "cerberus_nuclei")
    without = {name: ALL[name] for name in ("glas", "consep", "monuseg", "pannuke")}
    assert grid.chosen("nuclei", without) == ("consep", "monuseg")
    rows = {run.row: run.structures for run in module("cerberus_table4").runs("paper", 1, without)}
    assert rows["mixed"] == ("gland", "nuclei")


@pytest.mark.parametrize(
    ("row", "column", "sources", "reason"),
    [
        ("hovernet", "test.nuclei.pq", ALL, "the paper's number only"),
        ("unet", "test.nuclei.pq", {}, "no shards with nuclei"),
        ("unet", "test.nuclei.pq", {"lizard": make_index("lizard", FOLDS[:2])}, "too few patients for fold3"),
        ("unet", "external.nuclei.pq", {"lizard": make_index("lizard", FOLDS)}, "no external test set"),
        ("unet", "test.nuclei.mpq", {"monuseg": make_index("monuseg", FOLDS)}, "no classes of nuclei"),
        ("unet", "test.nuclei.mpq", ALL, ""),
    ],
)
def test_a_number_that_cannot_be_had_says_why(row, column, sources, reason):
    assert module("cerberus_table2").why_missing(row, column, sources) == reason


def test_the_papers_numbers():
    """Spot checks against the printed tables: first, last, and the ones the text names."""
    assert _cerberus_paper.TABLE2["cerberus_plus", "test.nuclei.pq"] == (0.612, 0.010)
    assert _cerberus_paper.TABLE2["hovernet", "external.nuclei.mpq_plus"] == (0.335, 0.017)
    assert _cerberus_paper.TABLE3["cerberus_plus", "external.lumen.pq"] == (0.530, 0.005)
    assert _cerberus_paper.TABLE3["mildnet", "test.gland.pq"] == (0.647, 0.046)
    assert _cerberus_paper.TABLE4["unet_stl", "test.nuclei.dice"] == (0.767, 0.013)
    assert _cerberus_paper.TABLE4["in_mixed_pc", "test.lumen.dice"] == (0.735, 0.007)
    assert _cerberus_paper.TABLE4["in_mixed_pc", "external.lumen.pq"] == (0.525, 0.027)
    assert _cerberus_paper.TABLE4["mixed", "external.nuclei.dice"] == (0.742, 0.027)
    assert _cerberus_paper.TABLE5["in_mixed_pc", "test.tissue.map"] == (0.948, 0.006)
    assert len(_cerberus_paper.TABLE4) == 8 * 12


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_the_paper_has_a_place(name):
    spec = module(name).SPEC
    assert set(spec.paper.numbers) <= set(spec.keys)
    assert spec.paper.only <= set(spec.rows)
