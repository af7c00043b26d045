"""Two processes that train as ranks. All tests of a file share them, since they take longer to start than to train."""

import socket
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import torch.distributed as dist


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def in_group(rank, world_size, port):
    """The group of all ranks meanwhile. One that fails leaves it, so that the others do not wait for it."""
    if world_size == 1:
        yield
        return
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def two_processes():
    """Yields what calls function(rank, *arguments) in both; the errors of both are raised together."""
    context = get_context("spawn")  # Threads of torch do not survive a fork.
    with ProcessPoolExecutor(1, context) as first, ProcessPoolExecutor(1, context) as second:

        def call(function, *arguments):
            calls = [process.submit(function, rank, *arguments) for rank, process in enumerate((first, second))]
            if errors := [error for each in calls if (error := each.exception())]:
                raise BaseExceptionGroup("ranks failed", errors)

        yield call
