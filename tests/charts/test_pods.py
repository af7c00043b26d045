"""What every pod of an installation has in common, whatever is switched on."""

import re

import pytest

from tests.charts.rendering import COMPONENT, SCENARIOS, environment, pods, ray_job, settings, some

COMPONENTS = {
    "settings", "head", "worker", "submitter", "exporter", "store", "prepare", "test", "monitoring", "access", "extra",
}  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_pod_is_restricted(scenario, rendered):
    """The Pod Security Standard "restricted", and beyond it a root filesystem that cannot be written."""
    ids = {"openshift": [None] * 3, "policies": [1000, 3000, 1000]}.get(scenario, [1000] * 3)
    found = pods(rendered(scenario))
    assert {"submitter", "head", "worker", "test"} <= {pod.labels[COMPONENT] for pod in found}
    for where, _, spec in found:
        security = spec["securityContext"]
        assert security["runAsNonRoot"], where
        assert [security.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")] == ids, where
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), where
        kinds = {kind for volume in spec.get("volumes", []) for kind in volume} - {"name"}
        assert kinds <= {"configMap", "emptyDir", "ephemeral", "persistentVolumeClaim"}, where
        for each in [*spec["containers"], *spec.get("initContainers", [])]:
            assert not [port for port in each.get("ports", []) if "hostPort" in port], where
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, where


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_pod_holds_a_token_of_kubernetes_but_the_autoscalers(scenario, rendered):
    holders = {pod.labels[COMPONENT] for pod in pods(rendered(scenario)) if pod.spec["automountServiceAccountToken"]}
    assert holders == ({"head"} if scenario == "autoscaling" else set())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_container_is_guaranteed_what_it_may_use(scenario, rendered):
    for where, _, spec in pods(rendered(scenario)):
        for each in spec["containers"]:
            assert each["resources"]["requests"] == each["resources"]["limits"], where
            assert {"cpu", "memory"} <= set(each["resources"]["limits"]), where


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_pod_has_room_to_write(scenario, rendered):
    """Ray and Python write in these, for the root filesystem is closed; without limits they would fill the node."""
    for where, labels, spec in pods(rendered(scenario)):
        mounted = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
        assert {"/tmp", "/home/histoseg"} <= set(mounted), where
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for path in ("/tmp", "/home/histoseg"):
            volume = volumes[mounted[path]]
            assert "ephemeral" in volume or volume["emptyDir"]["sizeLimit"], where
        shm = volumes.get(mounted.get("/dev/shm", ""), {}).get("emptyDir", {})
        assert (shm.get("medium") == "Memory" and "sizeLimit" in shm) == (labels[COMPONENT] in ("head", "worker")), (
            where
        )


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_everything_says_what_it_belongs_to(scenario, rendered):
    objects = rendered(scenario)
    labels = [each["metadata"]["labels"] for each in [*objects, ray_job(objects)]] + [
        pod.labels for pod in pods(objects)
    ]
    for each in labels:
        assert (each["app.kubernetes.io/name"], each["app.kubernetes.io/instance"]) == ("histoseg", "histoseg")
        assert each[COMPONENT] in COMPONENTS
        assert each["app.kubernetes.io/version"] == "0.1.0"
        assert each["app.kubernetes.io/managed-by"] == "Helm"
        assert each.get("cost-centre") == ("pathology" if scenario == "gpu" else None)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_secret_is_written_anywhere(scenario, rendered):
    """Passwords, keys and tokens are only named: Secrets exist before, or KubeRay makes them."""
    objects = rendered(scenario)
    assert some(objects, "Secret") == []
    for where, _, spec in pods(objects):
        for each in spec["containers"]:
            for name, value in environment(each).items():
                if re.search("KEY|TOKEN|SECRET|PASSWORD", name):
                    assert set(value) == {"secretKeyRef"}, (where, name)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_images_are_ours_and_never_latest(scenario, rendered):
    for where, labels, spec in pods(rendered(scenario)):
        kind = "train" if labels[COMPONENT] in ("head", "worker", "submitter") else "data"
        for each in spec["containers"]:
            assert re.fullmatch(
                rf"(registry.example.org/)?histoseg-{kind}(:0\.1\.0|@sha256:\w{{64}})", each["image"]
            ), where


def test_a_digest_wins_over_a_tag(rendered):
    assert settings(rendered("gpu", "images.train.tag=2.0"))["image"].startswith(
        "registry.example.org/histoseg-train@sha256:0123"
    )
    assert settings(rendered("minimal", "images.train.tag=2.0"))["image"] == "histoseg-train:2.0"


def test_images_are_pulled_with_the_named_secret(rendered):
    assert all(pod.spec["imagePullSecrets"] == [{"name": "registry"}] for pod in pods(rendered("gpu")))
    assert not any("imagePullSecrets" in pod.spec for pod in pods(rendered("minimal")))
