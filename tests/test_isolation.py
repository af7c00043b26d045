"""That nothing a test does to the shared process reaches the next one."""

import logging
import os
import signal

import torch

from tests.isolation import environment_as_before, process_as_before


def test_variables_are_as_before(monkeypatch):
    monkeypatch.setenv("HISTOSEG_CHANGED", "before")
    monkeypatch.setenv("HISTOSEG_DELETED", "before")
    monkeypatch.delenv("HISTOSEG_ADDED", raising=False)
    before = dict(os.environ)
    with environment_as_before():
        os.environ["HISTOSEG_CHANGED"] = os.environ["HISTOSEG_ADDED"] = "after"
        del os.environ["HISTOSEG_DELETED"]
    assert dict(os.environ) == before


def test_what_pytest_says_of_the_phase_is_its_own(monkeypatch):
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "setup")
    with environment_as_before():
        os.environ["PYTEST_CURRENT_TEST"] = "call"
    assert os.environ["PYTEST_CURRENT_TEST"] == "call"


def state():
    ours = logging.getLogger("histoseg")
    return {
        "logger": (ours.level, ours.handlers[:], ours.propagate),
        "botocore": logging.getLogger("botocore").level,
        "signals": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
    }


def test_loggers_signals_and_precision_are_as_before():
    before = state()
    with process_as_before():
        ours = logging.getLogger("histoseg")
        ours.setLevel(ours.level + 1)
        ours.addHandler(logging.NullHandler())
        ours.propagate = not ours.propagate
        logging.getLogger("botocore").setLevel(logging.getLogger("botocore").level + 1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: None)
        for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
            backend.allow_tf32 = not backend.allow_tf32
        assert all(value != before[name] for name, value in state().items())
    assert state() == before
