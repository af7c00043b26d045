import pytest

from histoseg.errors import TrainingError
from histoseg.storage import connect
from ray_jobs.cells import _require_records


def test_a_cell_that_lost_its_record_is_no_success(tmp_path):
    store, wanted = connect(f"file://{tmp_path}"), {"records/smoke/a.json", "records/smoke/b.json"}
    store.put("records/smoke/a.json", b"{}")
    with pytest.raises(TrainingError, match=r"1 of 2 cells have no record, .*records/smoke/b.json.*Submit again"):
        _require_records(wanted, store)
    store.put("records/smoke/b.json", b"{}")
    _require_records(wanted, store)
