"""What `make submit` says where it is interrupted, or nobody listens."""

import io
import os
import signal
import sys

import pytest

from ray_jobs import submit


@pytest.fixture
def typed(monkeypatch):
    """Types a command whose work is `do`; gives how the process would end."""

    def main(do, *words):
        monkeypatch.setattr(submit, "submit", lambda *_: do())
        with pytest.raises(SystemExit) as end:
            submit.main(["--experiment", "smoke", *words])
        return end.value.code

    handler = signal.getsignal(signal.SIGTERM)
    yield main
    signal.signal(signal.SIGTERM, handler)


def interrupt():
    raise KeyboardInterrupt


def test_an_interrupted_command_promises_no_job(typed):
    assert typed(interrupt, "--ray-address", "http://host:8265") == "histoseg: interrupted; repeat the command"
    assert typed(interrupt) == "histoseg: interrupted; the same command goes on where this one was"


def test_a_reader_that_goes_ends_the_command_quietly(typed, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        assert typed(lambda: "a last line") == 128 + signal.SIGPIPE


def test_a_character_that_the_terminal_lacks_ends_nothing(typed, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)

    def show():
        sys.stdout.write("mIoU 0.7 — finished\n")
        interrupt()

    typed(show)
    terminal.flush()
    assert terminal.buffer.getvalue() == b"mIoU 0.7 ? finished\n"
