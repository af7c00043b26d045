"""Which errors of a training are worth another attempt."""

from contextlib import nullcontext

import pytest

from histoseg.errors import StorageError, StoreRefusedError, StoreSetupError, TrainingError
from histoseg.runs.request import Request
from histoseg.training.process import Process
from ray_jobs import train as module
from ray_jobs.train import Group, train


@pytest.mark.parametrize(
    ("error", "is_repeated"),
    [
        (StorageError("connection refused"), True),
        (StoreSetupError("the session token has expired"), False),
        (StoreRefusedError("access denied"), False),
        (TrainingError("loss is nan"), False),
    ],
)
def test_only_what_may_pass_is_raised(error, is_repeated, tmp_path, monkeypatch):
    """Ray tries again what is raised, and not what is returned."""

    def fail(*_):
        raise error

    monkeypatch.setattr(module, "_load", lambda _name: fail)
    request = Request(experiment="smoke", store=f"file://{tmp_path}")
    group = Group(id="glas", runs="[]", request=request, cache=str(tmp_path))
    monkeypatch.setattr(module, "_listeners", lambda *_: nullcontext(()))
    with pytest.raises(type(error)) if is_repeated else nullcontext():
        assert train(group, Process()) == f"{type(error).__name__}: {error}"
