"""Whole runs in two processes leave the records, choices and weights that one process leaves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from histoseg.pipeline.complete import complete
from histoseg.runs.config import Select
from histoseg.scoring.affinity import Affinity
from histoseg.store.objects import FileStore, connect
from histoseg.training.process import Process
from histoseg.types import Place
from tests.pipeline.small_runs import folds_store, leave_one_out_run, leave_one_out_store, rounds_run
from tests.stages import with_stage
from tests.training.ranks import free_port, in_group


def affinity_run():
    """Measures of two predecessors for a task that is left out: of its five patches one rank has three."""
    run = leave_one_out_run()
    score = Select(sources=("new",), splits=("train",))
    return replace(run, stages=run.stages[:1], score=score, evaluator=Affinity(patches=5, pixels=7))


RUNS = {"rounds": (rounds_run, folds_store), "affinity": (affinity_run, leave_one_out_store)}


def complete_as_rank(rank, world_size, port, name, folder):
    """Complete a run; the leading rank writes."""
    torch.set_num_threads(1)
    run = RUNS[name][0]()
    for number in range(len(run.stages)):  # Adam makes steps of rounding, where gradients should be 0.
        run = with_stage(run, number, optim={"lr": 1e-7})
    store = connect(f"file://{folder}/{world_size}")
    with in_group(rank, world_size, port):
        complete([run], store, Path(folder) / "cache", Process(place=Place(rank=rank, world_size=world_size)))


def numbers_of(store):
    """Scores, measures and losses of the only record of a store."""
    [key] = [key for key in store.list("records/") if key.endswith(".json")]
    record = json.loads(store.get(key))
    losses = {
        f"{stage['label']} {point['step']}": point["loss"] for stage in record["stages"] for point in stage["curve"]
    }
    found = {**record["scores"], **record["measures"], **losses}
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_ranks_leave_what_one_process_leaves(on_two_ranks, tmp_path, name):
    for world_size in (1, 2):
        RUNS[name][1](tmp_path / str(world_size))
    complete_as_rank(0, 1, 0, name, str(tmp_path))
    on_two_ranks(complete_as_rank, 2, free_port(), name, str(tmp_path))
    one, two = (FileStore(tmp_path / world_size) for world_size in ("1", "2"))
    assert sorted(one.list("runs/")) == sorted(two.list("runs/"))
    for key in one.list("runs/"):
        if key.endswith("model.safetensors"):
            torch.testing.assert_close(load(one.get(key)), load(two.get(key)), rtol=1e-4, atol=1e-5)
        if key.endswith("chosen.json"):
            alone, together = (json.loads(store.get(key)) for store in (one, two))
            assert [region["key"] for region in alone["regions"]] == [region["key"] for region in together["regions"]]
            scores = [[region["score"] or 0 for region in chosen["regions"]] for chosen in (alone, together)]
            assert scores[1] == pytest.approx(scores[0], rel=1e-4)
    alone, together = map(numbers_of, (one, two))
    assert together == pytest.approx(alone, rel=1e-3)
