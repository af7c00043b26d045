import pytest

from histoseg.runs.request import Request
from ray_jobs.cluster import _session_folder
from ray_jobs.local_job import _store


@pytest.mark.parametrize(("data", "below"), [("", "/demo"), ("demo", "/demo"), ("prepared", ""), ("/data/raw", "")])
def test_demo_data_never_takes_the_place_of_what_a_store_holds(data, below, tmp_path):
    with _store(Request(experiment="smoke", store=f"file://{tmp_path}/", data=data)) as store:
        assert store.url.rstrip("/") == f"file://{tmp_path}{below}"


def test_ray_leaves_a_short_folder_only_after_an_error(tmp_path):
    deep = tmp_path / ("d" * 60)
    with _session_folder(deep) as short:
        assert short.is_dir()
        assert len(str(short)) < 40
    assert not short.exists()
    with pytest.raises(ZeroDivisionError), _session_folder(deep) as short:
        raise ZeroDivisionError
    assert short.is_dir()
    short.rmdir()
