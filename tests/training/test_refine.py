"""Refining: which images it sees, when it ends, and whose weights it returns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from histoseg.training.refine import refine, training_rows

from histoseg.models.unet.network import build
from histoseg.runs.config import Refine
from histoseg.store.objects import connect
from histoseg.training.checkpoint import Checkpoints
from histoseg.training.process import Process


@pytest.fixture
def index(dataset, tiny_run):
    """The new task, whose images are stored as several tiles each."""
    return dataset.sources[tiny_run.new_task]


def with_shots(run, shots, seed=0):
    return replace(run, seed=seed, refine=replace(run.refine, shots=shots))


@pytest.mark.parametrize("shots", [1, 2, 5])
def test_shots_are_whole_images_of_the_train_split(index, tiny_run, shots):
    images, train = np.array(index.samples.image), index.rows("train")
    rows = training_rows(with_shots(tiny_run, shots), index)
    chosen = np.unique(images[rows])
    assert len(chosen) == shots < len(np.unique(images[train]))
    tiles = [row for row in train if images[row] in chosen]
    assert rows.tolist() == tiles
    assert len(tiles) > shots


@pytest.mark.parametrize("shots", [0, 10_000])
def test_no_limit_or_one_above_all_images_is_the_train_split(index, tiny_run, shots):
    assert training_rows(with_shots(tiny_run, shots), index).tolist() == index.rows("train").tolist()


def test_shots_are_drawn_by_the_seed_and_reach_every_image(index, tiny_run):
    drawn = [training_rows(with_shots(tiny_run, 2, seed), index).tolist() for seed in range(40)]
    assert drawn[0] == training_rows(with_shots(tiny_run, 2), index).tolist()
    # Of n images, one is missed by 40 seeds once in (1 - 2/n) ** -40 times; the seeds are fixed.
    assert set().union(*drawn) == set(index.rows("train").tolist())


@pytest.fixture
def refined(dataset, tiny_run, tmp_path):
    """Refines with val scores that are given, an epoch each; gives what came of it and the weights after each epoch."""

    def refine_to(scores, **changes):
        run = replace(tiny_run, refine=Refine(epochs=len(scores), batch=4, shots=1, **changes))
        heads = {name: dataset.sources[name].task.num_classes for name in run.predecessors}
        pretrained = build(run.model.width, run.model.norm, heads, 0)
        weights = []

        def val_score(model):
            weights.append({name: value.clone() for name, value in model.state_dict().items()})
            return scores[len(weights) - 1]

        store = connect(f"file://{tmp_path / 'runs'}")
        return refine(run, pretrained, dataset, Checkpoints(store, "run"), val_score, Process()), weights

    return refine_to


@pytest.mark.parametrize(
    ("patience", "last"),
    [
        (0, 6),  # Never stops early.
        (1, 3),  # Epoch 3 is no better than 2.
        (2, 4),  # Nor is 4; the 0.9 of epoch 5 is not seen.
        (3, 6),  # It is seen, and 6 is the last.
    ],
)
def test_refining_ends_after_as_many_epochs_without_a_better_score(refined, patience, last):
    done, weights = refined([0.5, 0.6, 0.6, 0.4, 0.9, 0.1], patience=patience)
    assert [point["epoch"] for point in done.curve] == list(range(1, last + 1))
    assert done.best_epoch == (2 if last < 5 else 5)
    assert len(weights) == last
    best = weights[done.best_epoch - 1]
    assert all(torch.equal(value, best[name]) for name, value in done.model.state_dict().items())
    assert any(not torch.equal(value, best[name]) for name, value in weights[-1].items())
