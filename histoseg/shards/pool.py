"""Processes that read files: a library that ends its process, as by a segmentation fault, costs one task."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from queue import LifoQueue
from typing import ParamSpec, TypeVar

from histoseg.machine import available_cpus

DIED = "ended the process, as a fault in a library or too little memory does"  # What follows the name of what was read
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class ReaderPool(ThreadPoolExecutor):
    """Processes that start when there is work, two with the first task; each has one task at a time.

    A process takes a second to start, in which another core would have no work: first tasks wait for one another.

    A task whose process dies ends with BrokenProcessPool, and another process takes the place of the dead one. One
    ProcessPoolExecutor for all would end every waiting task, without naming the one that was being read.
    """

    def __init__(self, num_processes: int) -> None:
        super().__init__(num_processes)
        self._to_start = min(num_processes, 2) - 1  # Beside that of the first task
        # The last process that was at work is first, so that another one starts only for tasks at the same time.
        self._idle: LifoQueue[ProcessPoolExecutor | None] = LifoQueue()
        for _ in range(num_processes):
            self._idle.put(None)

    def submit(
        self, task: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """The result to come of a task, which a process runs."""
        result = super().submit(self._run, task, *args, **kwargs)
        while self._to_start:
            self._to_start -= 1
            super().submit(self._run, int)
        return result

    def _run(self, task: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        process = self._idle.get() or _start()
        alive: ProcessPoolExecutor | None = process
        try:
            return process.submit(task, *args, **kwargs).result()
        except BrokenProcessPool:
            process.shutdown()
            alive = None
            raise
        finally:
            self._idle.put(alive)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes once they have finished their tasks."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        while not self._idle.empty():
            if (process := self._idle.get()) is not None:
                process.shutdown(wait)


def _start() -> ProcessPoolExecutor:
    # spawn: forked children would share this process's open sockets and locks.
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def shard_pool() -> ReaderPool:
    """Processes for `write_shards`, one per core."""
    return ReaderPool(available_cpus())
