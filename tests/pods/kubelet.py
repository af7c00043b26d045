"""What KubeRay 1.7 and a kubelet make of the chart's pods, for podman, which is neither."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]

HEAD_PORT, DASHBOARD_PORT, AGENT_PORT = 6379, 8265, 52365
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def ray_pod(name: str, group: Mapping[str, Any], head: str, token: str) -> Json:
    """A head's or a worker's pod with the command and the variables that KubeRay gives it.

    Args:
        group: headGroupSpec, or one of workerGroupSpecs.
        head: The name of the head's Service; a worker is what joins it.
    """
    is_head = "groupName" not in group
    made = pod(name, group["template"])
    container = made["spec"]["containers"][0]
    limits = container["resources"]["limits"]
    given = {
        "block": "true",
        "dashboard-agent-listen-port": str(AGENT_PORT),
        "memory": str(num_bytes(limits["memory"])),
        "metrics-export-port": "8080",
        "num-cpus": str(limits["cpu"]),
        **({} if is_head else {"address": f"{head}:{HEAD_PORT}"}),
    }
    flags = [
        f"--{key}" if value == "true" else f"--{key}={value}"
        for key, value in (given | group["rayStartParams"]).items()
    ]
    start = " ".join(["ray", "start", *(["--head"] if is_head else []), *flags])
    container["command"] = ["/bin/bash", "-c", "--"]
    container["args"] = [f"ulimit -n 65536; {start}"]
    container["env"] += with_token(token)
    return made


def submitter_pod(job: Mapping[str, Any], head: str, token: str) -> Json:
    """The pod of KubeRay's K8sJobMode, with the variables that it adds where the template has a command."""
    made = pod("submitter", job["spec"]["submitterPodTemplate"])
    known = {"RAY_DASHBOARD_ADDRESS": f"{head}:{DASHBOARD_PORT}", "RAY_JOB_SUBMISSION_ID": job["spec"]["jobId"]}
    made["spec"]["containers"][0]["env"] += [{"name": name, "value": value} for name, value in known.items()]
    made["spec"]["containers"][0]["env"] += with_token(token)
    return made


def pod(name: str, template: Mapping[str, Any]) -> Json:
    """A pod of a template."""
    metadata = {**template["metadata"], "name": name}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


def with_token(token: str) -> list[Json]:
    """The variables by which KubeRay makes Ray ask for a token."""
    return [{"name": "RAY_AUTH_MODE", "value": "token"}, {"name": "RAY_AUTH_TOKEN", "value": token}]


def for_podman(made: Json, folder: Path, services: Mapping[str, str], secrets: Mapping[str, Mapping[str, str]]) -> Json:
    """The pod as podman takes it, with what a kubelet and a cluster's DNS would do done here.

    Args:
        folder: Where emptyDirs are made; those in memory are made in /dev/shm.
        services: Names of Services and the addresses behind them.
        secrets: Secrets and their entries.
    """
    made = copy.deepcopy(made)
    spec = made["spec"]
    spec["hostAliases"] = [{"ip": ip, "hostnames": [name]} for name, ip in services.items()]
    for container in spec["containers"]:
        # podman publishes ports on this machine; to Kubernetes they are names. Probes and hooks it does not run at all.
        for key in ("ports", "readinessProbe", "livenessProbe", "lifecycle"):
            container.pop(key, None)
        container["env"] = [resolved(each, secrets) for each in container["env"] if not is_absent(each, secrets)]
    for volume in spec["volumes"]:
        memory = volume.pop("emptyDir").get("medium") == "Memory"
        path = (Path("/dev/shm") if memory else folder) / f"{made['metadata']['name']}-{volume['name']}"
        path.mkdir()
        path.chmod(0o777)  # As a kubelet makes them, fsGroup or not.
        volume["hostPath"] = {"path": str(path), "type": "Directory"}
    return made


def is_absent(variable: Mapping[str, Any], secrets: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a variable is left out, because it is optional and its Secret has no such key."""
    where = variable.get("valueFrom", {}).get("secretKeyRef", {})
    return bool(where.get("optional")) and where["key"] not in secrets.get(where["name"], {})


def resolved(variable: Mapping[str, Any], secrets: Mapping[str, Mapping[str, str]]) -> Json:
    """A variable whose value is there, not referred to."""
    if "valueFrom" not in variable:
        return dict(variable)
    where = variable["valueFrom"]["secretKeyRef"]
    return {"name": variable["name"], "value": secrets[where["name"]][where["key"]]}


def num_bytes(quantity: str) -> int:
    """Kubernetes' 4Gi as a number."""
    return int(quantity[:-2]) * BINARY[quantity[-2:]]
