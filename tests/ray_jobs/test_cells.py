import logging
import operator
import time
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from histoseg.errors import TrainingError
from histoseg.runs.request import Request
from histoseg.store.objects import connect
from ray_jobs import cells
from ray_jobs.cells import _require_records, in_own_order
from ray_jobs.train import Group


def test_a_cell_that_lost_its_record_is_no_success(tmp_path):
    store, wanted = connect(f"file://{tmp_path}"), {"records/smoke/a.json", "records/smoke/b.json"}
    store.put("records/smoke/a.json", b"{}")
    with pytest.raises(TrainingError, match=r"1 of 2 cells have no record, .*records/smoke/b.json.*Submit again"):
        _require_records(wanted, store)
    store.put("records/smoke/b.json", b"{}")
    _require_records(wanted, store)


SMOKE = Request(experiment="smoke", workers=2, listen=("tensorboard",), capacity=("CPU=8",))
ID = operator.attrgetter("id")
GROUPS = [Group(id=f"group-{i}", runs="[]", request=SMOKE, cache="") for i in range(8)]


@pytest.fixture
def handed_out(tmp_path, tiny_run, monkeypatch):
    """Has a job complete a plan of one cell; gives what the grid gets: groups, workers and notes."""
    store = connect(f"file://{tmp_path}/store")
    checksums = dict.fromkeys(tiny_run.sources, "0")
    plan = SimpleNamespace(experiment="smoke", checksums=checksums, cells={"a": tiny_run}, groups={"b": [tiny_run]})
    monkeypatch.setattr(cells, "gauges", lambda _texts: nullcontext(lambda *_: None))
    monkeypatch.setattr(cells, "await_capacity", lambda _workers, expected, _timeout_s: expected)

    def complete(request):
        found = []
        monkeypatch.setattr(cells.grid, "run", lambda *given: found.append(given))
        cells.complete(plan, store, request, tmp_path / "home", nullcontext)
        groups, workers, notes, resources, _ = found[0]
        assert resources == {"CPU": 8.0}
        return groups, workers, notes

    return complete


def test_the_request_reaches_the_workers_with_the_store_that_was_opened(handed_out, tmp_path):
    (group,), workers, _ = handed_out(SMOKE)
    assert group.request == replace(SMOKE, store=f"file://{tmp_path}/store")
    assert workers.num_workers == 2


def test_jobs_have_notes_of_their_own_and_share_shards(handed_out, tmp_path):
    groups, _, notes = zip(*(handed_out(replace(SMOKE, name=name)) for name in ("smoke-1", "smoke-2")), strict=True)
    assert notes == (tmp_path / "home/notes/smoke-1", tmp_path / "home/notes/smoke-2")
    assert {group.cache for (group,) in groups} == {f"{tmp_path}/home/cache"}


def test_a_repeated_command_has_the_name_that_its_leases_had(tmp_path):
    store = connect(f"file://{tmp_path}")
    first, again, other = (cells.holder_for(replace(SMOKE, sets=sets), store) for sets in [(), (), ("optim.steps=2",)])
    assert first.job == again.job != other.job
    assert len({holder.owner for holder in (first, again, other)}) == 3
    assert cells.holder_for(replace(SMOKE, workers=3), store).job == first.job  # They change no result.
    assert cells.holder_for(replace(SMOKE, name="smoke-1f0c9a2e"), store).job == "smoke-1f0c9a2e"


def test_each_attempt_of_a_rayjob_has_a_higher_number(tmp_path):
    store, request = connect(f"file://{tmp_path}"), replace(SMOKE, name="smoke-1f0c9a2e", submission="4c28cfdc0e96")
    assert [cells.holder_for(request, store).attempt for _ in range(3)] == [1, 2, 3]


def test_two_jobs_begin_with_other_groups():
    one, two = (in_own_order(GROUPS, job, ID) for job in ("table1-1f0c9a2e", "table1-77ab01cd"))
    assert sorted(one, key=GROUPS.index) == sorted(two, key=GROUPS.index) == GROUPS
    assert {group.id for group in one[:2]}.isdisjoint(group.id for group in two[:2])


def test_a_job_that_is_repeated_keeps_its_order_over_what_is_left():
    whole, rest = (in_own_order(groups, "table1-1f0c9a2e", ID) for groups in (GROUPS, GROUPS[3:][::-1]))
    assert rest == [group for group in whole if group in rest]


def test_a_run_without_a_name_keeps_the_order_of_the_plan():
    assert in_own_order(GROUPS, "", ID) == GROUPS


class Recorded:
    """A store in which records come and go, one list at each look."""

    def __init__(self, *looks):
        self.looks = list(looks)

    def list(self, prefix):
        return [f"{prefix}{name}" for name in (self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])]


def test_counting_survives_records_that_are_deleted_and_come_again(monkeypatch, caplog):
    monkeypatch.setattr(cells, "COUNT_EVERY_S", 0.02)
    monkeypatch.setattr(cells, "gauges", lambda _texts: nullcontext(lambda *_: None))
    caplog.set_level(logging.INFO, "histoseg.cells")
    store = Recorded("a", "ab", "abc")  # 2 were recorded at first; one was deleted
    with cells._counting(store, {f"records/x/{name}" for name in "abcd"}, 2):
        deadline = time.monotonic() + 10
        while len(caplog.messages) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    again, new = caplog.messages
    assert again == "runs: 2 of 4 recorded"
    assert new.startswith("runs: 3 of 4 recorded  eta ")
