"""Clusters without KubeRay, or with CRDs of an older one: one line, and nothing is created."""

import copy
import time
from dataclasses import replace

import pytest

from histoseg.kube.refusals import SINCE, RefusedError
from histoseg.kube.submit import submit
from tests.charts.conftest import helm, rendered  # noqa: F401 # fixtures
from tests.charts.rendering import ray_job as template_of
from tests.kube.conftest import COMMAND
from tests.kube.lab import TEAM

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def crd(api_server):
    """Replaces the CRD of RayJobs for a while by one that a function changes; None takes it away."""
    whole = api_server.get(f"{CRD}/rayjobs.ray.io")
    made = {**whole, "metadata": {"name": "rayjobs.ray.io", "annotations": whole["metadata"]["annotations"]}}
    made.pop("status")

    def change(edit):
        if api_server.send("DELETE", f"{CRD}/rayjobs.ray.io") == "":
            wait(lambda: "404 page not found" in api_server.send("GET", "/apis/ray.io/v1/namespaces/team/rayjobs/x"))
            wait(lambda: "NotFound" in api_server.send("GET", f"{CRD}/rayjobs.ray.io"))
        if edit is not None:
            body = copy.deepcopy(made)
            for version in body["spec"]["versions"]:
                edit(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])
            assert api_server.create(body) == ""
            wait(lambda: not api_server.send("GET", "/apis/ray.io/v1/rayjobs"))

    yield change
    change(lambda fields: None)


def wait(is_so, seconds=60):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_without_kuberay(cluster, crd, job, settings):
    crd(None)
    with pytest.raises(RefusedError, match=r"has no rayjobs.ray.io/v1 \(404\); install the KubeRay operator") as caught:
        submit(cluster, job, settings, COMMAND, print)
    assert "\n" not in str(caught.value)


def test_with_crds_that_lack_fields_of_ours(server, cluster, crd, rendered, job, settings):  # noqa: F811 # a fixture
    """As those of KubeRay 1.4, whether the operator is as old or was upgraded without them."""

    def take(fields):
        fields.pop("preRunningDeadlineSeconds", None)
        fields["rayClusterSpec"]["properties"].pop("authOptions", None)

    crd(take)
    template = template_of(rendered("minimal"))
    template = {**template, "metadata": {**template["metadata"], "namespace": TEAM}}
    with pytest.raises(RefusedError) as caught:
        submit(cluster, job, replace(settings, template=template), COMMAND, print)
    said = str(caught.value)
    for part in ("spec.preRunningDeadlineSeconds", "preRunningDeadlineSeconds since 1.6", "authOptions since 1.5.1"):
        assert part in said
    assert "the cluster's CRDs are older than the chart" in said
    assert "\n" not in said
    assert server.rayjob(job.name) is None


def test_fields_are_named_with_versions_only_if_the_crd_has_them(api_server):
    """Of a version without such a field, nothing would be told of it."""
    (version,) = [v for v in api_server.get(f"{CRD}/rayjobs.ray.io")["spec"]["versions"] if v["name"] == "v1"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    ray = spec["rayClusterSpec"]["properties"]
    known = {*spec, *ray, *ray["authOptions"]["properties"], *ray["autoscalerOptions"]["properties"]}
    assert set(SINCE) <= known
