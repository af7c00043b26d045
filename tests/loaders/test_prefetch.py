"""How many threads make patches ahead of time, and on which thread what is made."""

import threading

import pytest

from histoseg.loaders import prefetch
from histoseg.loaders.prefetch import num_threads


@pytest.mark.parametrize(
    ("cores", "ranks", "threads"),
    [(1, None, 1), (2, None, 1), (4, None, 3), (12, None, 11), (64, None, 16), (32, "4", 7), (4, "8", 1)],
)
def test_each_core_of_a_rank_but_one_has_a_thread(monkeypatch, cores, ranks, threads):
    monkeypatch.setattr(prefetch, "available_cpus", lambda: cores)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if ranks is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert num_threads() == threads


def test_results_come_in_order_from_other_threads():
    made = prefetch.prefetch(iter(range(20)), lambda plan: (plan, threading.current_thread().name), threads=3)
    plans, names = zip(*made, strict=True)
    assert plans == tuple(range(20))
    assert all(name.startswith("loader") for name in names)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_no_more_is_made_than_said(ahead):
    asked = []
    made = prefetch.prefetch((asked.append(i) or i for i in range(20)), lambda plan: plan, threads=2, ahead=ahead)
    assert next(made) == 0
    assert len(asked) == 2 + ahead + 1  # One has been taken, and the next asked for in its place.
    made.close()
