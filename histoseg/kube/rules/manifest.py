"""Manifests as the rules see them: what lies at a path, the Ray cluster in a document, the pods that it makes."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]
POD_TEMPLATES = ("Deployment", "StatefulSet", "DaemonSet", "Job")
# What gpuResource may be in the chart (values.schema.json): whatever a device plugin may call its GPUs or their parts.
GPU = re.compile(r"[a-z0-9.-]+/[A-Za-z0-9._-]+")
MIG = re.compile(r"nvidia\.com/mig-[0-9]+g\.[0-9]+gb")  # A part of a GPU: nvidia.com/mig-2g.10gb


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What breaks a rule.

    Attributes:
        path: Where in the document, such as spec.ttlSecondsAfterFinished.
        found: What is there; None if nothing is.
        remedy: The rule, and what to write instead.
    """

    path: str
    found: Any
    remedy: str

    def __str__(self) -> str:
        shown = json.dumps(self.found, default=str) if self.found is not None else "missing"
        return f"{self.path} is {shown}; {self.remedy}"


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod's spec, where it is, and the pod's annotations."""

    path: str
    spec: Document
    annotations: Document = field(default_factory=dict)

    @classmethod
    def of(cls, tree: Document, path: str, above: str = "") -> "Pod":
        """What lies at a path below `above`; its metadata lie beside it."""
        annotations = at(tree, f"{path.removesuffix('spec')}metadata.annotations") or {}
        return cls(path=above + path, spec=at(tree, path) or {}, annotations=annotations)

    def containers(self) -> Iterator[tuple[str, Document]]:
        """Each container with its path, those that run first or come later as well."""
        for kind in ("initContainers", "containers", "ephemeralContainers"):
            for i, container in enumerate(self.spec.get(kind) or []):
                yield f"{self.path}.{kind}[{i}]", container


@dataclass(frozen=True, kw_only=True)
class Group:
    """The head or a worker group of a Ray cluster, and where it is."""

    path: str
    name: str
    spec: Document

    @property
    def pod(self) -> Pod:
        return Pod.of(self.spec, "template.spec", above=f"{self.path}.")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray cluster, of its own or inside a RayJob.

    Attributes:
        path: Where its spec is.
        annotations: Those of the document that holds it.
        queue: The Kueue queue that its document waits in; "" if none.
        submitter: Whether a pod of its own submits to it.
    """

    path: str
    spec: Document
    annotations: Document = field(default_factory=dict)
    queue: str = ""
    submitter: bool = False

    @property
    def autoscaling(self) -> bool:
        return bool(self.spec.get("enableInTreeAutoscaling"))

    @property
    def autoscaler_v2(self) -> bool:
        """Whether it is asked for by name; KubeRay's rules look at no other way (IsAutoscalingV2Enabled)."""
        return self.autoscaling and at(self.spec, "autoscalerOptions.version") == "v2"

    @property
    def head(self) -> Group:
        return Group(path=f"{self.path}.headGroupSpec", name="head", spec=self.spec.get("headGroupSpec") or {})

    @property
    def workers(self) -> list[Group]:
        specs = self.spec.get("workerGroupSpecs") or []
        path = f"{self.path}.workerGroupSpecs"
        return [Group(path=f"{path}[{i}]", name=x.get("groupName", ""), spec=x) for i, x in enumerate(specs)]

    @property
    def groups(self) -> list[Group]:
        return [self.head, *self.workers]

    def head_env(self, name: str) -> Document | None:
        """The entry of that name in the environment of the Ray container, which is the head's first."""
        containers: list[Document] = self.head.pod.spec.get("containers") or []
        entries: list[Document] = (containers[0].get("env") or []) if containers else []
        return next((entry for entry in entries if entry.get("name") == name), None)


def at(tree: Document, path: str) -> Any:
    """What lies at a dotted path; None if nothing does."""
    found: Any = tree
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def is_gpu(resource: str) -> bool:
    """Whether a Ray container's limit of this name is one of GPUs: the chart has no other devices."""
    return GPU.fullmatch(resource) is not None


def is_gpu_for_kuberay(resource: str) -> bool:
    """Whether KubeRay tells Ray of such a limit by itself, where num-gpus is not given (IsGPUResourceKey)."""
    return resource.endswith("gpu") or MIG.fullmatch(resource) is not None


def title(document: Document) -> str:
    """Kind and name, as faults begin."""
    return f"{document.get('kind', '?')}/{at(document, 'metadata.name') or '?'}"


def is_ray(document: Document, kind: str) -> bool:
    """Whether it is KubeRay's object of that kind."""
    return document.get("kind") == kind and str(document.get("apiVersion")).startswith("ray.io/")


def has_submitter(job: Document) -> bool:
    """Whether a RayJob is submitted by a pod of its own; the CRD's default is that it is."""
    return at(job, "spec.submissionMode") in (None, "K8sJobMode")


def cluster_of(document: Document) -> Cluster | None:
    """The Ray cluster that a RayCluster is or a RayJob makes; None if there is none."""
    paths = {"RayCluster": "spec", "RayJob": "spec.rayClusterSpec"}
    path = next((path for kind, path in paths.items() if is_ray(document, kind)), None)
    if path is None or not isinstance(spec := at(document, path), Mapping):
        return None
    queue = (at(document, "metadata.labels") or {}).get("kueue.x-k8s.io/queue-name", "")
    annotations = at(document, "metadata.annotations") or {}
    submitter = is_ray(document, "RayJob") and has_submitter(document)
    return Cluster(path=path, spec=spec, annotations=annotations, queue=queue, submitter=submitter)


def pods_of(document: Document) -> list[Pod]:
    """Every pod that a document makes."""
    kind = document.get("kind")
    paths = {
        "Pod": "spec",
        "CronJob": "spec.jobTemplate.spec.template.spec",
        "RayJob": "spec.submitterPodTemplate.spec",
    }
    paths |= dict.fromkeys(POD_TEMPLATES, "spec.template.spec")
    path = paths.get(kind) if kind else None
    own = [Pod.of(document, path)] if path and isinstance(at(document, path), Mapping) else []
    cluster = cluster_of(document)
    return own + ([group.pod for group in cluster.groups] if cluster else [])
