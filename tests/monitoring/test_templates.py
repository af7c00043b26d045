"""What the chart installs for Prometheus and Grafana, and when."""

import json

import pytest
import yaml

from tests.charts.rendering import one, ray_job
from tests.monitoring.dashboards import CHART, FILES


def named(objects, kind):
    """The objects of a kind by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def dashboards(objects):
    return {name: each for name, each in named(objects, "ConfigMap").items() if name.endswith("-dashboard")}


def ray_pods(objects):
    """The pod templates of a job's Ray cluster, the head's first."""
    cluster = ray_job(objects)["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]


def ports_of(template):
    return {port["name"] for port in template["spec"]["containers"][0]["ports"]}


def test_nothing_of_it_comes_unasked(rendered):
    objects = rendered("minimal")
    assert not named(objects, "PodMonitor")
    assert not named(objects, "PrometheusRule")
    assert not dashboards(objects)


def test_monitors_select_by_what_pods_are_labelled_with(rendered):
    objects = rendered("monitoring")
    monitors = named(objects, "PodMonitor")
    assert set(monitors) == {"histoseg-ray", "histoseg-exporter"}
    for template in ray_pods(objects):
        # KubeRay labels each pod of a Ray cluster with ray.io/is-ray-node itself.
        labels = {**template["metadata"]["labels"], "ray.io/is-ray-node": "yes"}
        assert monitors["histoseg-ray"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    exporter = one(objects, "Deployment", "exporter")["spec"]["template"]["metadata"]["labels"]
    assert monitors["histoseg-exporter"]["spec"]["selector"]["matchLabels"].items() <= exporter.items()


def test_monitors_name_ports_that_pods_have(rendered):
    objects = rendered("monitoring")
    asked = [each["port"] for each in one(objects, "PodMonitor", "ray")["spec"]["podMetricsEndpoints"]]
    head, *workers = (ports_of(template) for template in ray_pods(objects))
    assert asked == ["metrics", "as-metrics", "dash-metrics"]
    assert set(asked) <= head
    assert workers
    assert all("metrics" in ports for ports in workers)
    exporter = one(objects, "PodMonitor", "exporter")["spec"]["podMetricsEndpoints"]
    assert {each["port"] for each in exporter} == ports_of(one(objects, "Deployment", "exporter")["spec"]["template"])


def test_jobs_have_the_names_that_rules_know(rendered):
    monitors = named(rendered("monitoring"), "PodMonitor")
    for name, monitor in monitors.items():
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert {"targetLabel": "job", "replacement": name} in endpoint["relabelings"]
    # Prometheus Operator turns what a label's name cannot have into _: this is what queries call ray_io_cluster.
    assert "ray.io/cluster" in monitors["histoseg-ray"]["spec"]["podTargetLabels"]


def test_rules_are_the_files_that_are_tested(rendered):
    rules = named(rendered("monitoring"), "PrometheusRule")
    for part in ("ray", "exporter"):
        assert rules[f"histoseg-{part}"]["spec"] == yaml.safe_load((CHART / "rules" / f"{part}.yaml").read_text())
    assert len(rules) == len(list((CHART / "rules").iterdir()))


def test_without_an_exporter_nothing_misses_it(rendered):
    objects = rendered("monitoring", "exporter.enabled=false")
    assert set(named(objects, "PodMonitor")) == {"histoseg-ray"}
    assert set(named(objects, "PrometheusRule")) == {"histoseg-ray"}


def test_rules_can_be_left_out(rendered):
    objects = rendered("monitoring", "monitoring.rules.enabled=false")
    assert named(objects, "PodMonitor")
    assert not named(objects, "PrometheusRule")


def test_dashboards_arrive_whole_each_in_its_own_config_map(rendered):
    found = dashboards(rendered("monitoring"))
    arrived = {name: text for each in found.values() for name, text in each["data"].items()}
    assert {name: json.loads(text) for name, text in arrived.items()} == {
        path.name: json.loads(path.read_text()) for path in FILES
    }
    assert len(found) == len(FILES)


def test_grafana_finds_dashboards(rendered):
    for each in dashboards(rendered("monitoring", "monitoring.dashboards.folder=Lab: one")).values():
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"]["grafana_folder"] == "Lab: one"


def test_dashboards_can_be_left_out(rendered):
    objects = rendered("monitoring", "monitoring.dashboards.enabled=false")
    assert named(objects, "PodMonitor")
    assert not dashboards(objects)


@pytest.mark.parametrize("kind", ["PodMonitor", "PrometheusRule"])
def test_prometheus_finds_them_by_the_labels_that_were_asked_for(rendered, kind):
    for each in named(rendered("monitoring"), kind).values():
        labels = each["metadata"]["labels"]
        assert labels["release"] == "prometheus"
        assert labels["app.kubernetes.io/component"] == "monitoring"
        assert each["metadata"]["namespace"] == "research"
