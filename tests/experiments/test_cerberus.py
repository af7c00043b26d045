"""The runs behind Cerberus' tables, and the paper's numbers beside them."""

from dataclasses import replace

import pytest

from histoseg.experiments import _cerberus, _cerberus_paper
from histoseg.experiments._available import Available
from histoseg.runs.names import from_json, run_name, stage_name, to_json
from histoseg.types import FOLDS
from tests.experiments.cerberus_runs import ALL, TASKS, module, runs, structures_of

COMPARATORS = ("mildnet", "rotanet", "nnunet")  # Of Table 3
OWN = ("hovernet", "nnunet", "cellpose")  # Of Table 2
SHARED_SOURCES = ("cerberus", "cerberus_table2", "cerberus_table3", "cerberus_table4", "cerberus_table5")
NAMES = (*SHARED_SOURCES, "cerberus_table7")
CHECKSUMS = {name: name for name in TASKS}


def subtyped(scale="paper"):
    """The runs of Table 2 that learn classes after the rest: all but HoVer-Net's."""
    return [run for run in runs("cerberus_table2", scale) if run.row not in OWN]


def trainings(name, scale="paper", sources=ALL):
    return {stage_name(run, 0, CHECKSUMS) for run in runs(name, scale, sources)}


def held(name, splits=FOLDS):
    return {name: Available(task=TASKS[name], splits=frozenset(splits), num_patients=3)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", _cerberus.SCALES)
def test_every_run_can_be_written_down(name, scale):
    found = runs(name, scale)
    assert found
    assert all(from_json(to_json(run)) == run for run in found)
    assert len({run.address for run in found}) == len({run_name(run, CHECKSUMS) for run in found}) == len(found)
    assert {(run.experiment, run.scale) for run in found} == {(name, scale)}


def test_table4_trains_a_network_for_each_single_task():
    """Two rows of three networks, six rows of one, three divisions each."""
    found = runs("cerberus_table4")
    assert len(found) == (2 * 3 + 6) * 3
    assert len(trainings("cerberus_table4")) == 36
    assert {run.network.encoder for run in found if run.row.startswith("unet")} == {"unet"}
    assert {run.row for run in found if run.network.weights == "imagenet"} == {"in_mixed", "in_mixed_pc"}
    fixed = {run.row for run in found if not run.stages[0].method.mixed}
    assert fixed == {"unet_stl", "unet_fixed", "stl", "fixed"}
    assert {run.part for run in found if run.row == "stl"} == {"gland", "lumen", "nuclei"}
    assert {run.part for run in found if run.row == "mixed"} == {""}


def test_tables_share_their_trainings():
    """Cerberus is one training per division, whichever table asks for it; so is the U-Net of one structure."""
    own = {stage_name(run, 0, CHECKSUMS) for run in runs("cerberus_table3") if run.row in COMPARATORS}
    assert len(own) == (2 + 1 + 2) * 3
    assert trainings("cerberus_table3") - own <= trainings("cerberus_table4") | trainings("cerberus_table2")
    assert len(trainings("cerberus_table2") & trainings("cerberus_table4")) == 2 * 3  # U-Net of nuclei, Cerberus
    assert len(trainings("cerberus_table5") & trainings("cerberus_table4")) == 3


@pytest.mark.parametrize("scale", _cerberus.SCALES)
def test_networks_of_one_structure_are_trained_half_as_long_on_a_laptop_alone(scale):
    """There they see at least as many patches of their structure as a network of two; the paper trains all alike."""
    steps = {(run.row, run.part): run.stages[0].optim.steps for run in runs("cerberus_table4", scale)}
    short = {row for (row, _), count in steps.items() if 2 * count == steps["mixed", ""]}
    assert short == ({"stl", "unet_stl"} if scale == "laptop" else set())
    assert set(steps.values()) <= {steps["mixed", ""], steps["stl", "gland"]}


def test_without_imagenet_rows_that_name_it_share_a_training():
    assert len(trainings("cerberus_table4", "laptop")) == 33


def test_classes_of_nuclei_are_learnt_after_the_rest_where_a_table_shows_them():
    for run in subtyped():
        learn, subtype = run.stages
        assert (learn.label, subtype.label) == ("train", "subtype")
        assert subtype.select.sources == ("lizard", "cerberus_nuclei")
        assert subtype.select.splits == learn.select.splits
    for name in ("cerberus_table3", "cerberus_table4", "cerberus_table5"):
        assert {len(run.stages) for run in runs(name)} == {1}


def test_only_sources_with_the_classes_of_the_first_are_subtyped():
    """CoNSeP and MoNuSeg stand in for Lizard together, but MoNuSeg annotates no classes."""
    sources = {**ALL}
    for name in ("lizard", "cerberus_nuclei"):
        del sources[name]
    found = runs("cerberus_table2", sources=sources)
    chosen = {run.stages[1].select.sources for run in found if run.row not in ("nnunet", "cellpose")}
    assert chosen == {("consep",)}  # HoVer-Net learns nuclei and classes together, so from these alone
    assert _cerberus.typed_sources(("monuseg",), ALL) == ()
    assert _cerberus.typed_sources(("consep", "lizard"), ALL) == ("consep",)
    without = {"monuseg": ALL["monuseg"]}
    found = runs("cerberus_table2", sources=without)
    stages = {run.row: len(run.stages) for run in found if run.row != "cellpose"}
    assert stages == {"unet": 1, "hovernet": 2, "nnunet": 1}
    assert {run.stages[1].select.sources for run in found if run.row == "hovernet"} == {("monuseg",)}


def test_the_network_to_keep_learns_the_classes_of_every_structure_that_has_some():
    """Cerberus' appendix subtypes glands, too; of the sources here, only a lab's own glands have classes."""
    (run,) = runs("cerberus")
    stages = {stage.label: stage.select.sources for stage in run.stages[1:]}
    assert stages == {"subtype_gland": ("cerberus_gland",), "subtype": ("lizard", "cerberus_nuclei")}
    (run,) = runs("cerberus", sources={name: ALL[name] for name in ("glas", "crag", "lizard")})
    assert [stage.label for stage in run.stages] == ["train", "subtype"]


def test_a_source_whose_objects_are_all_of_one_class_is_not_typed():
    seen = {"cerberus_gland": replace(ALL["cerberus_gland"], classes=("background", "gland"))}
    assert _cerberus.typed_sources(("cerberus_gland",), ALL, "gland") == ("cerberus_gland",)
    assert _cerberus.typed_sources(("cerberus_gland",), seen, "gland") == ()
    why_missing = module("cerberus").why_missing
    assert why_missing("cerberus_plus", "test.gland.mpq", seen) == "no classes of gland"
    assert why_missing("cerberus_plus", "test.gland.mpq", ALL) == ""


def test_nothing_is_scored_on_what_was_trained_on():
    for name in NAMES:
        for run in runs(name):
            assert all(not set(stage.select.splits) & set(run.score.splits) for stage in run.stages)
            assert run.score.splits[1] == "external"
            assert run.score.sources == run.stages[0 if name in SHARED_SOURCES else -1].select.sources
    divisions = {(run.stages[0].select.splits, run.score.splits[0], run.division) for run in runs("cerberus_table5")}
    assert divisions == {
        (("fold1",), "fold3", "fold1 to fold3"),
        (("fold2",), "fold1", "fold2 to fold1"),
        (("fold3",), "fold2", "fold3 to fold2"),
    }


def test_the_network_to_keep_is_trained_on_two_folds():
    (run,) = runs("cerberus")
    assert (run.stages[0].select.splits, run.score.splits) == (("fold1", "fold2"), ("fold3", "external"))
    assert (run.network.contour, structures_of(run)) == (True, ("gland", "lumen", "nuclei", "tissue"))
    assert module("cerberus").SPEC.keeps_model


def test_the_papers_schedule():
    """Sec. 4.4: 90,000 steps of Adam, 1e-3 until step 70,000, then 1e-4; 9 samples on each of 3 GPUs; 448 and 144."""
    for run in runs("cerberus_table4"):
        (learn,) = run.stages
        assert learn.optim.steps == 90_000
        assert [learn.optim.lr_at(step) for step in (1, 70_000, 70_001)] == pytest.approx([1e-3, 1e-3, 1e-4])
        assert learn.method.batch == 27
        assert (run.data.patch_px, run.data.tissue_px, run.data.mpp) == (448, 144, 0.5)
        assert learn.method.loss_weights == ()
        assert (learn.method.masked, learn.keep) == (False, "last")


def test_subtyping_drops_its_rate_as_the_published_code():
    """Every 16,000 steps; the paper gives no schedule."""
    for run in subtyped():
        optim = run.stages[1].optim
        assert [optim.lr_at(step) for step in (1, 16_000, 16_001, 32_000)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
        assert (optim.steps, run.stages[1].method.batch) == (32_000, 27)


def test_the_published_code_weighs_and_masks_the_losses():
    """docs/protocols-cerberus.md."""
    for run in runs("cerberus_table4", "reference-code"):
        (learn,) = run.stages
        assert dict(learn.method.loss_weights) == {"lumen": 1.5, "gland": 1.4, "nuclei": 1.0, "tissue": 0.4}
        assert (learn.method.masked, learn.method.batch, learn.optim.drop_at) == (True, 36, 75_000)
        assert (learn.method.in_turn, learn.optim.precision, run.data.contrast) == (True, "fp32", 0.0)
        assert (run.evaluator.window_px, run.evaluator.margin_px) == (448, 152)


def test_the_published_code_weighs_the_classes_of_nuclei():
    """Of neutrophils, epithelial cells, lymphocytes, plasma cells, eosinophils and connective tissue, in this order."""
    for run in subtyped("reference-code"):
        subtype = run.stages[1]
        assert subtype.method.class_weights == (12, 1, 2, 6, 12, 2)
        assert [subtype.optim.lr_at(step) for step in (16_000, 16_001)] == pytest.approx([1e-3, 1e-4])
    (kept,) = runs("cerberus", "reference-code")
    assert {stage.label: stage.method.class_weights for stage in kept.stages[1:]} == {
        "subtype_gland": (1, 1),
        "subtype": (12, 1, 2, 6, 12, 2),
    }
    assert {run.stages[1].method.class_weights for run in subtyped()} == {()}  # The paper's Eq. 3


def test_table7_stands_on_the_networks_of_tables_4_and_5_and_ends_with_the_decoder_of_table_2():
    found = runs("cerberus_table7")
    assert trainings("cerberus_table7") == trainings("cerberus_table5") & trainings("cerberus_table4")
    decoders = {stage_name(run, 1, CHECKSUMS) for run in runs("cerberus_table2") if run.row == "cerberus"}
    last = {stage_name(run, 1, CHECKSUMS) for run in found if (run.row, run.part) == ("pixel_b", "nuclei")}
    assert last == decoders
    assert len(decoders) == 3
    methods = {run.row: (run.stages[1].method.mode, run.stages[1].method.loss) for run in found}
    assert methods == {
        "pixel_a_ce": ("PixelA", "ce"),
        "pixel_a_ce_dice": ("PixelA", "ce+dice"),
        "pixel_a": ("PixelA", "masked"),
        "pixel_b": ("PixelB", "masked"),
    }
    assert {run.evaluator.structure for run in found if run.row == "pixel_b"} == {"nuclei", "gland"}
    assert len(found) == 5 * 3
    # As the images of the network's own scale are predicted.
    assert {(run.evaluator.window_px, run.evaluator.margin_px) for run in runs("cerberus_table7", "laptop")} == {
        (384, 32)
    }


def test_table7_takes_what_there_is():
    """Nuclei alone, of CoNSeP, and MoNuSeg to find them by; without classes there is no run at all."""
    some = {name: ALL[name] for name in ("consep", "monuseg")}
    found = runs("cerberus_table7", sources=some)
    assert {run.part for run in found} == {"nuclei"}
    assert {run.stages[0].select.sources for run in found} == {("consep", "monuseg")}
    assert {run.stages[1].select.sources for run in found} == {run.score.sources for run in found} == {("consep",)}
    assert runs("cerberus_table7", sources={"monuseg": ALL["monuseg"]}) == []


def test_an_experiment_may_have_scales_of_its_own():
    sizes = replace(_cerberus.SCALES["laptop"], width=12)
    grid = replace(module("cerberus_table4")._GRID, scales={"tiny": sizes})
    (run, *_) = (run for run in grid.runs("tiny", 1, ALL) if structures_of(run) == ("nuclei",))
    assert (run.scale, run.network.width) == ("tiny", 12)


def test_nuclei_are_learnt_from_lizard_or_what_stands_in_for_it():
    grid = module("cerberus_table4")._GRID
    assert grid.chosen("nuclei", ALL) == ("lizard", "cerberus_nuclei")
    without = {name: ALL[name] for name in ("glas", "consep", "monuseg", "pannuke")}
    assert grid.chosen("nuclei", without) == ("consep", "monuseg")
    assert grid.chosen("nuclei", {"pannuke": ALL["pannuke"]}) == ("pannuke",)
    assert grid.chosen("nuclei", {"glas": ALL["glas"]}) == ()
    rows = {run.row: structures_of(run) for run in runs("cerberus_table4", sources=without)}
    assert rows["mixed"] == ("gland", "nuclei")


def test_a_labs_own_nuclei_are_learnt_beside_published_ones():
    """As corrected regions are: too few patients for three folds are no matter where others have some."""
    ours = replace(TASKS["monuseg"], name="our_nuclei", year=0, reserve=None)
    few = Available(task=ours, splits=frozenset(FOLDS[:1]), num_patients=1)
    found = runs("cerberus", sources=held("monuseg") | held("consep") | {"our_nuclei": few})
    assert {run.stages[0].select.sources for run in found} == {("consep", "monuseg", "our_nuclei")}
    assert {run.stages[1].select.sources for run in found} == {("consep",)}


@pytest.mark.parametrize(
    ("row", "column", "sources", "reason"),
    [
        ("hovernet", "test.nuclei.pq", ALL, ""),
        ("hovernet", "test.nuclei.pq", {}, "no shards with nuclei"),
        ("unet", "test.nuclei.pq", {}, "no shards with nuclei"),
        ("unet", "test.nuclei.pq", held("lizard", FOLDS[:2]), "too few patients for fold3"),
        ("unet", "test.nuclei.pq", held("lizard", FOLDS[:1]), "too few patients for fold2 and fold3"),
        ("unet", "external.nuclei.pq", held("lizard"), "no external test set"),
        ("unet", "test.nuclei.mpq", held("monuseg"), "no classes of nuclei"),
        ("unet", "test.nuclei.mpq", ALL, ""),
        ("unet", "external.nuclei.mpq_plus", ALL, ""),
    ],
)
def test_a_number_that_cannot_be_had_says_why(row, column, sources, reason):
    assert module("cerberus_table2").why_missing(row, column, sources) == reason


@pytest.mark.parametrize(
    ("row", "column", "sources", "reason"),
    [
        ("pixel_a", "test.nuclei.map", {}, "no shards with nuclei"),
        ("pixel_a", "test.nuclei.mf1", held("monuseg"), "no classes of nuclei"),
        ("pixel_b", "test.gland.map", {name: ALL[name] for name in ("glas", "lizard")}, "no classes of gland"),
        ("pixel_b", "external.gland.map", held("cerberus_gland"), "no external test set"),
        # Classes must be in every fold; that nuclei without classes are does not help.
        ("pixel_b", "test.nuclei.map", held("monuseg") | held("consep", FOLDS[:2]), "too few patients for fold3"),
        ("pixel_b", "external.nuclei.mf1", ALL, ""),
    ],
)
def test_a_number_of_table7_that_cannot_be_had_says_why(row, column, sources, reason):
    assert module("cerberus_table7").why_missing(row, column, sources) == reason


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
    assert _cerberus_paper.TABLE7["pixel_a_ce", "test.nuclei.map"] == (0.493, 0.021)
    assert _cerberus_paper.TABLE7["pixel_b", "external.nuclei.mf1"] == (0.669, 0.003)
    assert len(_cerberus_paper.TABLE4) == 8 * 12
    assert len(_cerberus_paper.TABLE7) == 4 * 4


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_the_paper_has_a_place(name):
    spec = module(name).SPEC
    assert set(spec.paper.numbers) <= set(spec.keys)
    assert spec.paper.only <= set(spec.rows)
