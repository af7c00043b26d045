"""An API server that is killed and started again while a researcher of the chart follows a job."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from histoseg.kube import follow as following
from histoseg.kube.api import Cluster
from histoseg.kube.refusals import RefusedError
from histoseg.kube.submit import submit
from histoseg.runs.follow import Notices, OutageError, Pace
from tests.charts.conftest import helm  # noqa: F401 # a fixture
from tests.charts.rendering import render, some, values_of
from tests.kube.conftest import COMMAND
from tests.kube.kubelet import Log, stamped
from tests.kube.lab import TEAM, ends, running

RESEARCHER = "/O=pathology-research/CN=ann"  # The group of ci/gpu-values.yaml
PACE = Pace(poll_s=0.1, silence_s=5.0, outage_s=120.0)


@pytest.fixture
def researcher(api_server, server, helm, tmp_path, monkeypatch):  # noqa: F811 # a fixture
    """A researcher in the namespace of a release, without the proxy."""
    objects = render(helm, values_of("gpu"), namespace=TEAM)
    for each in [*some(objects, "Role"), *some(objects, "RoleBinding")]:
        assert "AlreadyExists" in (api_server.create(each, namespace=TEAM) or "AlreadyExists")
    path = tmp_path / "config"
    path.write_text(api_server.kubeconfig(RESEARCHER, TEAM))
    monkeypatch.setenv("KUBECONFIG", str(path))
    with closing(Cluster.connect("lab")) as connected:
        wait(lambda: connected.may("delete", "ray.io", "rayjobs"))
        yield connected


def wait(is_so, seconds=60):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_following_goes_on_where_it_was(server, researcher, job, settings):
    """First there are no answers, then perhaps refusals, until the server has read the roles."""
    log = Log(stamped("one", "two"), over=False)
    shown, script = [], [*running(log)]

    def pause(seconds):
        if script:
            script.pop(0)(server, job.name)
        time.sleep(seconds)

    cluster = replace(researcher, sleep=pause)
    with ThreadPoolExecutor(1) as pool:  # Which follows: the server ends with the thread that starts it
        done = pool.submit(submit, cluster, job, settings, COMMAND, shown.append, PACE)
        wait(lambda: "two" in shown)
        server.api.kill()
        log.lines += stamped("three", first=2)
        server.api.start()
        log.lines += stamped("four", first=3)
        wait(lambda: "four" in shown)
        ends()(server, job.name)
        log.over = True
        done.result(60)
    assert [line for line in shown if not line.startswith(job.name)] == ["one", "two", "three", "four"]
    assert 1 <= len([line for line in shown if "cannot be seen now" in line]) <= 2  # No answer; refusals
    assert shown[-1].startswith(f"{job.name}: finished")


@pytest.fixture
def lost(server, researcher):
    """Takes the researcher's rights away; the server does it within a moment."""

    def take():
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{TEAM}/rolebindings/histoseg-researcher"
        assert server.api.send("DELETE", path) == ""
        wait(lambda: not researcher.may("get", "ray.io", "rayjobs"))

    return take


def test_who_was_allowed_before_is_asked_again_for_minutes_and_then_refused(researcher, lost, job, monkeypatch):
    followed = following.FollowedRayJob(researcher, job.name, COMMAND, 1.0)
    assert researcher.rayjobs() == []
    assert researcher.rayjob(job.name) is None
    lost()
    with pytest.raises(OutageError, match=r"may not get rayjobs.ray.io .* Role .*asked again for 5 minutes"):
        followed.look(Notices(job.name, print))
    monkeypatch.setattr(following, "REFUSED_S", 0.0)
    with pytest.raises(RefusedError, match=r"may not get rayjobs.ray.io .* access.researchers$"):
        followed.look(Notices(job.name, print))


def test_who_never_was_allowed_is_refused_at_once(researcher, lost, job):
    lost()
    with pytest.raises(RefusedError, match="may not get") as caught:
        following.FollowedRayJob(researcher, job.name, COMMAND, 1.0).look(Notices(job.name, print))
    assert not caught.value.was_allowed


def test_any_request_that_was_allowed_before_is_repeated(researcher, lost, job):
    assert researcher.rayjob(job.name) is None
    lost()
    waited = []
    with pytest.raises(RefusedError, match="may not get"):
        replace(researcher, patience_s=0.2, sleep=lambda seconds: (waited.append(seconds), time.sleep(seconds))).rayjob(
            job.name
        )
    assert waited
