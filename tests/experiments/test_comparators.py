"""The runs of networks that Cerberus is compared with, beside those of the other rows."""

import sys
from dataclasses import replace

import pytest

from histoseg.experiments import _cerberus
from histoseg.models.hovernet.regions import least_margin_px
from histoseg.models.hovernet.sizes import predicted_px
from tests.experiments.cerberus_runs import ALL, module, runs, structures_of


@pytest.mark.parametrize("scale", _cerberus.SCALES)
def test_comparators_of_glands_and_lumina_differ_from_the_other_rows_by_their_networks(scale):
    """Sec. 4.3.1: MILD-Net once for each structure, Rota-Net for both; patches, steps and windows are those of all."""
    found = {(run.row, run.part, run.division): run for run in runs("cerberus_table3", scale)}
    for division in {run.division for run in found.values()}:
        plain, rota = (found[row, "", division] for row in ("cerberus", "rotanet"))
        mild = [found["mildnet", part, division] for part in ("gland", "lumen")]
        assert [structures_of(run) for run in (*mild, rota)] == [("gland",), ("lumen",), ("gland", "lumen")]
        singles = [found["unet", part, division] for part in ("gland", "lumen")]
        for run, same in zip((*mild, rota), (*singles, plain), strict=True):
            assert (run.data, run.evaluator, run.seed) == (plain.data, plain.evaluator, plain.seed)
            assert (run.score.splits, run.stages[0].select.splits) == (
                plain.score.splits,
                plain.stages[0].select.splits,
            )
            assert run.stages[0].optim == same.stages[0].optim
        assert 4 * rota.network.width == mild[0].network.width == plain.network.width
        assert mild[0].network.aux_steps == round(8 / 30 * mild[0].stages[0].optim.steps)
        assert rota.stages[0].method == plain.stages[0].method


def test_rota_net_is_trained_where_only_glands_are_prepared():
    only = {name: ALL[name] for name in ("glas", "crag", "lizard")}
    assert {structures_of(run) for run in runs("cerberus_table3", sources=only) if run.row == "rotanet"} == {("gland",)}
    assert module("cerberus_table3").why_missing("rotanet", "test.lumen.pq", only) == "no shards with lumen"
    assert module("cerberus_table3").why_missing("mildnet", "test.gland.pq", ALL) == ""


@pytest.mark.parametrize("scale", _cerberus.SCALES)
def test_nnunet_has_the_data_of_the_other_rows_and_its_own_recipe(scale):
    """Steps, patches and folds are those of the U-Net; the rate falls from 0.01, as Isensee et al. 2021 have it."""
    for table, structures in (("cerberus_table2", ("nuclei",)), ("cerberus_table3", ("gland", "lumen"))):
        found = {(run.row, structures_of(run), run.division): run for run in runs(table, scale)}
        own = {key[1:]: run for key, run in found.items() if key[0] == "nnunet"}
        assert {key[0] for key in own} == {(structure,) for structure in structures}
        for key, run in own.items():
            plain, optim = found["unet", *key], run.stages[0].optim
            assert (run.data, run.score, run.stages[0].select) == (plain.data, plain.score, plain.stages[0].select)
            assert (optim.steps, run.stages[0].method.batch) == (
                plain.stages[0].optim.steps,
                plain.stages[0].method.batch,
            )
            assert (optim.optimizer, optim.lr_at(1)) == ("sgd", 0.01)
            assert 0 < optim.lr_at(optim.steps) < 1e-4  # 1 / 400 to the power of 0.9 is 0.0045.
            assert run.stages[0].method.class_weighting == 0.33
            assert run.network.patch_px == run.data.side_px == run.evaluator.window_px
            assert 2 * run.network.width == plain.network.width
    assert module("cerberus_table2").why_missing("nnunet", "test.nuclei.pq", ALL) == ""
    assert module("cerberus_table2").why_missing("nnunet", "test.nuclei.mpq", ALL) == "no classes of nuclei"


@pytest.mark.parametrize("scale", _cerberus.SCALES)
def test_cellpose_has_the_data_of_the_other_rows_where_its_package_is_installed(scale, monkeypatch):
    monkeypatch.setattr(_cerberus, "is_installed", lambda _: True)
    found = {(run.row, run.division): run for run in runs("cerberus_table2", scale)}
    own = {division: run for (row, division), run in found.items() if row == "cellpose"}
    assert len(own) == 3
    for division, run in own.items():
        plain = found["unet", division]
        assert (run.data, run.score, run.stages[0].select) == (plain.data, plain.score, plain.stages[0].select)
        assert run.stages[0].optim == replace(plain.stages[0].optim, lr=5e-3)
        assert run.stages[0].method.batch == plain.stages[0].method.batch
    assert module("cerberus_table2").why_missing("cellpose", "test.nuclei.mpq", ALL) == "no classes of nuclei"


def test_without_its_package_cellpose_has_no_runs_and_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "cellpose", None)
    assert "cellpose" not in {run.row for run in runs("cerberus_table2")}
    why = module("cerberus_table2").why_missing("cellpose", "test.nuclei.pq", ALL)
    assert why == "needs histoseg[cellpose]"


@pytest.mark.parametrize("scale", _cerberus.SCALES)
def test_hovernet_is_trained_on_the_same_images_in_two_phases(scale):
    found = runs("cerberus_table2", scale)
    own, others = ([run for run in found if (run.row == "hovernet") is is_own] for is_own in (True, False))
    assert [run.division for run in own] == [run.division for run in others if run.row == "unet"]
    for run in own:
        first, second = run.stages
        assert [stage.method.trains for stage in run.stages] == ["decoders", "all"]
        assert first.select == second.select
        assert run.score == next(each.score for each in others if (each.row, each.division) == ("unet", run.division))
        assert predicted_px(run.network.mode, run.data.side_px) >= 48
        assert run.evaluator.margin_px >= least_margin_px(run.network.mode)
    assert {run.data.layout for run in found} == {found[0].data.layout}


def test_hovernets_schedule_is_that_of_all_models():
    """Cerberus, Sec. 4.4: 90,000 steps of 27 patches, 1e-3 until step 70,000; patches of 448 pixels (Sec. 4.3.1)."""
    run = next(run for run in runs("cerberus_table2") if run.row == "hovernet")
    first, second = run.stages
    assert first.optim.steps + second.optim.steps == 90_000
    assert [first.optim.lr_at(45_000), second.optim.lr_at(25_000), second.optim.lr_at(25_001)] == [1e-3, 1e-3, 1e-4]
    assert (first.method.batch, second.method.batch, run.data.side_px, run.network.width) == (27, 27, 448, 64)
    assert run.network.distance_weight == 2
