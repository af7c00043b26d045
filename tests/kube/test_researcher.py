"""The chart's Role on a real API server: enough to submit, follow and cancel a job, and no more."""

import time

import pytest

from histoseg.doctor.cluster import cluster_checks
from histoseg.kube.api import Cluster
from histoseg.kube.job_pods import require_accepted
from histoseg.kube.jobs import details
from histoseg.kube.refusals import RefusedError
from histoseg.kube.settings import Settings
from tests.charts.conftest import helm, rendered  # noqa: F401 # fixtures
from tests.charts.rendering import some

RESEARCHER = "/O=pathology-research/CN=ann"  # The group of ci/gpu-values.yaml


@pytest.fixture
def cluster(api_server, rendered, tmp_path, monkeypatch):  # noqa: F811 # a fixture
    """The cluster with a release, as a researcher sees it."""
    kinds = ("Role", "RoleBinding", "ConfigMap")
    for each in [each for kind in kinds for each in some(rendered("gpu"), kind)]:
        assert "AlreadyExists" in (api_server.create(each) or "AlreadyExists")
    path = tmp_path / "config"
    path.write_text(api_server.kubeconfig(RESEARCHER))
    monkeypatch.setenv("KUBECONFIG", str(path))
    connected = Cluster.connect("lab")
    deadline = time.monotonic() + 30
    while not connected.may("delete", "ray.io", "rayjobs") and time.monotonic() < deadline:
        time.sleep(0.1)
    yield connected
    connected.close()


def test_doctor_finds_all_that_a_job_needs(cluster):
    found = {check.what: check for check in cluster_checks("lab", "", "histoseg")}
    assert {what: check.found for what, check in found.items() if not check.ok} == {}
    assert found["may use rayjobs.ray.io"].found == "create, get, list, delete"
    assert "pods were not checked" in found["job template"].found
    assert "may not list nodes" in found["GPUs"].found
    assert "may not read secrets" in found["secret histoseg-store"].found


def test_a_job_is_submitted_seen_and_cancelled(cluster):
    template = Settings.read(cluster).template
    metadata = {**template["metadata"], "name": "smoke-0a1b2c3d"}
    job = {**template, "metadata": metadata, "spec": {**template["spec"], "entrypoint": "true"}}
    assert require_accepted(cluster, job, {}) is False  # The right to create pods is not the Role's
    assert cluster.create_rayjob(job)
    made = cluster.rayjob("smoke-0a1b2c3d")
    assert [each["metadata"]["name"] for each in cluster.rayjobs("app.kubernetes.io/instance=histoseg")] == [
        "smoke-0a1b2c3d"
    ]
    assert details(cluster, made).startswith("smoke-0a1b2c3d: waits for KubeRay\n")  # Lists pods and events
    assert list(cluster.log("absent", "it")) == []
    assert cluster.delete_rayjob("smoke-0a1b2c3d", made["metadata"]["uid"])
    assert cluster.rayjob("smoke-0a1b2c3d")["metadata"]["deletionTimestamp"]


def test_a_researcher_may_not_read_secrets_or_other_settings(cluster):
    for ask in (lambda: cluster.secret_keys("histoseg-store"), lambda: cluster.config_map("other")):
        with pytest.raises(RefusedError, match="may not get"):
            ask()
