"""The lines of `histoseg doctor --cluster`, against a real API server."""

import re

import pytest

from histoseg.doctor import cluster as checks
from histoseg.doctor.cluster import cluster_checks, reachable_store
from histoseg.kube.settings import Settings
from histoseg.machine import versions
from tests.doctor.release import SETTINGS, config_map
from tests.kube.conftest import kubeconfig_text
from tests.kube.example import pod
from tests.kube.lab import CONFIG_MAPS, LATER, PODS, status_body
from tests.kube.proxy import Fault

QUEUES, CLUSTER_QUEUES = "kueue.x-k8s.io/v1beta2/localqueues", "kueue.x-k8s.io/v1beta2/clusterqueues"


@pytest.fixture
def lines(api, kubeconfig):
    """What doctor says, by what it looked at."""

    def look(release="histoseg", context="lab"):
        return {check.what: check for check in cluster_checks(context, "", release)}

    return look


def bad(found):
    return {what: f"{check.found} | {check.advice}" for what, check in found.items() if not check.ok}


def test_a_cluster_that_has_everything(lines):
    found = lines()
    assert bad(found) == {}
    assert list(found) == [
        "API server",
        "release histoseg",
        "KubeRay",
        "rayclusters.ray.io",
        "rayjobs.ray.io",
        "may use rayjobs.ray.io",
        "may use pods",
        "may use pods/log",
        "may use events",
        "may use configmaps",
        "histoseg",
        "Ray",
        "job template",
        "secret lab-store",
        "head",
        "GPUs",
        "quotas",
    ]
    assert re.search(r"Kubernetes v1\.\d+\.\d+, namespace team", found["API server"].found)
    assert found["may use rayjobs.ray.io"].found == "create, get, list, delete"


def test_no_secret_value_is_shown(lines):
    assert not [check for check in lines().values() if "hush" in check.found or "aHVzaA" in check.found]


def test_a_context_that_is_not_there(lines):
    assert "no context 'elsewhere'" in bad(lines(context="elsewhere"))["cluster"]


def test_a_server_that_is_away_ends_it(lines, kubeconfig, monkeypatch):
    monkeypatch.setattr(checks, "PATIENCE_S", 0.0)
    kubeconfig.write_text(kubeconfig_text("http://127.0.0.1:9"))  # The port `discard`, where nobody listens.
    found = lines()
    assert list(found) == ["API server"]
    assert "does not answer" in found["API server"].found


def test_a_release_that_is_not_there_does_not_end_it(lines, api):
    api.remove("configmaps", "histoseg-settings")
    found = lines()
    assert list(bad(found)) == ["release histoseg"]
    assert "helm install" in found["release histoseg"].found
    assert found["rayjobs.ray.io"].ok


def test_another_release_has_another_name(lines, api):
    api.remove("configmaps", "histoseg-settings")
    api.put(CONFIG_MAPS, "tissue-histoseg-settings", config_map())
    assert bad(lines(release="tissue")) == {}


def test_a_kind_that_is_not_served(lines, api):
    crds = [{"name": name, "version": "v9"} for name in ("rayjobs.ray.io", "podmonitors.monitoring.coreos.com")]
    api.put(CONFIG_MAPS, "histoseg-settings", config_map({**SETTINGS, "crds": crds}))
    found = bad(lines())
    assert list(found) == ["rayjobs.ray.io", "podmonitors.monitoring.coreos.com"]
    assert found["rayjobs.ray.io"].startswith("v9 is not served | install the KubeRay operator, version 1.7")
    assert "monitoring.enabled=false" in found["podmonitors.monitoring.coreos.com"]


@pytest.mark.parametrize(
    ("image", "ok"),
    [
        ("quay.io/kuberay/operator:v1.7.0", True),
        ("registry:5000/kuberay/operator:v1.6.2", False),
        ("mirror/operator:1.10.0@sha256:00", True),
        ("mirror/operator@sha256:00", True),  # Not known to be older
    ],
)
def test_the_operators_version(image, ok, lines, api):
    spec = pod("operator", {})["spec"]
    spec["containers"][0]["image"] = image
    labels = {"app.kubernetes.io/component": "kuberay-operator"}
    api.put(PODS, "kuberay-operator", {"metadata": {"labels": labels}, "spec": spec})
    found = lines()["KubeRay"]
    assert (found.ok, found.found) == (ok, f"{image} in team")


def test_missing_rights_are_listed(lines, api):
    api.refuse("create pods", "create rayjobs", "delete rayjobs", "get pods/log")
    found = bad(lines())
    assert list(found) == ["may use rayjobs.ray.io", "may use pods/log"]
    assert found["may use rayjobs.ray.io"].startswith("may not create, delete | ")
    assert "Role histoseg-researcher" in found["may use rayjobs.ray.io"]


@pytest.mark.parametrize(
    ("change", "what", "text"),
    [
        ({"rayVersion": "2.59.0"}, "Ray", "2.59.0 in the release, 2.60.0 here"),
        ({"chart": {"version": "0.1.9", "appVersion": "0.1.9"}}, "histoseg", "0.1.9 in the release, 0.1.0 here"),
    ],
)
def test_versions_that_differ(lines, api, change, what, text):
    """2.60.0 and 0.1.0 are those of pyproject.toml."""
    api.put(CONFIG_MAPS, "histoseg-settings", config_map({**SETTINGS, **change}))
    found = bad(lines())
    assert list(found) == [what]
    assert found[what].startswith(text)


def test_ray_is_known_where_it_is_not_installed(lines, monkeypatch):
    there = {name: found for name, found in versions().items() if name != "ray"}
    monkeypatch.setattr(checks, "versions", lambda: there)
    assert lines()["Ray"].found == "2.60.0 in the release, 2.60.0 here"


def test_a_template_that_the_server_refuses(lines, api):
    said = 'admission webhook "vrayjob.kb.io" denied the request: spec.rayClusterSpec: too many groups'
    api.faults.append(Fault("POST", "rayjobs", 403, status_body(403, "", said)))
    found = bad(lines())
    assert list(found) == ["job template"]
    assert "too many groups" in found["job template"]
    assert api.requests("POST", "rayjobs") == []


def test_pods_of_a_template_are_checked_where_the_user_may_create_pods(lines, api):
    assert "pods were not checked" in lines()["job template"].found
    api.refuse()
    assert lines()["job template"].found == "the API server accepts it, with its pods"
    groups = [request.data["metadata"]["generateName"] for request in api.requests("POST", "pods", dry_run=True)]
    assert groups[1:] == [f"histoseg-doctor-{group}-" for group in ("head", "gpu", "submitter")]


def test_a_secret_without_a_key(lines, api):
    api.put("v1/secrets", "lab-store", {"data": {"access": "aHVzaA=="}})
    assert bad(lines()) == {
        "secret lab-store": "lacks secret | kubectl create secret generic lab-store, with access, secret"
    }
    api.remove("secrets", "lab-store")
    assert bad(lines())["secret lab-store"].startswith("does not exist")


def test_what_a_researcher_may_not_see_is_said_and_not_asked(lines, api):
    hidden = {"get secrets", "list nodes", "list resourcequotas"}
    api.refuse("create pods", *hidden)
    found = lines()
    assert bad(found) == {}
    assert "you may not read secrets" in found["secret lab-store"].found
    assert "you may not list nodes" in found["GPUs"].found
    assert "you may not list resourcequotas" in found["quotas"].found
    assert not api.requests("GET", "/nodes") + api.requests("GET", "/resourcequotas")
    assert not api.requests("GET", "/secrets/lab-store")


def queued(api, reason="", message=""):
    """A release with a queue, which is there if it has a state, and leads to the ClusterQueue `all`."""
    crds = [*SETTINGS["crds"], {"name": "localqueues.kueue.x-k8s.io", "version": "v1beta2"}]
    edits = {r"metadata.labels.kueue\.x-k8s\.io/queue-name": "gpus"}
    settings = {**SETTINGS, "queue": "gpus", "crds": crds}
    api.put(CONFIG_MAPS, "histoseg-settings", config_map(settings, edits.items()))
    if reason:
        known = {"reason": reason, "lastTransitionTime": LATER}
        status = "True" if reason == "Ready" else "False"
        conditions = [{"type": "Active", "status": status, "message": message, **known}]
        api.put(QUEUES, "gpus", {"spec": {"clusterQueue": "all"}, "status": {"conditions": conditions}})


def test_the_queue(lines, api):
    api.refuse("get clusterqueues")
    queued(api, "Ready", "Can submit new workloads to localQueue")
    assert lines()["queue gpus"].found == "is active"
    assert "you may not read ClusterQueue all" in lines()["queue gpus: quota"].found
    assert bad(lines()) == {}
    queued(api, "Stopped", "LocalQueue is stopped")
    assert bad(lines())["queue gpus"].startswith("LocalQueue gpus is stopped | the queue is held")


def test_the_quota_behind_the_queue(lines, api):
    """Only an administrator may read it."""
    queued(api, "Ready", "Can submit new workloads to localQueue")
    assert bad(lines())["queue gpus: quota"].startswith("ClusterQueue all doesn't exist | ")
    resources = [{"name": "cpu", "nominalQuota": "4"}, {"name": "memory", "nominalQuota": "1Ti"}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "any", "resources": resources}]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "others"}}
    api.put(CLUSTER_QUEUES, "all", {"spec": {"namespaceSelector": selector, "resourceGroups": [group]}}, None)
    found = bad(lines())
    api.api.send("DELETE", f"/apis/{CLUSTER_QUEUES}/all")
    assert sorted(found) == ["queue gpus: namespace", "queue gpus: quota", "queue gpus: resources"]
    assert "cpu 11 of 4, too little" in found["queue gpus: quota"]


def test_a_queue_that_is_not_there(lines, api):
    queued(api)
    (line,) = bad(lines()).values()
    assert line.startswith("LocalQueue gpus doesn't exist | ")
    assert "create the LocalQueue in the namespace" in line


@pytest.mark.parametrize(
    ("environ", "url", "text"),
    [
        ({}, "", "no AWS_ACCESS_KEY_ID or AWS_PROFILE is set here"),
        ({"AWS_PROFILE": "lab"}, "", "set AWS_ENDPOINT_URL to where this machine reaches http://store.lab:8333"),
        (
            {"AWS_ACCESS_KEY_ID": "a", "AWS_ENDPOINT_URL": "http://127.0.0.1:8333"},
            "s3://lab/histoseg",
            "s3://lab/histoseg at http://127.0.0.1:8333",
        ),
    ],
)
def test_the_bucket_is_tried_with_keys_of_ones_own(environ, url, text):
    found, check = reachable_store(Settings.parse(config_map()["data"], "here", "histoseg"), environ)
    assert found == url
    assert check.ok
    assert text in check.found
