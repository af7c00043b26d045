"""MILD-Net, Rota-Net, nnU-Net and Cellpose: resumed and on several ranks they are as in one process without a break."""

from dataclasses import replace

import pytest

from histoseg.methods.multitask import MultiTask
from histoseg.models.cellpose import CellposeSpec
from histoseg.models.mildnet import MildNetSpec
from histoseg.models.nnunet import NNUNetSpec
from histoseg.models.rotanet import RotaNetSpec
from histoseg.runs.config import Optim, Select, Stage
from histoseg.runs.extras import is_installed
from histoseg.training import listeners, loop
from tests.training.test_cerberus_ranks import check_ranks
from tests.training.test_hovernet import record_of
from tests.training.test_resume import Interrupted, numbers_of, stop_at

# Auxiliary losses count a tenth after every second step, so that a resumed training must know its steps.
NETWORKS = {
    "mildnet": MildNetSpec(width=4, aux_steps=2),
    "rotanet": RotaNetSpec(width=2),
    "nnunet": NNUNetSpec(width=2, patch_px=64, mirror=False),
    "cellpose": CellposeSpec(width=2, enlarge=1),
}
NEEDS_CELLPOSE = pytest.mark.skipif(not is_installed("cellpose"), reason="install histoseg[cellpose]")
NAMES = [pytest.param(name, marks=NEEDS_CELLPOSE if name == "cellpose" else ()) for name in NETWORKS]
# Its momentum must come back, too, and its rate depend on the step alone.
RECIPES = {"nnunet": {"optimizer": "sgd", "schedule": "poly"}}
SOURCES = {"gland": "cerberus_gland", "lumen": "cerberus_lumen"}


def structures_of(name):
    """Cellpose learns one structure."""
    return ("gland",) if name == "cellpose" else ("gland", "lumen")


def run_of(name, tiny_fold_run, batch=3, **optim):
    """A few steps on glands and lumina, whose patches have 64 pixels."""
    optim = {"lr": 1e-3, "steps": 4} | RECIPES.get(name, {}) | optim
    sources = tuple(SOURCES[structure] for structure in structures_of(name))
    select = Select(sources=sources, splits=("fold1",))
    stage = Stage(label="train", method=MultiTask(batch=batch), select=select, optim=Optim(**optim))
    score = Select(sources=sources, splits=("fold3",))
    return replace(tiny_fold_run, row=name, network=NETWORKS[name], stages=(stage,), score=score)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_was_broken_has_the_same_record(name, tiny_fold_run, folds_url, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(listeners, "LOG_EVERY_S", 0.0)
    run = run_of(name, tiny_fold_run)
    whole = record_of(run, folds_url, tmp_path, "whole")
    with pytest.raises(Interrupted):
        record_of(run, folds_url, tmp_path, "broken", stop_at(3, "train"))
    assert numbers_of(record_of(run, folds_url, tmp_path, "broken")) == numbers_of(whole)
    assert {f"test.{each}.pq" for each in structures_of(name)} <= set(whole.scores)
    assert len(whole.stages[0].curve) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [5, 1])
def test_ranks_have_the_gradients_and_statistics_of_one_process(
    name, batch, on_two_ranks, tiny_fold_run, folds_url, tmp_path
):
    """Of five patches two ranks have three and two, of one patch one has none; steps are tiny, as for Cerberus."""
    run = run_of(name, tiny_fold_run, batch=batch, lr=1e-7, steps=3)
    check_ranks(on_two_ranks, run, f"histoseg.models.{name}.network", folds_url, tmp_path)
