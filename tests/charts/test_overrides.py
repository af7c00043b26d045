"""What values merge over the chart's objects: podTemplate, job.spec, cluster.spec, extraManifests."""

import json
import re
import textwrap

import pytest
import yaml

from tests.charts.rendering import (
    CHART,
    COMPONENT,
    cluster_spec,
    container,
    environment,
    groups,
    head,
    one,
    pods,
    ray_job,
    refusal,
    render,
    settings,
    some,
    values_of,
)

STORE = {"store": {"url": "s3://histology", "existingSecret": "histoseg-store"}}
GPU = {"name": "gpu", "replicas": 1, "cpus": 2, "memory": "8Gi", "gpus": 1}
PROXY = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}


@pytest.fixture
def rendered_with(helm, tmp_path):
    """rendered_with(podTemplate=…): the objects of an installation with these values."""

    def do(**values):
        (tmp_path / "values.json").write_text(json.dumps(STORE | values))
        return render(helm, tmp_path / "values.json")

    return do


@pytest.fixture
def refused_with(helm, tmp_path):
    def do(values):
        (tmp_path / "values.json").write_text(json.dumps(STORE | values))
        return refusal(helm, tmp_path / "values.json")

    return do


def of_containers(*containers):
    return {"spec": {"containers": [*containers]}}


def test_a_pod_template_reaches_every_pod(rendered):
    seen = set()
    for where, labels, spec in pods(rendered("policies")):
        seen.add(labels[COMPONENT])
        assert labels["policy.example.org/data-class"] == "internal", where
        assert spec["runtimeClassName"] == "gvisor", where
        assert "nodeAffinity" in spec["affinity"], where
        assert spec["tolerations"][-1]["key"] == "policy.example.org/pathology", where
        assert spec["securityContext"]["supplementalGroups"] == [4000], where
        assert spec["securityContext"]["runAsUser"] == 1000, where  # It said nothing of it
        assert environment(spec["containers"][0])["HTTPS_PROXY"] == "http://proxy.example.org:3128", where
        assert spec["containers"][0]["envFrom"] == [{"configMapRef": {"name": "company"}}], where
        assert {"name": "notes", "configMap": {"name": "company"}} in spec["volumes"], where
    assert seen == {"head", "worker", "submitter", "prepare", "test"}
    for where, labels, spec in pods(rendered("minimal")):
        assert "policy.example.org/data-class" not in labels, where
        assert not {"runtimeClassName", "affinity", "tolerations"} & set(spec), where
        assert "envFrom" not in spec["containers"][0], where


def test_annotations_reach_pods_and_leave_those_of_hooks(rendered):
    owner = {"policy.example.org/owner": "pathology"}
    assert head(rendered("policies"))["template"]["metadata"]["annotations"] == owner
    of_group = groups(rendered("policies"))["gpu"]["template"]["metadata"]["annotations"]
    assert of_group == {**owner, "policy.example.org/gpus": "claimed"}
    found = one(rendered("policies"), "Pod", "-doctor")["metadata"]["annotations"]
    hook = one(rendered("minimal"), "Pod", "-doctor")["metadata"]["annotations"]
    assert found == {**owner, **hook}
    assert "annotations" not in head(rendered("minimal"))["template"]["metadata"]


def test_a_template_of_one_group_or_of_the_head_stays_there(rendered):
    priorities = {labels[COMPONENT]: spec.get("priorityClassName") for _, labels, spec in pods(rendered("policies"))}
    assert priorities == {"head": "heads", "worker": None, "submitter": None, "prepare": None, "test": None}
    holders = {labels[COMPONENT] for _, labels, spec in pods(rendered("policies")) if "resourceClaims" in spec}
    assert holders == {"worker"}


def test_null_removes_a_field_of_ours(rendered):
    for where, _, spec in pods(rendered("openshift")):
        assert set(spec["securityContext"]) == {"runAsNonRoot", "seccompProfile", "fsGroupChangePolicy"}, where
    assert "topologySpreadConstraints" not in groups(rendered("policies"))["gpu"]["template"]["spec"]
    assert "topologySpreadConstraints" in groups(rendered("openshift"))["cpu"]["template"]["spec"]


def test_gpus_may_be_claimed_instead_of_counted(rendered):
    gpu = groups(rendered("policies"))["gpu"]
    limits = {"cpu": "16", "memory": "64Gi"}
    assert container(gpu)["resources"] == {"claims": [{"name": "gpus"}], "limits": limits, "requests": limits}
    assert gpu["rayStartParams"]["num-gpus"] == "2"  # What Ray offers of them
    claims = gpu["template"]["spec"]["resourceClaims"]
    assert claims == [{"name": "gpus", "resourceClaimTemplateName": "two-gpus"}]


def test_items_of_one_name_are_merged_or_replaced_and_others_appended(rendered_with):
    own = {"name": "ray-head", "env": [{"name": "AWS_EC2_METADATA_DISABLED", "value": "true"}, PROXY]}
    own |= {"volumeMounts": [{"mountPath": "/tmp", "name": "scratch"}], "securityContext": {"privileged": False}}
    volumes = [{"name": "home", "ephemeral": {}}, {"name": "scratch", "emptyDir": {}}]
    template = {"spec": {"containers": [{"name": "log", "image": "log:1"}, own], "volumes": volumes}}
    before, after = (head(rendered_with(head=part))["template"]["spec"] for part in ({}, {"podTemplate": template}))
    assert [each["name"] for each in after["containers"]] == ["ray-head", "log"]  # KubeRay takes the first for Ray's
    old, new = before["containers"][0], after["containers"][0]
    assert new["env"] == [*old["env"], *own["env"]]
    assert [each["mountPath"] for each in new["volumeMounts"]] == [each["mountPath"] for each in old["volumeMounts"]]
    assert {"mountPath": "/tmp", "name": "scratch"} in new["volumeMounts"]
    assert new["securityContext"] == {**old["securityContext"], "privileged": False}
    assert {key: new[key] for key in ("image", "ports", "resources")} == {
        key: old[key] for key in ("image", "ports", "resources")
    }
    assert {"name": "home", "ephemeral": {}} in after["volumes"]  # Not beside the emptyDir of before
    assert [each["name"] for each in after["volumes"]] == [*[each["name"] for each in before["volumes"]], "scratch"]


def test_tolerations_and_sources_of_variables_add_up(rendered_with):
    key = {"key": "a", "operator": "Exists"}
    source = {"secretRef": {"name": "a"}}
    part = {"spec": {"tolerations": [key], "containers": [{"name": "*", "envFrom": [source]}]}}
    group = {**GPU, "tolerations": [{**key, "key": "b"}], "podTemplate": part}
    spec = groups(rendered_with(podTemplate=part, workerGroups=[group]))["gpu"]["template"]["spec"]
    assert [each["key"] for each in spec["tolerations"]] == ["b", "a", "a"]
    assert spec["containers"][0]["envFrom"] == [source, source]


def test_a_container_of_ours_is_only_in_its_own_pods(rendered_with):
    template = of_containers({"name": "ray-worker", "env": [PROXY]}, {"name": "sidecar", "image": "a:1"})
    for where, labels, spec in pods(rendered_with(podTemplate=template, exporter={"enabled": True})):
        assert [each["name"] for each in spec["containers"]][1:] == ["sidecar"], where
        assert ("HTTPS_PROXY" in environment(spec["containers"][0])) == (labels[COMPONENT] == "worker"), where


def test_numbers_and_texts_stay_what_they_are(rendered_with):
    spec = {"activeDeadlineSeconds": 12345678, "hostname": "12", "nodeSelector": {"a": "no", "b": "1e3", "c": "12:30"}}
    found = head(rendered_with(podTemplate={"spec": spec}))["template"]["spec"]
    assert {key: found[key] for key in spec} == spec


def test_a_jobs_spec_is_merged(rendered):
    spec = ray_job(rendered("policies"))["spec"]
    assert (spec["suspend"], spec["managedBy"]) == (True, "kueue.x-k8s.io/multikueue")
    assert spec["shutdownAfterJobFinishes"] is True
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["labels"], group["replicas"]) == ({"pool": "a100"}, 2)
    assert not {"suspend", "managedBy"} & set(ray_job(rendered("minimal"))["spec"])


def test_an_interactive_clusters_spec_is_merged(rendered):
    spec = one(rendered("policies"), "RayCluster")["spec"]
    assert (spec["suspend"], spec["upgradeStrategy"]) == (True, {"type": "Recreate"})
    assert "suspend" not in cluster_spec(rendered("policies"))
    assert "suspend" not in one(rendered("interactive"), "RayCluster")["spec"]


def test_further_objects_belong_to_the_release(rendered):
    ingress = one(rendered("policies"), "Ingress", "ray")
    assert ingress["metadata"]["labels"]["app.kubernetes.io/instance"] == "histoseg"
    (rule,) = ingress["spec"]["rules"]
    service = rule["http"]["paths"][0]["backend"]["service"]
    cluster = one(rendered("policies"), "RayCluster")["metadata"]["name"]
    assert service == {"name": f"{cluster}-head-svc", "port": {"name": "dashboard"}}
    assert some(rendered("interactive"), "Ingress") == []


def test_whoever_submits_is_told_what_was_merged(rendered):
    found = settings(rendered("policies"))["overrides"]
    assert set(found) == {"podTemplate", "head.podTemplate", "workerGroups[gpu].podTemplate", "job.spec"}
    assert found["head.podTemplate"] == {"spec": {"priorityClassName": "heads"}}
    assert settings(rendered("minimal"))["overrides"] == {}


ROUTE = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "ray"}}
OPEN = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "open"}, "spec": {"type": "LoadBalancer"}}
UNAUTHENTICATED = {"auth": {"mode": "disabled", "acceptUnauthenticated": True}, "cluster": {"enabled": True}}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"podTemplate": {"metadata": {"labels": {"ray.io/group": "a"}}}}, "podTemplate.metadata.labels: ray.io/group"),
        ({"podTemplate": {"metadata": {"annotations": {"helm.sh/hook": "a"}}}}, "metadata.annotations: helm.sh/hook"),
        ({"podTemplate": {"spec": {"automountServiceAccountToken": True}}}, "only the autoscaler reads the Kubernetes"),
        ({"head": {"podTemplate": {"spec": {"restartPolicy": "Always"}}}}, "head.podTemplate.spec.restartPolicy"),
        ({"podTemplate": {"spec": {"terminationGracePeriodSeconds": 9}}}, "workerGroups[].terminationGracePeriod"),
        ({"podTemplate": {"spec": {"containers": None}}}, "at '/podTemplate/spec/containers': got null, want array"),
        ({"podTemplate": of_containers("*")}, "at '/podTemplate/spec/containers/0': got string, want object"),
        (
            {"podTemplate": of_containers({"image": "a:1"})},
            "at '/podTemplate/spec/containers/0': missing property 'name'",
        ),
        ({"podTemplate": {"spec": {"volumes": ["a"]}}}, "at '/podTemplate/spec/volumes/0': got string, want object"),
        ({"podTemplate": of_containers({"name": "*", "env": {"A": "b"}})}, "containers/0/env': got object, want array"),
        ({"podTemplate": of_containers({"name": "*", "image": "a:1"})}, "containers[*].image cannot be set here"),
        ({"podTemplate": of_containers({"name": "exporter", "args": []})}, "containers[exporter].args"),
        ({"podTemplate": of_containers({"name": "ray-head", "command": None})}, "containers[ray-head].command"),
        ({"podTemplate": of_containers({"name": "*", "ports": []})}, "Services, NetworkPolicies and PodMonitors"),
        ({"podTemplate": of_containers({"name": "ray-worker", "lifecycle": {}})}, "let a worker drain"),
        (
            {"podTemplate": of_containers({"name": "*", "resources": {"limits": {"memory": "1Gi"}}})},
            "containers[*].resources.limits.memory",
        ),
        ({"podTemplate": of_containers({"name": "ray-head", "resources": None})}, "resources': got null, want object"),
        (
            {"podTemplate": of_containers({"name": "*", "env": [{"name": "RAY_AUTH_TOKEN", "value": "a"}]})},
            "env[RAY_AUTH_TOKEN] cannot be set here: KubeRay sets it",
        ),
        (
            {"podTemplate": of_containers({"name": "*", "env": [{"name": "AWS_ENDPOINT_URL", "value": "a"}]})},
            "env[AWS_ENDPOINT_URL] cannot be set here: make submit and NetworkPolicies",
        ),
        (
            {"podTemplate": of_containers({"name": "*", "env": [{"name": "AWS_SESSION_TOKEN", "value": "a"}]})},
            "env[AWS_SESSION_TOKEN] cannot be set here: make submit and NetworkPolicies",
        ),
        (
            {"podTemplate": of_containers({"name": "*", "env": [{"name": "AWS_S3_ADDRESSING_STYLE", "value": "a"}]})},
            "env[AWS_S3_ADDRESSING_STYLE] cannot be set here: make submit and NetworkPolicies",
        ),
        (
            {"workerGroups": [{**GPU, "podTemplate": of_containers({"name": "*", "image": "a:1"})}]},
            "workerGroups[gpu].podTemplate.spec.containers[*].image",
        ),
        ({"podTemplate": {"spce": {}}}, "at '/podTemplate': additional properties 'spce' not allowed"),
        ({"podTemplate": {"metadata": {"name": "a"}}}, "at '/podTemplate/metadata': additional properties 'name'"),
        ({"head": {"podTemplate": {"spec": []}}}, "at '/head/podTemplate/spec': got array, want object"),
        ({"job": {"spec": {"entrypoint": "a"}}}, "job.spec.entrypoint cannot be set here: make submit writes it"),
        ({"job": {"spec": {"jobId": "a"}}}, "job.spec.jobId"),
        ({"job": {"spec": {"submissionMode": "HTTPMode"}}}, "job.spec.submissionMode"),
        ({"job": {"spec": {"shutdownAfterJobFinishes": False}}}, "a finished job would keep its nodes"),
        ({"job": {"spec": {"deletionStrategy": {}}}}, "set job.ttlSecondsAfterFinished"),
        ({"job": {"spec": {"clusterSelector": {"a": "b"}}}}, "each job has a Ray cluster of its own"),
        ({"job": {"spec": {"submitterPodTemplate": {}}}}, "job.spec.submitterPodTemplate"),
        ({"job": {"spec": {"submitterConfig": {"backoffLimit": 1}}}}, "set job.submitterBackoffLimit"),
        ({"job": {"spec": {"activeDeadlineSeconds": None}}}, "set job.activeDeadlineSeconds"),
        ({"job": {"spec": {"rayClusterSpec": None}}}, "at '/job/spec/rayClusterSpec': got null, want object"),
        ({"job": {"spec": {"rayClusterSpec": {"rayVersion": "2.50.0"}}}}, "it is that of the images"),
        ({"job": {"spec": {"rayClusterSpec": {"authOptions": {"mode": "disabled"}}}}}, "set auth.mode"),
        ({"job": {"spec": {"rayClusterSpec": {"upgradeStrategy": {}}}}}, "KubeRay refuses it in a RayJob"),
        ({"job": {"spec": {"rayClusterSpec": {"headGroupSpec": {"template": {}}}}}}, "set podTemplate or head.pod"),
        (
            {"job": {"spec": {"rayClusterSpec": {"headGroupSpec": {"rayStartParams": {"num-cpus": "4"}}}}}},
            "no training may run on the head",
        ),
        ({"job": {"spec": {"rayClusterSpec": {"workerGroupSpecs": None}}}}, "workerGroupSpecs': got null, want array"),
        (
            {"job": {"spec": {"rayClusterSpec": {"workerGroupSpecs": [{"groupName": "gpu"}]}}}},
            'a group with groupName "gpu", but workerGroups has cpu',
        ),
        (
            {"job": {"spec": {"rayClusterSpec": {"workerGroupSpecs": [{"groupName": "cpu", "replicas": 3}]}}}},
            "workerGroupSpecs[cpu].replicas cannot be set here: set workerGroups[].replicas",
        ),
        ({"cluster": {"enabled": True, "spec": {"enableInTreeAutoscaling": True}}}, "set autoscaling.enabled"),
        ({"cluster": {"spec": {"suspend": True}}}, "cluster.spec is set, but cluster.enabled is false"),
        ({"extraManifests": [{"kind": "Ingress"}]}, "missing properties 'apiVersion', 'metadata'"),
        ({"extraManifests": [ROUTE]}, "HTTPRoute ray makes the release reachable, but networkPolicy.clientNamespaces"),
        ({**UNAUTHENTICATED, "extraManifests": [ROUTE]}, "HTTPRoute ray makes the release reachable, but auth.mode"),
        ({**UNAUTHENTICATED, "extraManifests": [OPEN]}, "Service open makes the release reachable, but auth.mode"),
        (
            {
                **UNAUTHENTICATED,
                "cluster": {"enabled": True, "spec": {"headGroupSpec": {"serviceType": "LoadBalancer"}}},
            },
            "cluster.spec.headGroupSpec.serviceType cannot be set here: everyone who reaches the head",
        ),
    ],
)
def test_what_would_break_a_release_is_refused_with_the_reason(values, words, refused_with):
    said = refused_with(values)
    assert words in said
    assert len([line for line in said.splitlines() if line.startswith("Error:")]) == 1


def test_what_the_chart_leaves_to_others_is_not_refused(rendered_with):
    """The chart's other containers may be larger, devices may be added, and a head may have more time to go."""
    larger = {"name": "exporter", "resources": {"limits": {"memory": "2Gi"}, "requests": {"memory": "2Gi"}}}
    network = {"name": "ray-worker", "resources": {"limits": {"rdma/hca": 1}}}
    objects = rendered_with(
        podTemplate=of_containers(larger, network),
        head={"podTemplate": {"spec": {"terminationGracePeriodSeconds": 60}}},
        exporter={"enabled": True},
    )
    (exporter,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert exporter["resources"]["limits"] == {"cpu": "200m", "memory": "2Gi"}
    assert container(groups(objects)["cpu"])["resources"]["limits"] == {"cpu": "2", "memory": "8Gi", "rdma/hca": 1}
    assert head(objects)["template"]["spec"]["terminationGracePeriodSeconds"] == 60


def test_the_readmes_examples_are_taken(helm, tmp_path):
    text = (CHART / "README.md").read_text()
    first, second = [
        yaml.safe_load(textwrap.dedent(each)) for each in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    ]
    first["workerGroups"][0] |= {**GPU, **first["workerGroups"][0]}
    shown = {
        **STORE,
        **first,
        **second,
        "networkPolicy": {"clientNamespaces": ["gateways"]},
        "cluster": {"enabled": True},
    }
    (tmp_path / "values.json").write_text(json.dumps(shown))
    objects = render(helm, tmp_path / "values.json")
    assert container(groups(objects)["gpu"])["resources"]["limits"]["rdma/hca"] == 1
    (rule,) = one(objects, "HTTPRoute")["spec"]["rules"]
    assert rule["backendRefs"][0]["name"] == f"{one(objects, 'RayCluster')['metadata']['name']}-head-svc"


def test_an_authenticated_cluster_may_be_reached(helm):
    route = ("cluster.spec.headGroupSpec.serviceType=LoadBalancer", "networkPolicy.clientNamespaces[0]=gateway")
    objects = render(helm, values_of("interactive"), route)
    assert one(objects, "RayCluster")["spec"]["headGroupSpec"]["serviceType"] == "LoadBalancer"
