import logging
import time
from contextlib import nullcontext

import pytest

from histoseg.errors import TrainingError
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


GROUPS = [Group(id=f"group-{i}", runs="[]", store_url="", cache="") for i in range(8)]


def test_two_jobs_begin_with_other_groups():
    one, two = in_own_order(GROUPS, "table1-1f0c9a2e"), in_own_order(GROUPS, "table1-77ab01cd")
    assert sorted(one, key=GROUPS.index) == sorted(two, key=GROUPS.index) == GROUPS
    assert {group.id for group in one[:2]}.isdisjoint(group.id for group in two[:2])


def test_a_job_that_is_repeated_keeps_its_order_over_what_is_left():
    whole, rest = in_own_order(GROUPS, "table1-1f0c9a2e"), in_own_order(GROUPS[3:][::-1], "table1-1f0c9a2e")
    assert rest == [group for group in whole if group in rest]


def test_a_run_without_a_name_keeps_the_order_of_the_plan():
    assert in_own_order(GROUPS, "") == GROUPS


class Recorded:
    """A store in which records come and go, one list at each look."""

    def __init__(self, *looks):
        self.looks = list(looks)

    def list(self, prefix):
        return [f"{prefix}{name}" for name in (self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])]


def test_counting_survives_records_that_are_deleted_and_come_again(monkeypatch, caplog):
    monkeypatch.setattr(cells, "COUNT_EVERY_S", 0.02)
    monkeypatch.setattr(cells, "shown", lambda _gauge: nullcontext(lambda *_: None))
    caplog.set_level(logging.INFO, "histoseg.cells")
    store = Recorded("a", "ab", "abc")  # 2 were recorded at first; one was deleted
    with cells._counting(store, {f"records/x/{name}" for name in "abcd"}, 2):
        deadline = time.monotonic() + 10
        while len(caplog.messages) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    again, new = caplog.messages
    assert again == "cells: 2 of 4 recorded"
    assert new.startswith("cells: 3 of 4 recorded  eta ")
