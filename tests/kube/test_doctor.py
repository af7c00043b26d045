"""The lines of `histoseg doctor --cluster`, against an API server of our own that the real client talks to."""

import pytest
import yaml

from histoseg.machine import versions
from tests.kube.conftest import kubeconfig_text
from tests.kube.emulator import CONFIG_MAPS, RAYJOBS
from tests.kube.example import GONE, ray_job, spoilt

QUEUES = "kueue.x-k8s.io/v1beta2/localqueues"
WORKER = "spec.rayClusterSpec.workerGroupSpecs.0"
SETTINGS = {
    "chart": {"version": "0.1.0", "appVersion": versions()["histoseg"]},
    "rayVersion": "2.60.0",
    "image": "registry.example/histoseg-train:0.1.0",
    "store": {
        "url": "s3://lab/histoseg",
        "endpoint": "http://store.lab:8333",
        "region": "us-east-1",
        "existingSecret": "lab-store",
        "accessKeyKey": "access",
        "secretKeyKey": "secret",
    },
    "rawData": "",
    "queue": "",
    "crds": [{"name": "rayclusters.ray.io", "version": "v1"}, {"name": "rayjobs.ray.io", "version": "v1"}],
}


def config_map(settings=SETTINGS, edits=()):
    template = spoilt(ray_job(), {"metadata.name": GONE, "spec.entrypoint": GONE, **dict(edits)})
    return {"data": {"settings.yaml": yaml.safe_dump(settings), "rayjob.yaml": yaml.safe_dump(template)}}


def node(name, gpus, **labels):
    allocatable = {"cpu": "64", "memory": "256Gi", "nvidia.com/gpu": str(gpus)}
    return {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": {"allocatable": allocatable}}


@pytest.fixture
def api(server):
    """An API server with a release of the chart, and all that it needs."""
    serve(server, "ray.io/v1/rayclusters")
    server.put(CONFIG_MAPS, "histoseg-settings", config_map())
    server.put("v1/secrets", "lab-store", {"data": dict.fromkeys(("access", "secret"), "aHVzaA==")})
    with_nodes(server, node("a", 1), node("b", 4))
    return server


def serve(api, kind):
    """Let the server know a kind."""
    api.tell(lambda emulator: emulator.resources.__setitem__(kind, {}))


def remove(api, plural, *names):
    """Take objects away, all of a kind if none is named."""

    def change(emulator):
        for (resource, _, name), stored in emulator.objects.items():
            if resource.plural == plural and name in (names or [name]) and not stored.deleted:
                stored.delete()

    api.tell(change)


def with_nodes(api, *nodes):
    """Let the cluster have these nodes and no others."""
    remove(api, "nodes")
    for each in nodes:
        api.put("v1/nodes", each["metadata"]["name"], each, None)


@pytest.fixture
def lines(api, kubeconfig):
    """What doctor says, by what it looked at."""

    def look(release="histoseg", context="lab"):
        from histoseg.doctor.cluster import cluster_checks

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
        "GPUs",
        "quotas",
    ]
    assert "Kubernetes v1.26.4+k3s1, namespace team" in found["API server"].found
    assert found["may use rayjobs.ray.io"].found == "create, get, list, delete"


def test_no_secret_value_is_shown(lines):
    assert not [check for check in lines().values() if "hush" in check.found or "aHVzaA" in check.found]


def test_a_context_that_is_not_there(lines):
    assert "no context 'elsewhere'" in bad(lines(context="elsewhere"))["cluster"]


def test_a_server_that_is_away_ends_it(lines, kubeconfig, monkeypatch):
    from histoseg.doctor import cluster as checks

    monkeypatch.setattr(checks, "PATIENCE_S", 0.0)
    kubeconfig.write_text(kubeconfig_text("http://127.0.0.1:9"))  # The port `discard`, where nobody listens.
    found = lines()
    assert list(found) == ["API server"]
    assert "does not answer" in found["API server"].found


def test_a_release_that_is_not_there_does_not_end_it(lines, api):
    remove(api, "configmaps", "histoseg-settings")
    found = lines()
    assert list(bad(found)) == ["release histoseg"]
    assert "helm install" in found["release histoseg"].found
    assert found["rayjobs.ray.io"].ok


def test_another_release_has_another_name(lines, api):
    remove(api, "configmaps", "histoseg-settings")
    api.put(CONFIG_MAPS, "tissue-histoseg-settings", config_map())
    assert bad(lines(release="tissue")) == {}


def test_a_kind_that_is_not_served(lines, api):
    api.tell(lambda emulator: emulator.resources.__delitem__(RAYJOBS))
    crds = [*SETTINGS["crds"], {"name": "podmonitors.monitoring.coreos.com", "version": "v1"}]
    api.put(CONFIG_MAPS, "histoseg-settings", config_map({**SETTINGS, "crds": crds}))
    assert bad(lines()) == {
        "rayjobs.ray.io": "v1 is not served | install the KubeRay operator, version 1.7 or later, with its CRDs",
        "podmonitors.monitoring.coreos.com": "v1 is not served | install the Prometheus operator, or set "
        "monitoring.enabled=false in the chart's values",
    }


def test_rights_that_lack(lines, api):
    api.tell(lambda emulator: emulator.refused.update({"create rayjobs", "delete rayjobs", "get pods"}))
    advice = "ask who installed the chart to bind you to the Role histoseg-researcher (access.researchers)"
    assert bad(lines()) == {
        "may use rayjobs.ray.io": f"may not create, delete | {advice}",
        "may use pods/log": f"may not get | {advice}",
    }


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
    from histoseg.doctor import cluster as checks

    there = {name: found for name, found in versions().items() if name != "ray"}
    monkeypatch.setattr(checks, "versions", lambda: there)
    assert lines()["Ray"].found == "2.60.0 in the release, 2.60.0 here"


def test_a_template_that_breaks_a_rule(lines, api):
    edits = {"spec.submissionMode": "HttpMode"}
    api.put(CONFIG_MAPS, "histoseg-settings", config_map(edits=edits.items()))
    found = bad(lines())
    assert list(found) == ["job template"]
    assert 'spec.submissionMode is "HttpMode"' in found["job template"]


def test_a_secret_without_a_key(lines, api):
    api.put("v1/secrets", "lab-store", {"data": {"access": "aHVzaA=="}})
    assert bad(lines()) == {
        "secret lab-store": "lacks secret | kubectl create secret generic lab-store, with access, secret"
    }
    remove(api, "secrets", "lab-store")
    assert bad(lines())["secret lab-store"].startswith("is not there")


def test_what_a_researcher_may_not_see_is_said_and_not_asked(lines, api):
    hidden = {"get secrets", "list nodes", "list resourcequotas"}
    api.tell(lambda emulator: emulator.refused.update(hidden))
    found = lines()
    assert bad(found) == {}
    assert "you may not read secrets, which is right" in found["secret lab-store"].found
    assert "you may not list nodes" in found["GPUs"].found
    assert "you may not list resourcequotas" in found["quotas"].found
    assert not api.requests("GET", "/nodes") + api.requests("GET", "/resourcequotas")
    assert not api.requests("GET", "/secrets/lab-store")


# The example asks for 2 pods with 1 GPU each.
@pytest.mark.parametrize(
    ("nodes", "fits"),
    [
        ([node("a", 1), node("b", 1)], 2),
        ([node("a", 2)], 2),
        ([node("a", 1)], 1),
        ([], 0),
        ([{**node("a", 8), "spec": {"unschedulable": True}}, node("b", 1)], 1),
    ],
)
def test_gpus_fit_on_nodes(lines, api, nodes, fits):
    with_nodes(api, *nodes)
    found = lines()["GPUs"]
    assert found.ok == (fits == 2)
    assert found.found.startswith(f"2 asked for, {fits} fit")


def test_a_pod_fits_on_one_node_that_it_selects(lines, api):
    """Two pods of 4: eight single GPUs hold none, and of nodes with four only that with the label counts."""
    edits = {
        f"{WORKER}.template.spec.containers.0.resources.limits.nvidia\\.com/gpu": 4,
        f"{WORKER}.template.spec.nodeSelector": {"gpu": "a100"},
    }
    api.put(CONFIG_MAPS, "histoseg-settings", config_map(edits=edits.items()))
    with_nodes(api, *[node(f"n{i}", 1, gpu="a100") for i in range(8)])
    assert lines()["GPUs"].found == "8 asked for, 0 fit on the nodes of now, which have 8"
    with_nodes(api, node("a", 4), node("b", 4, gpu="a100"))
    assert lines()["GPUs"].found == "8 asked for, 4 fit on the nodes of now, which have 8"


def test_parts_of_gpus_fit_where_such_parts_are(lines, api):
    """Two pods with a seventh of a GPU each; a node's whole GPUs are no such parts."""
    limits = f"{WORKER}.template.spec.containers.0.resources.limits"
    edits = {f"{limits}.nvidia\\.com/gpu": GONE, f"{limits}.nvidia\\.com/mig-1g\\.5gb": 1}
    api.put(CONFIG_MAPS, "histoseg-settings", config_map(edits=edits.items()))
    cut = {"metadata": {"name": "b"}, "spec": {}, "status": {"allocatable": {"nvidia.com/mig-1g.5gb": "7"}}}
    with_nodes(api, node("a", 1), cut)
    assert lines()["GPUs"].found == "2 asked for, 2 fit on the nodes of now, which have 8"


def test_what_is_no_gpu_is_not_counted_as_one(lines, api):
    others = {**node("a", 4)["status"]["allocatable"], "rdma/hca": "1000"}
    with_nodes(api, {**node("a", 4), "status": {"allocatable": others}})
    assert lines()["GPUs"].found == "2 asked for, 2 fit on the nodes of now, which have 4"


def test_a_quota_of_exactly_as_much_is_kept(lines, api):
    """0.1 + 2 x 0.1 CPU, which is more than 0.3 in floating point."""
    cpu = "spec.containers.0.resources.requests.cpu"
    head, submitter = "spec.rayClusterSpec.headGroupSpec.template", "spec.submitterPodTemplate"
    edits = {f"{head}.{cpu}": "100m", f"{WORKER}.template.{cpu}": "100m", f"{submitter}.{cpu}": "0"}
    api.put(CONFIG_MAPS, "histoseg-settings", config_map(edits=edits.items()))
    api.put("v1/resourcequotas", "lab", {"metadata": {"name": "lab"}, "status": {"hard": {"cpu": "300m"}}})
    assert lines()["quota lab"].ok


def test_quotas(lines, api):
    """Head 2 CPU and 4 Gi, two workers of 4 and 16, submitter 1 and 1: 11 CPU, 37 Gi, 2 GPUs, 4 pods."""
    hard = {
        "requests.nvidia.com/gpu": "1",
        "cpu": "11",
        "limits.memory": "37Gi",
        "pods": "3",
        "configmaps": "10",
    }
    quota = {"metadata": {"name": "lab"}, "status": {"hard": hard, "used": {"cpu": "500m"}}}
    api.put("v1/resourcequotas", "lab", quota)
    check = lines()["quota lab"]
    assert not check.ok
    assert check.found == (
        f"cpu 11 of 11 (0.5 used); limits.memory {37 * 2**30:g} of {37 * 2**30:g} (0 used); "
        "pods 4 of 3 (0 used); requests.nvidia.com/gpu 2 of 1 (0 used)"
    )
    assert check.advice.startswith("ask for more pods, requests.nvidia.com/gpu, or")


def test_a_quota_may_be_written_with_any_suffix(lines, api):
    """The same 37 Gi and 11 CPUs."""
    hard = {"limits.memory": "1Pi", "memory": "40e9", "limits.cpu": "11000m", "cpu": "1E"}
    api.put("v1/resourcequotas", "lab", {"metadata": {"name": "lab"}, "status": {"hard": hard}})
    check = lines()["quota lab"]
    assert check.ok
    assert f"limits.memory {37 * 2**30:g} of {2**50:g}" in check.found


def test_a_quota_that_cannot_be_read_is_named(lines, api):
    api.put("v1/resourcequotas", "lab", {"metadata": {"name": "lab"}, "status": {"hard": {"cpu": "many"}}})
    assert lines()["quotas"].found.startswith("'many' in quota lab is no quantity")


def test_the_autoscaler_counts_and_so_do_the_pods_that_it_may_add(lines, api):
    """It adds 0.5 CPU and 1 Gi to the head of the example, and a third worker of 4 CPUs and 16 Gi."""
    half = {"cpu": "500m", "memory": "1Gi"}
    edits = {
        "spec.rayClusterSpec.enableInTreeAutoscaling": True,
        "spec.rayClusterSpec.autoscalerOptions": {"version": "v2", "resources": {"requests": half, "limits": half}},
        f"{WORKER}.maxReplicas": 3,
    }
    api.put(CONFIG_MAPS, "histoseg-settings", config_map(edits=edits.items()))
    hard = {"cpu": "15500m", "limits.memory": "53Gi", "pods": "5"}
    api.put("v1/resourcequotas", "lab", {"metadata": {"name": "lab"}, "status": {"hard": hard}})
    check = lines()["quota lab"]
    memory = f"{54 * 2**30:g} of {53 * 2**30:g}"
    assert check.found == f"cpu 15.5 of 15.5 (0 used); limits.memory {memory} (0 used); pods 5 of 5 (0 used)"
    assert check.advice.startswith("ask for more limits.memory, or")


def test_workers_that_nobody_adds_do_not_count(lines, api):
    """Without the autoscaler there are as many as `replicas` says, whatever the maximum."""
    api.put(CONFIG_MAPS, "histoseg-settings", config_map(edits={f"{WORKER}.maxReplicas": 9}.items()))
    assert lines()["GPUs"].found.startswith("2 asked for")


def queued(api, queue):
    crds = [*SETTINGS["crds"], {"name": "localqueues.kueue.x-k8s.io", "version": "v1beta2"}]
    edits = {r"metadata.labels.kueue\.x-k8s\.io/queue-name": "gpus"}
    settings = {**SETTINGS, "queue": "gpus", "crds": crds}
    api.put(CONFIG_MAPS, "histoseg-settings", config_map(settings, edits.items()))
    serve(api, QUEUES)
    if queue:
        api.put(QUEUES, "gpus", queue)


def test_the_queue(lines, api):
    queued(api, {"status": {"conditions": [{"type": "Active", "status": "True", "message": "Can submit"}]}})
    assert lines()["queue gpus"].found == "is there"
    assert bad(lines()) == {}
    queued(api, {"status": {"conditions": [{"type": "Active", "status": "False", "message": "ClusterQueue is gone"}]}})
    assert bad(lines()) == {
        "queue gpus": "ClusterQueue is gone | ask who runs Kueue to correct its ClusterQueue",
    }


def test_a_queue_that_is_not_there(lines, api):
    queued(api, None)
    assert bad(lines()) == {
        "queue gpus": "is not there | create the LocalQueue in namespace team, or name another with kueue.queue"
    }


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
    from histoseg.doctor.cluster import reachable_store
    from histoseg.kube.settings import Settings

    bucket = reachable_store(Settings.parse(config_map()["data"], "here", "histoseg"), environ)
    assert bucket.url == url
    assert bucket.check.ok
    assert text in bucket.check.found


def test_doctor_goes_on_with_the_bucket(lines, api, tmp_path, monkeypatch):
    """The release's store is tried once, and asked for the experiment's data."""
    from histoseg.doctor.run import Places, all_checks

    url = f"file://{tmp_path}/store"
    store = {**SETTINGS["store"], "url": url, "endpoint": ""}
    api.put(CONFIG_MAPS, "histoseg-settings", config_map({**SETTINGS, "store": store}))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    places = Places(cluster="lab", store=url, experiment="smoke")
    found = [check.what for check in all_checks(places, machine=False)]
    assert found.count("store: put") == 1
    assert found[-2:] == ["bucket", "experiment smoke (laptop)"]
    found = [check.what for check in all_checks(Places(cluster="lab"), machine=False)]
    assert found[-6:] == [
        "bucket",
        *(f"store: {step}" for step in ("put", "get", "put only if absent", "list", "delete")),
    ]


def test_without_the_packages_for_clusters_it_says_which(monkeypatch):
    import sys

    from histoseg.doctor.run import Places, all_checks

    monkeypatch.setitem(sys.modules, "histoseg.doctor.cluster", None)
    (check,) = all_checks(Places(cluster="lab"), machine=False)
    assert not check.ok
    assert check.advice == "pip install 'histoseg[cluster]'"
