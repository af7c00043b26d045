"""Batches for a GPU are put into pinned memory by another thread than the one that trains."""

import threading
from itertools import islice

import pytest
import torch

from histoseg.methods.transfer import Transfer
from histoseg.models import tensors
from histoseg.training.loop import step_batches
from histoseg.training.process import Process
from tests.stages import training_of, with_stage


@pytest.fixture
def pins(monkeypatch):
    """The thread of each array that is pinned; without a GPU none can be, so a copy stands for it."""
    threads = []

    def pin(array):
        threads.append(threading.current_thread().name)
        return array.copy()

    monkeypatch.setattr(tensors, "_pin", pin)
    return threads


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_only_batches_for_a_gpu_are_pinned_and_never_by_the_thread_that_trains(dataset, tiny_run, pins, device):
    method = Transfer(batch=2)
    training = training_of(with_stage(tiny_run, method=method), dataset)
    batches = step_batches(training, Process(device=torch.device(device)), first_step=0)
    found = [batch.patches.keys for batch in islice(batches, 3)]
    batches.close()
    plain = method.batches(training.dataset, training.run, seed=0, place=Process().place, first_step=0)
    assert found == [batch.patches.keys for batch in islice(plain, 3)]
    plain.close()
    assert len(pins) >= (3 * 2 if device == "cuda" else 0)  # Images and maps of each step
    assert bool(pins) is (device == "cuda")
    assert all(name.startswith("loader") for name in pins)
