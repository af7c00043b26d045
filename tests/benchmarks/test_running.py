"""A row that takes too long, or whose process dies, costs its own line only."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rows import PAPER, Outcome, Row
from running import COMPILING, SLACK, measure_all, row_limit
from setting import Setting

from histoseg.machine import is_running, process_id

QUICK = Row(workload="Table 1", doing="prediction")
STUCK, DEAD, FAILED = (replace(QUICK, workload=name) for name in ("Cerberus", "Table 1, MAML", "Table 1, transfer"))


def play(row, setting):
    """What a row does: by its workload, to be told from outside."""
    if row == DEAD:
        os.kill(os.getpid(), signal.SIGKILL)
    if row == STUCK:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (setting.folder / "child").write_text(str(child.pid))
        time.sleep(600)
    return Outcome(row=row, reason=process_id(), failed=row == FAILED)


@pytest.fixture
def idle(tmp_path):
    return Setting(folder=tmp_path, size=PAPER, device="cpu")


@pytest.mark.slow
def test_a_stuck_row_ends_with_all_that_it_started(idle, monkeypatch):
    monkeypatch.setattr("running.row_limit", lambda rows, left_s: 15.0 if rows[0] == STUCK else 60.0)
    first, stuck, last = measure_all([QUICK, STUCK, QUICK], play, idle, 600)
    assert stuck.failed
    assert "15 s" in stuck.reason
    child = int(Path(idle.folder, "child").read_text())
    for _ in range(50):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            break
        time.sleep(0.1)
    else:
        pytest.fail("its child goes on")
    assert not first.failed
    assert not last.failed
    assert first.reason != last.reason  # Each is the process that it was measured in.


def test_a_row_whose_process_dies_says_so(idle):
    dead, last = measure_all([DEAD, QUICK], play, idle, 600)
    assert dead.failed
    assert str(-signal.SIGKILL) in dead.reason
    assert not last.failed


def test_after_a_failure_rows_have_a_new_process(idle):
    first, failed, second, third = measure_all([QUICK, FAILED, QUICK, QUICK], play, idle, 600)
    assert first.reason == failed.reason
    assert second.reason == third.reason != first.reason
    assert not any(is_running(outcome.reason) for outcome in (first, third))  # Nor is any left at the end.


def test_rows_without_time_are_not_begun(idle):
    begin = time.monotonic()
    outcomes = list(measure_all([QUICK, STUCK], play, idle, 0.5))
    assert time.monotonic() - begin < 5
    assert [outcome.failed for outcome in outcomes] == [True, True]


def test_rows_together_take_no_longer_than_the_time_left():
    compiled = replace(QUICK, compiled=True)
    rows, left_s = [QUICK] * 3 + [compiled] * 3, 150.0
    assert row_limit(rows, left_s) == pytest.approx(SLACK * left_s / (3 + 3 * COMPILING))
    assert row_limit(rows[3:], left_s) == pytest.approx(left_s)  # Its part is 50 s, of which five would be more.
    for number in range(len(rows)):
        used = row_limit(rows[number:], left_s)
        assert 0 < used <= left_s
        left_s -= used / 2
