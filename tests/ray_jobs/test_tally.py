import pytest

from ray_jobs import tally as module
from ray_jobs.tally import Tally, say_duration


@pytest.fixture
def now(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    return clock


def test_what_is_left_is_worked_out_from_what_was_opened(now):
    """Two of five slides are open, of 30 and 10 mm2; in a minute 8 mm2 were done."""
    tally = Tally()
    tally.expect(5)
    for mm2 in (30.0, 10.0):
        tally.see()
        tally.open(mm2, mm2)
    assert tally.eta_s is None
    now[0] += 60
    tally.add(8.0, 1200)
    # 32 mm2 of the open ones and 3 times 20, the mean, of the others, at 8 a minute
    assert tally.eta_s == pytest.approx((32 + 3 * 20) / 8 * 60)
    assert str(tally) == "slides 0/5  8.0 mm2  1,200 objects  8.0 mm2/min  eta 12 min"


def test_slides_that_were_done_before_take_no_time(now):
    tally = Tally()
    tally.expect(3)
    for _ in range(2):
        tally.see()
        tally.end(has_failed=False)
    tally.see()
    tally.open(12.0, 6.0)  # Half of it was done before.
    now[0] += 30
    tally.add(2.0, 0)
    assert tally.eta_s == pytest.approx(60)
    assert str(tally).startswith("slides 2/3  ")


def test_what_is_given_up_is_not_waited_for(now):
    tally = Tally()
    tally.expect(2)
    for mm2 in (10.0, 10.0):
        tally.see()
        tally.open(mm2, mm2)
    now[0] += 60
    tally.add(4.0, 0)
    tally.drop(6.0)
    tally.end(has_failed=True)
    assert tally.eta_s == pytest.approx(10 / 4 * 60)
    assert "slides 0/2 (1 failed)" in str(tally)


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 s"), (720, "12 min"), (11100, "3 h 05 min")])
def test_durations(seconds, text):
    assert say_duration(seconds) == text
