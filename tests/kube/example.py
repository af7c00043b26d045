"""A RayJob that every cluster accepts, and ways to spoil it."""

import copy
import re

NAME = "table1-0a1b2c3d"
# As the device plugins of NVIDIA (shared in time; a part by memory; one with media engines), AMD and Intel name them.
GPU_NAMES = (
    "nvidia.com/gpu",
    "nvidia.com/gpu.shared",
    "nvidia.com/mig-1g.10gb",
    "nvidia.com/mig-1g.10gb.me",
    "amd.com/gpu",
    "gpu.intel.com/i915",
)


def security():
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}


def pod(name, resources, **rest):
    key = {"name": "histoseg-store", "key": "secret-key"}
    container = {
        "name": name,
        "image": "registry.example/histoseg-train:0.1.0",
        "env": [
            {"name": "AWS_ENDPOINT_URL", "value": "http://store:8333"},
            {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": key}},
            {"name": "RAY_AUTH_TOKEN_PATH", "value": "/var/run/token"},
        ],
        "resources": {"limits": dict(resources), "requests": dict(resources)},
        "securityContext": security(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    context = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [container], "securityContext": context, "volumes": [{"name": "tmp", "emptyDir": {}}], **rest}
    return {"metadata": {"labels": {"app.kubernetes.io/name": "histoseg"}}, "spec": spec}


def ray_cluster_spec():
    return {
        "rayVersion": "2.60.0",
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0"},
            "template": pod("ray-head", {"cpu": "2", "memory": "4Gi"}),
        },
        "workerGroupSpecs": [
            {
                "groupName": "gpu",
                "replicas": 2,
                "minReplicas": 2,
                "maxReplicas": 2,
                "template": pod("ray-worker", {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}),
            }
        ],
    }


def ray_job():
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": NAME, "namespace": "lab", "labels": {"app.kubernetes.io/name": "histoseg"}},
        "spec": {
            "entrypoint": "python -m ray_jobs.driver --name table1-0a1b2c3d",
            "submissionMode": "K8sJobMode",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "activeDeadlineSeconds": 86400,
            "backoffLimit": 2,
            "rayClusterSpec": ray_cluster_spec(),
            "submitterPodTemplate": pod("submitter", {"cpu": "1", "memory": "1Gi"}, restartPolicy="Never"),
        },
    }


class GONE:
    """In place of a value: what lies there is taken away."""


def spoilt(document, edits):
    """A copy in which what lies at each path is another value, or is gone."""
    document, edits = copy.deepcopy((document, edits))
    for path, value in edits.items():
        *parents, last = [int(part) if part.isdigit() else part for part in re.split(r"(?<!\\)\.", path)]
        place = document
        for part in parents:
            place = place[part] if isinstance(part, int) else place.setdefault(part.replace("\\", ""), {})
        last = last.replace("\\", "") if isinstance(last, str) else last
        if value is GONE:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(value)
        else:
            place[last] = value
    return document
