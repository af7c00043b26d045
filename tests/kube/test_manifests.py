"""What the chart renders, and what is submitted, is accepted by the CRDs and by the controllers behind them."""

import pytest

from tests.charts.conftest import helm, rendered  # noqa: F401 # fixtures
from tests.charts.rendering import SCENARIOS, one
from tests.charts.rendering import ray_job as template_of
from tests.kube.crd_schemas import schema_faults, schemas
from tests.kube.example import GONE, ray_cluster, ray_job, spoilt

WORKER = "spec.rayClusterSpec.workerGroupSpecs.0"


@pytest.fixture(scope="session")
def crds(pytestconfig):
    return schemas(pytestconfig.cache.mkdir("crds"))


@pytest.mark.parametrize("make", [ray_job, ray_cluster])
def test_the_example_is_accepted(make, crds):
    assert schema_faults(make(), crds) == []


DELETE = "spec.deletionStrategy"


# What is wrong is plain in each; the wording is jsonschema's, or the CRD's own for x-kubernetes-validations.
@pytest.mark.parametrize(
    ("edits", "where", "what"),
    [
        ({"spec.entrypont": "python"}, "spec", "'entrypont' was unexpected"),
        ({f"{WORKER}.maxReplicas": "2"}, "spec.rayClusterSpec.workerGroupSpecs.0.maxReplicas", "'2' is not of type"),
        ({f"{WORKER}.groupName": GONE}, "spec.rayClusterSpec.workerGroupSpecs.0", "'groupName' is a required"),
        (
            {"spec.rayClusterSpec.authOptions.mode": "tokens"},
            "spec.rayClusterSpec.authOptions.mode",
            "'tokens' is not one",
        ),
        (
            {f"{WORKER}.template.spec.containers.0.resources.limits.memory": "16 GB"},
            "spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.resources.limits.memory",
            "'16 GB' does not match",
        ),
        (
            {f"{WORKER}.template.spec.containers.0.env.1": {"name": "AWS_ENDPOINT_URL", "value": "twice"}},
            "spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.env",
            "AWS_ENDPOINT_URL is there 2 times",
        ),
        ({"spec.preRunningDeadlineSeconds": 0}, "spec.preRunningDeadlineSeconds", "0 is less than the minimum of 1"),
        ({"spec.managedBy": "me"}, "spec.managedBy", "the managedBy field value must be either"),
        ({DELETE: {"onSuccess": {"policy": "DeleteSelf"}}}, DELETE, "requires either BOTH onSuccess and onFailure"),
        (
            {f"{DELETE}.deletionRules": [{"policy": "DeleteSelf", "condition": {"ttlSeconds": 1}}]},
            f"{DELETE}.deletionRules.0.condition",
            "requires either the JobStatus or the JobDeploymentStatus",
        ),
        ({"apiVersion": "ray.io/v2"}, "ray.io/v2 RayJob", "no CRD of"),
    ],
)
def test_what_the_schema_refuses(edits, where, what, crds):
    faults = schema_faults(spoilt(ray_job(), edits), crds)
    assert len(faults) == 1
    assert faults[0].startswith(f"{where}: ")
    assert what in faults[0]


def test_defaults_come_before_the_check(crds):
    """MaxReplicas is required and has a default; the server fills it in (and our own rule asks for it)."""
    from histoseg.kube.rules import faults

    job = spoilt(ray_job(), {f"{WORKER}.maxReplicas": GONE})
    assert schema_faults(job, crds) == []
    assert len(faults([job])) == 1


def test_schemas_are_read_once(tmp_path, crds, monkeypatch):
    import tests.kube.crd_schemas as module

    monkeypatch.setattr(module, "FILES", module.FILES[-2:])
    first = schemas(tmp_path)
    assert first.items() <= crds.items()
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(kept) == 2
    assert schemas(tmp_path) == first
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept


def test_without_crds_it_says_what_to_do(tmp_path, monkeypatch):
    import tests.kube.crd_schemas as module

    monkeypatch.setattr(module, "FOLDER", tmp_path / "nowhere")
    with pytest.raises(pytest.skip.Exception, match="HISTOSEG_CRDS"):
        schemas(tmp_path)


GROUPS = ("ray.io/", "monitoring.coreos.com/", "kueue.x-k8s.io/")


def submitted(objects):
    """The RayJob that `make submit` would create with what the chart installed."""
    from histoseg.kube.rayjob import addressed, manifest
    from histoseg.kube.settings import Settings
    from histoseg.runs.request import Request

    settings = Settings.parse(one(objects, "ConfigMap", "settings")["data"], "here", "histoseg")
    request = Request(experiment="table1", scale="paper", seeds=3)
    return manifest(addressed(request, settings), settings, "make submit EXP=table1 CLUSTER=lab")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_that_the_chart_renders_is_accepted(scenario, rendered, crds):  # noqa: F811 # a fixture
    from histoseg.kube.rules import faults

    objects = rendered(scenario)
    custom = [each for each in objects if each["apiVersion"].startswith(GROUPS)]
    assert {f"{each['kind']}/{each['metadata']['name']}": schema_faults(each, crds) for each in custom} == {
        f"{each['kind']}/{each['metadata']['name']}": [] for each in custom
    }
    assert faults(objects) == []
    assert faults([template_of(objects)], template=True) == []


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_job_is_accepted(scenario, rendered, crds):  # noqa: F811 # a fixture
    from histoseg.kube.rules import faults

    job = submitted(rendered(scenario))
    assert schema_faults(job, crds) == []
    assert faults([job]) == []


def test_custom_objects_are_rendered_at_all(rendered):  # noqa: F811 # a fixture
    kinds = {each["kind"] for name in SCENARIOS for each in rendered(name) if each["apiVersion"].startswith(GROUPS)}
    assert kinds >= {"RayCluster", "PodMonitor", "PrometheusRule"}


# Spoilt copies: the checks above look at what is rendered, and are not content with anything.
@pytest.mark.parametrize(
    ("edits", "fault"),
    [
        ({"spec.submissionMode": "K8sJob"}, 'spec.submissionMode is "K8sJob"'),
        ({"spec.shutdownAfterJobFinishes": False}, "spec.ttlSecondsAfterFinished is"),
        ({"spec.activeDeadlineSeconds": GONE}, "has GPUs"),
        ({"spec.rayClusterSpec.rayVersion": "2.51.0"}, "spec.rayClusterSpec.rayVersion is"),
        ({f"{WORKER}.template.spec.securityContext.runAsNonRoot": False}, "securityContext.runAsNonRoot is false"),
        ({f"{WORKER}.template.spec.containers.0.env.0": {"name": "A_TOKEN", "value": "x"}}, "env[A_TOKEN]"),
    ],
)
def test_a_spoilt_job_is_not(edits, fault, rendered):  # noqa: F811 # a fixture
    from histoseg.kube.rules import faults

    lines = faults([spoilt(submitted(rendered("gpu")), edits)])
    assert len(lines) == 1
    assert fault in lines[0]


def test_spoilt_objects_are_not(rendered, crds):  # noqa: F811 # a fixture
    objects = rendered("monitoring")
    monitor = next(each for each in objects if each["kind"] == "PodMonitor")
    assert len(schema_faults(spoilt(monitor, {"spec.podMetricsEndpoint": []}), crds)) == 1
    rule = next(each for each in objects if each["kind"] == "PrometheusRule")
    assert len(schema_faults(spoilt(rule, {"spec.groups.0.rules.0.expr": GONE}), crds)) == 1
