"""What a job refuses before a Ray is started for it."""

import pytest

from histoseg.errors import DataError
from histoseg.runs.config import Data
from histoseg.runs.request import Request
from histoseg.store.objects import connect
from ray_jobs.driver import prepare

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "nope"], "smoke has no scale 'nope'; choose from laptop"),
        (["--set", "optim.nope=3", "--store", "file:///replaced"], "'nope' is not among lr, steps"),
        (["--data", "/nonexistent"], "/nonexistent is not a folder"),
        (["--seeds", "0"], "request.seeds = 0"),
        (["--listen", "tensorbord"], "no 'tensorbord' in listeners; choose from mlflow, tensorboard"),
    ],
)
def test_what_cannot_be_is_one_clear_line(start, tmp_path, words, message):
    if "--store" in words:
        words = [*words[:-1], f"file://{tmp_path}/store"]
    code, output = start(tmp_path, *words).finish()
    assert code != 0
    assert message in output.splitlines()[-1]
    assert "Traceback" not in output


def test_what_is_not_found_is_named_and_the_rest_is_used(demo, tmp_path):
    request = Request(experiment="table1")
    store = connect(f"file://{tmp_path}/store")
    omissions = prepare(request, demo / "GlaS", store, Data(patch_px=32))
    assert [line.split()[0] for line in omissions] == ["gleason2019", "breastpathq", "monuseg", "digestpath"]
    assert all("was not found" in line for line in omissions)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds none of gleason2019"):
        prepare(request, tmp_path / "empty", store, Data(patch_px=32))
