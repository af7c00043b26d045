"""Rows one after the other in another process, which is ended if a row takes too long and started again."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from rows import Outcome, Row
from setting import Setting

COMPILING = 4  # How many times as long as another row a compiled one takes.
SLACK = 5  # How many times its fair part of the time left a row may take: most take less.
Measure = Callable[[Row, Setting], Outcome]


class Worker:
    """A process that measures rows, one at a time."""

    def __init__(self, measure: Measure, setting: Setting) -> None:
        context = multiprocessing.get_context("spawn")  # A forked process cannot use CUDA.
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, measure, setting))
        self._process.start()
        other.close()

    def ask(self, row: Row, limit_s: float) -> Outcome:
        """The outcome of a row; after one that failed, the worker must be ended."""
        try:
            self._connection.send(row)
            if not self._connection.poll(limit_s):
                return Outcome(row=row, reason=f"took longer than {limit_s:.0f} s", failed=True)
            found: Outcome = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            return Outcome(row=row, reason=f"its process died (exit code {self._process.exitcode})", failed=True)
        return found

    def end(self) -> None:
        """End the process and all that it started."""
        if (pid := self._process.pid) is not None:
            with suppress(ProcessLookupError):  # It may have had no time to make its group, see `serve`.
                os.killpg(pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._connection.close()


def serve(connection: Connection, measure: Measure, setting: Setting) -> None:
    """Measure the rows that come, until no more do."""
    os.setsid()  # A group of its own, with ranks and compilers, that can be ended together
    with suppress(EOFError):
        while True:
            row: Row = connection.recv()
            connection.send(measure(row, setting))


def measure_all(rows: Sequence[Row], measure: Measure, setting: Setting, limit_s: float) -> Iterator[Outcome]:
    """The outcome of each row, all within a time; rows for which none is left say so.

    `measure` is called in another process, so it must be a function of a module.
    """
    end = time.monotonic() + limit_s
    worker: Worker | None = None
    try:
        for number, row in enumerate(rows):
            left_s = end - time.monotonic()
            if left_s < 1:
                yield Outcome(row=row, reason=f"no time left of {limit_s:.0f} s", failed=True)
                continue
            worker = worker or Worker(measure, setting)
            outcome = worker.ask(row, row_limit(rows[number:], left_s))
            if outcome.failed:  # A GPU that failed once in a process may fail in it from then on.
                worker.end()
                worker = None
            yield outcome
    finally:
        if worker is not None:
            worker.end()


def row_limit(rows: Sequence[Row], left_s: float) -> float:
    """How long the first of some rows may take."""
    weights = [COMPILING if row.compiled else 1 for row in rows]
    return min(left_s, SLACK * left_s * weights[0] / sum(weights))
