"""What the chart renders, and what is submitted, is accepted by a real API server with Pod Security's `restricted`."""

from contextlib import closing

import pytest

from histoseg.kube.api import Cluster
from histoseg.kube.job_pods import require_accepted
from tests.charts.conftest import helm, rendered  # noqa: F401 # fixtures
from tests.charts.rendering import SCENARIOS, pods, some
from tests.charts.rendering import ray_job as template_of
from tests.kube.api_server import ADMIN, NAMESPACE, path_of
from tests.kube.example import GONE, ray_job, spoilt

WORKER = "spec.rayClusterSpec.workerGroupSpecs.0"
POD = f"{WORKER}.template.spec"


@pytest.fixture(scope="module")
def installed(api_server, rendered):  # noqa: F811 # a fixture
    """The server, with what pods refer to and only a controller or a user makes."""
    accounts = [each for name in ("minimal", "raw-data") for each in some(rendered(name), "ServiceAccount")]
    scheduling, node = {"apiVersion": "scheduling.k8s.io/v1", "value": 10}, {"apiVersion": "node.k8s.io/v1"}
    classes = [{**scheduling, "kind": "PriorityClass", "metadata": {"name": name}} for name in ("preemptible", "heads")]
    classes += [{**node, "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc"}]
    for each in [*accounts, *some(rendered("gpu"), "PriorityClass"), *classes]:
        assert api_server.create(each) == ""
    return api_server


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_that_the_chart_renders_is_accepted(scenario, rendered, installed):  # noqa: F811 # a fixture
    """By a server-side apply, as Helm 4 sends it."""
    objects = rendered(scenario)
    said = {f"{each['kind']}/{each['metadata']['name']}": try_to_apply(installed, each) for each in objects}
    assert {name: text for name, text in said.items() if text} == {}
    kinds = {each["kind"] for each in objects}
    assert ("PrometheusRule" in kinds) == (scenario == "monitoring")


def try_to_apply(server, each):
    """ "" if the server would take it, else what it says."""
    path = f"{path_of(each, NAMESPACE)}/{each['metadata']['name']}"
    query = "dryRun=All&fieldValidation=Strict&fieldManager=helm"
    return server.send("PATCH", f"{path}?{query}", each, "application/apply-patch+yaml")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_pod_is_accepted(scenario, rendered, installed):  # noqa: F811 # a fixture
    """For a Deployment or a RayJob, the server checks the template's schema, and no more."""
    for where, labels, spec in pods(rendered(scenario)):
        claimed = [{"name": "objects", "emptyDir": {}}] if where.startswith("StatefulSet") else []  # By its template
        volumes = {each["name"]: each for each in (*claimed, *spec["volumes"])}
        full = {**spec, "volumes": list(volumes.values())}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": labels}, "spec": full}
        assert installed.create(pod, dry_run=True) == "", where


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_job_is_accepted_with_its_pods(scenario, rendered, installed, tmp_path, monkeypatch):  # noqa: F811 # a fixture
    """As `make submit` tries it, so with the autoscaler's container in the head."""
    (tmp_path / "config").write_text(installed.kubeconfig(ADMIN))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    template = template_of(rendered(scenario))
    named = {"metadata": {**template["metadata"], "name": "x"}, "spec": {**template["spec"], "entrypoint": "true"}}
    with closing(Cluster.connect("lab")) as cluster:
        assert require_accepted(cluster, {**template, **named}, {}) is True


# What is wrong is plain in each; the field and the words are the server's.
@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({"spec.entrypont": "python"}, 'unknown field \\"spec.entrypont\\"'),
        ({f"{WORKER}.maxReplicas": "2"}, "spec.rayClusterSpec.workerGroupSpecs[0].maxReplicas"),
        ({f"{WORKER}.groupName": GONE}, "spec.rayClusterSpec.workerGroupSpecs[0].groupName"),
        ({"spec.rayClusterSpec.authOptions.mode": "tokens"}, "spec.rayClusterSpec.authOptions.mode"),
        ({f"{POD}.containers.0.resources.limits.memory": "16 GB"}, "containers[0].resources.limits.memory"),
        ({f"{POD}.containers.0.env.1": {"name": "AWS_ENDPOINT_URL", "value": "twice"}}, "AWS_ENDPOINT_URL"),
        ({"spec.managedBy": "me"}, "managedBy"),
        ({"apiVersion": "ray.io/v2"}, "404 page not found"),
    ],
)
def test_a_spoilt_job_is_refused(edits, words, installed):
    job = spoilt(ray_job(), {"metadata.namespace": NAMESPACE})
    assert installed.create(job, dry_run=True) == ""
    assert words in installed.create(spoilt(job, edits), dry_run=True)


def test_spoilt_monitors_are_refused(rendered, installed):  # noqa: F811 # a fixture
    monitor, rule = (some(rendered("monitoring"), kind)[0] for kind in ("PodMonitor", "PrometheusRule"))
    assert "podMetricsEndpoint" in installed.create(spoilt(monitor, {"spec.podMetricsEndpoint": []}), dry_run=True)
    assert "expr" in installed.create(spoilt(rule, {"spec.groups.0.rules.0.expr": GONE}), dry_run=True)
