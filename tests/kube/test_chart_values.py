"""What a real API server refuses is told with the chart's value behind it, before anything is created."""

import json
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from histoseg.doctor.cluster import cluster_checks
from histoseg.errors import ClusterError
from histoseg.kube.api import Cluster
from histoseg.kube.chart_values import HEAD, JOB, SUBMITTER, with_value
from histoseg.kube.rayjob import addressed
from histoseg.kube.refusals import ApiRequest, ErrorAnswer, refusal
from histoseg.kube.settings import Settings
from histoseg.kube.submit import submit
from histoseg.runs.request import Request
from tests.charts.conftest import helm  # noqa: F401 # a fixture
from tests.charts.rendering import one, render, some
from tests.kube.example import ray_job

GPU = {"name": "gpu", "replicas": 1, "cpus": 2, "memory": "8Gi", "gpus": 1}
POD = {"podTemplate": {"spec": {"terminationGracePeriod": 10}}}  # No such field
CAPABLE = {"name": "ray-worker", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}


def of_gpu(spec):
    return {"workerGroups": [{**GPU, "podTemplate": {"spec": spec}}]}


@pytest.fixture
def install(helm, api_server, tmp_path, monkeypatch):  # noqa: F811 # a fixture
    """Makes of values what a job needs of a release, in a namespace of its own; gives the cluster and the settings."""
    with ExitStack() as stack:

        def do(values):
            namespace = api_server.namespace()
            all_values = {"store": {"url": "s3://histology", "existingSecret": "histoseg-store"}, **values}
            (tmp_path / "values.json").write_text(json.dumps(all_values))
            objects = render(helm, tmp_path / "values.json", namespace=namespace)
            for each in [*some(objects, "ServiceAccount"), one(objects, "ConfigMap", "settings")]:
                assert api_server.create(each, namespace=namespace) == ""
            (tmp_path / "config").write_text(api_server.kubeconfig(namespace=namespace))
            monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
            data = one(objects, "ConfigMap", "settings")["data"]
            return stack.enter_context(closing(Cluster.connect("lab"))), Settings.parse(data, "settings", "histoseg")

        yield do


@pytest.mark.slow  # The server takes 10 to 20 s to start
@pytest.mark.parametrize(
    ("values", "value", "parts"),
    [
        ({"podTemplate": {"spec": {"contaners": []}}}, "podTemplate", ['unknown field "spec.rayCluster', ".contaners"]),
        ({"head": POD}, "head.podTemplate", ["headGroupSpec.template.spec.terminationGracePeriod"]),
        (of_gpu({"nodeNam": "a"}), "workerGroups[gpu].podTemplate", ["workerGroupSpecs[0].template.spec.nodeNam"]),
        (of_gpu({"containers": [CAPABLE]}), "workerGroups[gpu].podTemplate", ["violates PodSecurity", "SYS_ADMIN"]),
        (of_gpu({"dnsPolicy": "Cluster"}), "workerGroups[gpu].podTemplate", ["spec.dnsPolicy", '"ClusterFirst"']),
        ({"podTemplate": {"spec": {"dnsPolicy": "Cluster"}}}, "podTemplate", ["spec.dnsPolicy"]),
        ({"podTemplate": {"spec": {"runtimeClassName": "kata"}}}, "podTemplate", ['RuntimeClass "kata" not found']),
        ({"head": {"podTemplate": {"spec": {"priorityClassName": "gone"}}}}, "head.podTemplate", ["gone was found"]),
        (
            {"podTemplate": {"spec": {"containers": [{"name": "log"}]}}},
            "podTemplate",
            ["containers[1].image: Required"],
        ),
        ({"podTemplate": {"spec": {"hostAliases": [{"ip": "here"}]}}}, "podTemplate", ["spec.hostAliases[0].ip"]),
        ({"job": {"spec": {"managedBy": "me"}}}, "job.spec", ["managedBy"]),
        ({"job": {"spec": {"suspnd": True}}}, "job.spec", ['unknown field "spec.suspnd"']),
        ({"job": {"spec": {"rayClusterSpec": {"suspend": "yes"}}}}, "job.spec", ["rayClusterSpec.suspend", "boolean"]),
        ({"tolerations": [{"operator": "Equal"}]}, "tolerations", ["spec.tolerations[0]"]),
        (
            {"workerGroups": [{**GPU, "tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}]},
            "workerGroups[gpu].tolerations",
            ["spec.tolerations[0]"],
        ),
        ({"priorityClass": {"name": "gone"}}, "priorityClass.name", ["no PriorityClass with name gone"]),
    ],
)
def test_a_refused_value_is_named_and_nothing_is_created(values, value, parts, install, api_server):
    cluster, settings = install(values)
    request = addressed(Request(experiment="table1"), settings)
    with pytest.raises(ClusterError) as caught:
        submit(replace(cluster, sleep=pytest.fail), request, settings, "make submit EXP=table1")  # Does not follow
    said = str(caught.value)
    assert f"correct {value} in the chart's values" in said
    assert [part for part in parts if part not in said] == [], said
    assert "\n" not in said
    assert api_server.get(f"/apis/ray.io/v1/namespaces/{cluster.namespace}/rayjobs")["items"] == []


@pytest.mark.slow  # The server takes 10 to 20 s to start
def test_doctor_names_the_value_too(install, api_server):
    cluster, _ = install(of_gpu({"dnsPolicy": "Cluster"}))
    (check,) = [each for each in cluster_checks("lab", cluster.namespace, "histoseg") if each.what == "job template"]
    assert not check.ok
    assert "correct workerGroups[gpu].podTemplate in the chart's values" in check.found


def refused(message, *fields, status=422):
    """As the API server words it."""
    causes = [{"field": field, "message": "is wrong"} for field in fields]
    body = {"kind": "Status", "message": message, "reason": "Invalid", "details": {"causes": causes}}
    request = ApiRequest(verb="create", resource="pods", context="lab", server="https://x", role="r", namespace="lab")
    return refusal(request, ErrorAnswer.read(status, json.dumps(body)))


COMMON, OF_HEAD = {"spec": {"volumes": [{"name": "a"}]}}, {"spec": {"volumes": [{"name": "b", "csi": {"driver": 1}}]}}
BOTH = {"podTemplate": COMMON, "head.podTemplate": OF_HEAD, "job.spec": {"suspend": 1}}


@pytest.mark.parametrize(
    ("field", "about", "value"),
    [
        ("spec.volumes[3].name", HEAD, "head.podTemplate or podTemplate"),  # It stands in both
        ("spec.volumes[3].csi.driver", HEAD, "head.podTemplate"),
        ("spec.volumes[3].csi.driver", SUBMITTER, "podTemplate"),
        ("spec.rayClusterSpec.headGroupSpec.template.spec.volumes[0].csi", JOB, "head.podTemplate"),
        ("spec.rayClusterSpec.workerGroupSpecs[0].template.spec.volumes[0].csi", JOB, "podTemplate"),
        ("spec.submitterPodTemplate.spec.volumes[0].name", JOB, "podTemplate"),
        ("spec.suspend", JOB, "job.spec"),
        ("metadata.labels", "workerGroups[gpu]", "commonLabels"),
        ("spec.nodeSelector[a.b/c]", "workerGroups[gpu]", "workerGroups[gpu].nodeSelector"),
        ("spec.nodeSelector[a.b/c]", HEAD, "nodeSelector"),
        ("spec.priorityClassName", "workerGroups[gpu]", "workerGroups[gpu].priorityClassName or priorityClass.name"),
    ],
)
def test_the_value_is_the_one_in_which_the_field_stands(field, about, value):
    error = refused("is invalid", field)
    said = with_value(error, about, ray_job(), BOTH)
    assert f"{field}: is wrong (422); correct {value} in the chart's values" in str(said)
    assert (said.status, said.answer) == (422, error.answer)


def test_a_value_behind_the_second_field_is_found():
    """The first is one of ours that older CRDs lack."""
    message = 'unknown field "spec.submitterConfig", unknown field "spec.suspend"'
    assert "correct job.spec in" in str(with_value(refused(message, status=400), JOB, ray_job(), BOTH))


# The cause of each lies elsewhere: a quota, a field of the chart's own, a right.
@pytest.mark.parametrize(
    ("message", "fields", "status"),
    [
        ("exceeded quota: lab", (), 403),
        ("is invalid", ("spec.containers[0].name",), 422),
        ("is invalid", ("spec.entrypoint",), 422),
        ('User "ann" cannot create resource "pods": violates PodSecurity', (), 403),
    ],
)
def test_no_value_is_named_that_is_not_behind_it(message, fields, status):
    error = refused(message, *fields, status=status)
    assert with_value(error, JOB if "spec.entrypoint" in fields else HEAD, ray_job(), BOTH) is error


def test_admission_that_names_no_field_leads_to_all_that_is_merged():
    error = refused("violates PodSecurity", status=403)
    assert "correct head.podTemplate or podTemplate in" in str(with_value(error, HEAD, ray_job(), BOTH))
    assert with_value(error, HEAD, ray_job(), {}) is error
