"""The chart's Grafana dashboards as tests see them: their panels' queries, and the metrics there are."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

from ray_jobs import gauges

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "histoseg"
FILES = sorted((CHART / "dashboards").glob("*.json"))

# What stands for a variable when Grafana shows everything, at a range of five minutes.
VARIABLES = {"namespace": ".*", "cluster": ".*", "experiment": ".*", "price": "3", "__range": "5m"}

# Which file of the installed Ray names a metric, to which it adds `ray_`.
AGENT = "dashboard/modules/reporter/reporter_agent.py"
NODE = "core/src/ray/raylet/raylet"
RAY_METRICS = {
    "ray_component_rss_bytes": AGENT,
    "ray_node_cpu_count": AGENT,
    "ray_node_cpu_utilization": AGENT,
    "ray_node_disk_utilization_percentage": AGENT,
    "ray_node_gpus_utilization": AGENT,
    "ray_node_gram_available": AGENT,
    "ray_node_gram_used": AGENT,
    "ray_node_mem_total": AGENT,
    "ray_node_mem_used": AGENT,
    "ray_node_network_receive_speed": AGENT,
    "ray_node_network_send_speed": AGENT,
    "ray_object_store_available_memory": NODE,
    "ray_object_store_used_memory": NODE,
    "ray_resources": NODE,
}


def load(path: Path) -> dict:
    return json.loads(path.read_text())


def panels(dashboard: dict) -> list[dict]:
    """Its panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def panel_queries() -> list[tuple[str, str, str]]:
    """The uid of each dashboard, the title of each panel and each of its queries, as Prometheus takes them."""
    return [
        (dashboard["uid"], panel["title"], expand(target["expr"]))
        for dashboard in map(load, FILES)
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def expand(expression: str) -> str:
    """The query with a value for each variable."""
    return re.sub(r"\$(\w+)", lambda found: VARIABLES[found[1]], expression)


def metric_names(expression: str) -> set[str]:
    """The metrics that a query asks for."""
    without_labels = re.sub(r'\{[^{}]*\}|"[^"]*"|\b(?:by|on|without|ignoring) ?\([^()]*\)', " ", expression)
    return set(re.findall(r"\b(?:(?:ray|kuberay|histoseg|autoscaler)_\w+|up)\b", without_labels))


def our_metrics() -> set[str]:
    """What our own code exports: gauges, before which Ray puts `ray_`, and what the exporter says."""
    exporter = (ROOT / "histoseg" / "records" / "exporter.py").read_text()
    texts = gauges.CELLS | gauges.FAILED | gauges.SLIDES | gauges.DRIVEN | gauges.WORKING | gauges.STATUS
    return {f"ray_{name}" for name in texts} | {
        f"histoseg_{name}" for name in re.findall(r'_gauge\(\s*"(\w+)"', exporter)
    }


KUBERAY_METRICS = {"kuberay_job_deployment_status"}  # ray-operator/controllers/ray/metrics/ray_job_metrics.go

METRICS = our_metrics() | RAY_METRICS.keys() | KUBERAY_METRICS | {"up"}


def ray_folder() -> Path:
    """Where Ray is installed, found without importing it."""
    return Path(find_spec("ray").submodule_search_locations[0])
