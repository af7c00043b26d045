"""The dashboards' JSON: what Grafana would refuse, draw wrongly or show empty."""

import re

import pytest

from tests.monitoring.dashboards import CHART, FILES, METRICS, RAY_METRICS, load, metric_names, panels, ray_folder

CONFIG_MAP_BYTES = 1_048_576  # Kubernetes' limit for the data of one ConfigMap
DASHBOARDS = {path.stem: load(path) for path in FILES}
TARGETS = [
    pytest.param(panel, target, id=f"{name}: {panel['title']} {target['refId']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in panels(dashboard)
    for target in panel["targets"]
]
BUILT_IN = {"__range", "__interval", "__rate_interval", "__all"}  # Grafana sets these.


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def dashboard(path):
    return DASHBOARDS[path.stem]


def test_there_are_two():
    assert set(DASHBOARDS) == {"histoseg-experiment", "histoseg-cluster"}


def test_a_dashboard_has_its_files_name_and_fits_a_config_map(path, dashboard):
    assert dashboard["uid"] == path.stem
    assert path.stat().st_size < CONFIG_MAP_BYTES / 10


def test_ids_and_titles_are_told_apart(dashboard):
    ids = [panel["id"] for panel in dashboard["panels"]]
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)


def test_panels_lie_beside_each_other(dashboard):
    covered = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(covered)) == len(covered)
    assert max(x for x, _ in covered) == 23  # Grafana's grid has 24 columns.


def test_every_panel_says_what_it_shows(dashboard):
    for panel in panels(dashboard):
        assert panel["description"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


def test_variables_are_defined_and_used(dashboard):
    defined = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", str(dashboard["panels"]) + str(dashboard["templating"])))
    assert used - BUILT_IN == defined
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            asked, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
            assert metric_names(asked) <= METRICS
            assert label in ("namespace", "ray_io_cluster", "experiment")


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_a_query_asks_for_what_exists(panel, target):
    assert target["legendFormat"]
    assert metric_names(target["expr"])
    assert metric_names(target["expr"]) <= METRICS


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_a_query_aggregates_over_processes(panel, target):
    """Ray has a series for each process, so a plot of plain series would have a line for each restart."""
    bare = re.sub(
        r"\b(?:max|min|avg|sum|count)(?: by \([^()]*\) )?(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))", "", target["expr"]
    )
    assert not metric_names(bare), bare


@pytest.mark.parametrize("name", RAY_METRICS)
def test_rays_metrics_are_in_the_installed_ray(name):
    assert name.removeprefix("ray_").encode() in (ray_folder() / RAY_METRICS[name]).read_bytes()


def test_nothing_else_lies_beside_them():
    assert [path.suffix for path in (CHART / "dashboards").iterdir()] == [".json"] * len(FILES)
