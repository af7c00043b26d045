"""A request as the RayJob that runs it."""

import copy
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from histoseg.errors import ClusterError
from histoseg.kube.objects import Object
from histoseg.kube.settings import Settings
from histoseg.runs.head import HEAD_BYTES, runs_for_head
from histoseg.runs.job import entrypoint, job_name
from histoseg.runs.request import Request
from histoseg.store.keys import results_folder

EXPERIMENT, JOB = "histoseg.io/experiment", "histoseg.io/job"  # labels
COMMAND, RESULTS = "histoseg.io/command", "histoseg.io/results"  # annotations
# Quantities, by Kubernetes' grammar (k8s.io/apimachinery, resource.Quantity); a decimal suffix is a power of ten.
QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
WORKERS = "the chart's workerGroups"
MIG = re.compile(r"nvidia\.com/mig-[0-9]+g\.[0-9]+gb")  # A part of a GPU: nvidia.com/mig-2g.10gb


def addressed(request: Request, settings: Settings) -> Request:
    """The request as a release gets it: with the release's store unless it names one, and the job's name."""
    known = request.for_cluster(settings.store.url)
    return replace(known, name=job_name(known, settings.image))


def manifest(request: Request, settings: Settings, command: str) -> Object:
    """The RayJob to create, with the command that was typed, for everyone who finds it in the cluster."""
    have = capacity(settings.template)
    _require_fit(request, have)
    _require_head(settings.template)
    _require_raw_data(request, settings)
    made = copy.deepcopy(dict(settings.template))
    metadata = made.setdefault("metadata", {})
    metadata["name"] = request.name
    metadata["labels"] = {**(metadata.get("labels") or {}), EXPERIMENT: request.experiment, JOB: request.name}
    noted = {COMMAND: command, RESULTS: f"{request.store}/{results_folder(request.experiment, request.name)}"}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **noted}
    complete = replace(request, capacity=tuple(f"{name}={amount:g}" for name, amount in have.items()))
    made["spec"] |= {"entrypoint": entrypoint(complete), "jobId": request.name}
    for container in _containers({"template": made["spec"].get("submitterPodTemplate")})[:1]:
        container["args"] = [made["spec"]["entrypoint"].replace("$", "$$")]  # Kubernetes would fill in $(…)
    return made


def capacity(template: Object) -> dict[str, float]:
    """What the workers of a RayJob will have when all are there, in Ray's words: {"CPU": 8, "GPU": 2}."""
    cluster = template["spec"]["rayClusterSpec"]
    autoscaling = bool(cluster.get("enableInTreeAutoscaling"))
    total: dict[str, float] = {}
    for group in cluster["workerGroupSpecs"]:
        count = num_pods(group, autoscaling)
        for resource, amount in _pod_resources(group).items():
            total[resource] = total.get(resource, 0.0) + count * amount
    return {resource: amount for resource, amount in total.items() if amount}


def most_runs(template: Object) -> int:
    """How many runs of one worker have room at a time when all workers are there."""
    have = capacity(template)
    return int(min(have.get("CPU", 0.0), have.get("GPU") or math.inf))


def head_memory(template: Object) -> float:
    """The memory of the head's pod in bytes; infinite if it has no limit."""
    head = template["spec"]["rayClusterSpec"]["headGroupSpec"]
    container: Object = next(iter(_containers(head)), {})
    limits = (container.get("resources") or {}).get("limits") or {}
    return quantity(limits["memory"], "the chart's head.memory") if "memory" in limits else math.inf


def images(made: Object) -> set[str]:
    """Every image that a RayJob's Ray pods run."""
    cluster = made["spec"].get("rayClusterSpec") or {}
    groups = [cluster.get("headGroupSpec") or {}, *(cluster.get("workerGroupSpecs") or [])]
    return {container["image"] for group in groups for container in _containers(group) if container.get("image")}


def _require_fit(request: Request, have: Mapping[str, float]) -> None:
    """Refuse a run that would wait for ever: each of its workers takes a CPU, and a GPU where there are any."""
    for resource in ["CPU", *(["GPU"] if have.get("GPU") else [])]:
        if request.workers > have.get(resource, 0.0):
            raise ClusterError(
                f"request.workers is {request.workers}, but all workers of the release together have "
                f"{have.get(resource, 0.0):g} {resource}; ask for fewer with WORKERS=, or `helm upgrade` the release "
                f"with more or larger pods in its workerGroups"
            )


def _require_head(template: Object) -> None:
    """Refuse a head whose memory Ray and the driver would take without any run."""
    if not runs_for_head(memory := head_memory(template)):
        raise ClusterError(
            f"the release's head has {memory / 2**30:.2g} GiB of memory, but Ray and the driver need "
            f"{HEAD_BYTES / 2**30:g} GiB, and each run a little more; `helm upgrade` the release with a larger "
            "head.memory"
        )


def _require_raw_data(request: Request, settings: Settings) -> None:
    """Refuse a folder that the pods do not see."""
    mounted = settings.raw_data
    if request.data.startswith("/") and not (mounted and Path(request.data).is_relative_to(mounted)):
        seen = f"they see {mounted}" if mounted else "they see none; `helm upgrade` with rawData.existingClaim"
        raise ClusterError(
            f"DATA={request.data} is not what the pods see: {seen}, or leave DATA out to use the store's"
        )


def is_gpu(resource: str) -> bool:
    """Whether a pod's limit of this name counts devices: GPUs, unless a podTemplate asks for others."""
    return "/" in resource  # Such as nvidia.com/gpu; cpu and memory have no slash


def is_gpu_for_kuberay(resource: str) -> bool:
    """Whether KubeRay passes such a limit on to Ray by itself, where num-gpus is not given (IsGPUResourceKey)."""
    return resource.endswith("gpu") or MIG.fullmatch(resource) is not None


def num_pods(group: Object, autoscaling: bool) -> int:
    """How many pods a group may have: up to its maximum with the autoscaler, else its replicas."""
    if group.get("suspend"):
        return 0
    count = group.get("maxReplicas") if autoscaling else group.get("replicas", group.get("minReplicas"))
    return int(count or 0) * int(group.get("numOfHosts") or 1)


def _pod_resources(group: Object) -> dict[str, float]:
    """What Ray counts in one pod: what it is started with, or else the container's limits (as KubeRay reads them)."""
    container: Object = next(iter(_containers(group)), {})
    asked = container.get("resources") or {}
    limits, requests = asked.get("limits") or {}, asked.get("requests") or {}
    given = {**(group.get("rayStartParams") or {}), **_lower(group.get("resources") or {})}
    cpus = given.get("num-cpus", limits.get("cpu", requests.get("cpu", 0)))
    kinds = [quantity(limits[key], WORKERS) for key in sorted(limits) if is_gpu_for_kuberay(key)]
    gpus = given.get("num-gpus", next((amount for amount in kinds if amount), 0))  # Of several kinds only the first
    return {"CPU": float(math.ceil(quantity(cpus, WORKERS))), "GPU": quantity(gpus, WORKERS)}


def _lower(resources: Object) -> Object:
    """A group's `resources` under the names of `rayStartParams`; upper and lower case are the same there."""
    names = {key: "num-gpus" if is_gpu_for_kuberay(key.lower()) else f"num-{key.lower()}s" for key in resources}
    return {names[key]: amount for key, amount in resources.items() if names[key] in ("num-cpus", "num-gpus")}


def quantity(text: object, where: str) -> float:
    """A number as Kubernetes writes it: 4, "4", "500m", "16Gi", "1e3"."""
    found = QUANTITY.fullmatch(str(text).strip().strip("\"'"))
    if found is None:
        raise ClusterError(f"{text!r} in {where} is not a valid Kubernetes quantity, e.g. 4, 500m or 16Gi")
    number, exponent, suffix = found.groups()
    if suffix in BINARY:
        return float(number) * BINARY[suffix]
    return float(f"{number}e{exponent or DECIMAL[suffix or '']}")


def _containers(group: Object) -> list[dict[str, Any]]:
    pod = (group.get("template") or {}).get("spec") or {}
    return list(pod.get("containers") or [])
