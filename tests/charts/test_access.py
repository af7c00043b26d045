"""Who may do what, what is asked of whom, and what those who submit are told."""

import pytest
import yaml
from typer.main import get_command

from histoseg.cli import app
from histoseg.kube.settings import Settings, fullname
from tests.charts.rendering import (
    CHART,
    SCENARIOS,
    cluster_spec,
    container,
    environment,
    head,
    one,
    pods,
    run,
    settings,
    some,
    values_of,
)


def test_a_researcher_may_run_jobs_and_read_no_secret(rendered):
    rules = {
        (group, resource): (set(rule["verbs"]), rule.get("resourceNames"))
        for rule in one(rendered("kueue"), "Role", "histoseg-researcher")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert rules == {
        ("ray.io", "rayjobs"): ({"create", "get", "list", "watch", "delete"}, None),
        ("", "pods"): ({"get", "list", "watch"}, None),
        ("", "pods/log"): ({"get"}, None),
        ("", "events"): ({"list"}, None),
        ("", "resourcequotas"): ({"list"}, None),
        ("", "configmaps"): ({"get"}, ["histoseg-settings"]),
        ("kueue.x-k8s.io", "localqueues"): ({"get"}, ["pathology"]),
        ("kueue.x-k8s.io", "workloads"): ({"list"}, None),
    }
    assert "localqueues" not in str(one(rendered("minimal"), "Role"))


def test_researchers_are_those_who_were_named(rendered):
    binding = one(rendered("gpu"), "RoleBinding", "histoseg-researcher")
    assert binding["roleRef"]["name"] == "histoseg-researcher"
    assert binding["subjects"] == [
        {"kind": "Group", "name": "pathology-research", "apiGroup": "rbac.authorization.k8s.io"},
        {"kind": "ServiceAccount", "name": "pipeline", "namespace": "ci"},
    ]
    assert some(rendered("minimal"), "RoleBinding") == []


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_ray_asks_for_a_token_unless_told_otherwise(scenario, rendered):
    mode = "disabled" if scenario == "unauthenticated" else "token"
    named = {"secretName": "ray-token"} if scenario == "interactive" else {}
    assert cluster_spec(rendered(scenario))["authOptions"] == {"mode": mode, **named}
    assert cluster_spec(rendered(scenario))["rayVersion"] == settings(rendered(scenario))["rayVersion"] == "2.60.0"


def test_heads_are_protected_from_eviction_if_asked_for(rendered):
    budget = one(rendered("gpu"), "PodDisruptionBudget")["spec"]
    # KubeRay's pods take no percentage and no maxUnavailable: a number that no count of heads reaches.
    assert (budget["minAvailable"], "maxUnavailable" in budget) == (10000, False)
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"  # A broken head would hold up a drain for ever.
    assert budget["selector"]["matchLabels"].items() <= head(rendered("gpu"))["template"]["metadata"]["labels"].items()
    assert some(rendered("minimal"), "PodDisruptionBudget") == []


def test_helm_test_asks_the_store_and_the_dashboard_if_there_is_one(rendered):
    alone, beside = (one(rendered(each), "Pod", "histoseg-doctor") for each in ("minimal", "interactive"))
    assert alone["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert alone["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    (asked,) = alone["spec"]["containers"]
    assert [*asked["command"], *asked["args"]] == [
        "histoseg",
        "doctor",
        "--no-machine",
        "--store",
        "s3://histology/histoseg",
    ]
    assert "RAY_AUTH_TOKEN" not in environment(asked)
    (asked,) = beside["spec"]["containers"]
    assert asked["args"][-2:] == ["--dashboard", "http://histoseg-cluster-head-svc:8265"]
    assert environment(asked)["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": "ray-token", "key": "auth_token"}}


def test_helm_test_takes_the_token_that_kuberay_makes(rendered):
    """KubeRay names the Secret like the cluster, and cuts names off at 50 characters."""
    (asked,) = one(rendered("autoscaling"), "Pod", "-doctor")["spec"]["containers"]
    cluster = one(rendered("autoscaling"), "RayCluster")["metadata"]["name"]
    assert environment(asked)["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": cluster, "key": "auth_token"}}
    long = rendered("autoscaling", f"fullnameOverride=histoseg-{'x' * 31}")
    assert len(one(long, "RayCluster")["metadata"]["name"]) == 48


def test_helm_test_does_not_ask_for_a_token_that_was_switched_off(rendered):
    """The doctor takes a dashboard without one for a fault, which the values' owner has accepted."""
    assert len(some(rendered("unauthenticated"), "RayCluster")) == 1
    (asked,) = one(rendered("unauthenticated"), "Pod", "-doctor")["spec"]["containers"]
    assert asked["args"] == ["doctor", "--no-machine", "--store", "s3://histology/histoseg"]
    assert "RAY_AUTH_TOKEN" not in environment(asked)


@pytest.mark.parametrize("scenario", ["interactive", "monitoring", "raw-data"])
def test_commands_of_pods_are_commands_of_histoseg(scenario, rendered):
    for where, _, spec in pods(rendered(scenario)):
        for found in spec["containers"]:
            if found.get("command") == ["histoseg"]:
                known = get_command(app).commands[found["args"][0]]
                options = {option for each in known.params for option in (*each.opts, *each.secondary_opts)}
                assert {word for word in found["args"] if word.startswith("--")} <= options, where


def test_the_exporter_serves_other_pods(rendered):
    deployment = one(rendered("monitoring"), "Deployment", "histoseg-exporter")
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    command = "histoseg exporter --store s3://histology/histoseg --host 0.0.0.0 --port 9464"
    assert [*found["command"], *found["args"]] == command.split()
    assert found["ports"] == [{"name": "metrics", "containerPort": 9464}]
    for kind in ("readinessProbe", "livenessProbe"):
        assert found[kind]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    service = one(rendered("monitoring"), "Service", "histoseg-exporter")
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert some(rendered("minimal"), "Deployment") == []


def test_the_head_names_its_ports(rendered):
    assert {port["name"]: port["containerPort"] for port in container(head(rendered("minimal")))["ports"]} == {
        "gcs-server": 6379,
        "dashboard": 8265,
        "client": 10001,
        "metrics": 8080,
        "as-metrics": 44217,
        "dash-metrics": 44227,
    }


def test_settings_name_the_custom_resources_that_are_needed(rendered):
    ours = ["rayclusters.ray.io", "rayjobs.ray.io"]
    assert [each["name"] for each in settings(rendered("minimal"))["crds"]] == ours
    monitors = ["podmonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com"]
    assert [each["name"] for each in settings(rendered("monitoring"))["crds"]] == ours + monitors
    assert settings(rendered("kueue"))["crds"][2:] == [{"name": "localqueues.kueue.x-k8s.io", "version": "v1beta2"}]


def test_settings_can_be_read_by_whoever_submits(rendered):
    found = one(rendered("gpu"), "ConfigMap", "histoseg-settings")["data"]
    assert set(found) == {"rayjob.yaml", "settings.yaml"}
    read = Settings.parse(found, "here", "histoseg")
    assert read.app_version == yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert read.store.existing_secret == "histoseg-store"


@pytest.mark.parametrize("release", ["histoseg", "my-histoseg", "team", "a-rather-long-name-of-a-release-ab", "x" * 53])
def test_names_begin_as_whoever_submits_expects(release, helm):
    result = run(helm, "template", release, CHART, "--values", values_of("minimal"))
    assert result.returncode == 0, result.stderr
    objects = [each for each in yaml.load_all(result.stdout, Loader=yaml.CSafeLoader) if each]
    assert one(objects, "ConfigMap")["metadata"]["name"] == f"{fullname(release)}-settings"
