"""Two ranks as two threads of one process, which sum what they share as processes of a cluster do."""

import threading
from concurrent.futures import ThreadPoolExecutor

from histoseg import distributed
from histoseg.training.process import Process
from histoseg.types import Place


def on_two_ranks(monkeypatch, work):
    """What `work` gives on each of two ranks, for which it is called with a process."""
    barrier, shared = threading.Barrier(2, timeout=20), {}

    def sum_over_ranks(tensor):
        shared[threading.get_ident()] = tensor.clone()
        barrier.wait()
        total = sum(shared.values())
        barrier.wait()
        return tensor.copy_(total)

    monkeypatch.setattr(distributed, "sum_over_ranks", sum_over_ranks)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, [Process(place=Place(rank=rank, world_size=2)) for rank in (0, 1)]))
    monkeypatch.undo()
    return found
