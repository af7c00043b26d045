"""A release of the chart, and nodes with GPUs, as the tests of doctor change them."""

import yaml

from histoseg.machine import versions
from tests.kube.example import GONE, ray_job, spoilt

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
    template = spoilt(
        ray_job(), {"metadata.name": GONE, "metadata.namespace": "team", "spec.entrypoint": GONE, **dict(edits)}
    )
    return {"data": {"settings.yaml": yaml.safe_dump(settings), "rayjob.yaml": yaml.safe_dump(template)}}


def node_with(name, gpus, **labels):
    allocatable = {"cpu": "64", "memory": "256Gi", "nvidia.com/gpu": str(gpus)}
    return {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": {"allocatable": allocatable}}


def with_nodes(api, *nodes):
    """Let the cluster have these nodes and no others, but for one without GPUs."""
    api.remove_nodes()
    for each in nodes:
        api.put("v1/nodes", each["metadata"]["name"], each, None)
