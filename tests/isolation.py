"""What a test does to the process that all tests share is undone after it."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PYTESTS_OWN = "PYTEST_CURRENT_TEST"  # Which pytest changes, and takes back, by itself


@contextmanager
def environment_as_before() -> Iterator[None]:
    """The same variables in `os.environ` afterwards."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() | before.keys():
        if os.environ.get(name) != before.get(name) and name != PYTESTS_OWN:
            os.environ.pop(name, None)
            os.environ.update({name: before[name]} if name in before else {})


@contextmanager
def process_as_before() -> Iterator[None]:
    """The same loggers, handlers of signals and precision of torch afterwards."""
    ours, botocore = logging.getLogger("histoseg"), logging.getLogger("botocore")
    level, handlers, propagate, botocores_level = ours.level, ours.handlers[:], ours.propagate, botocore.level
    heard, tf32 = {number: signal.getsignal(number) for number in SIGNALS}, _tf32()
    yield
    ours.setLevel(level)
    ours.handlers[:], ours.propagate = handlers, propagate
    botocore.setLevel(botocores_level)
    for number, handler in heard.items():
        if handler is not None and signal.getsignal(number) is not handler:  # None: not of Python's, nor its to restore
            signal.signal(number, handler)
    if _tf32() != tf32:
        _set_tf32(tf32)


def _tf32() -> tuple[bool, bool]:
    """Whether float32 is rough in products of matrices and in convolutions; as torch begins, before it is imported."""
    if "torch" not in sys.modules:
        return False, True
    backends = sys.modules["torch"].backends
    return backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32


def _set_tf32(allowed: tuple[bool, bool]) -> None:
    backends = sys.modules["torch"].backends
    backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = allowed
