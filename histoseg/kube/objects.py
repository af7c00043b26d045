"""The fields of Kubernetes objects that are read here, as typed values.

Each class is one kind, its fields name where they lie in the object; what their values mean is told by the API
references of Kubernetes, KubeRay 1.7 and Kueue 0.19. Absent fields have their defaults.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import AliasPath, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from histoseg.errors import ClusterError

Object = Mapping[str, Any]  # An object as the API server sends or takes it
Amount = str | int | float  # A quantity: 4, "500m", "16Gi"
Amounts = dict[str, Amount]  # By resource


def at(path: str, default: object) -> Any:
    """A field that lies at a dotted path of the object."""
    return Field(default, validation_alias=AliasPath(*path.split(".")))


class KubeModel(BaseModel):
    """A part of an object."""

    model_config = ConfigDict(frozen=True)


class Condition(KubeModel):
    """One of the conditions in a status."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class Container(KubeModel):
    """A container of a pod's spec."""

    name: str = ""
    image: str = ""
    requests: Amounts = at("resources.requests", {})
    limits: Amounts = at("resources.limits", {})


class PodSpec(KubeModel):
    """The spec of a pod, in a pod or in a pod template."""

    containers: tuple[Container, ...] = ()
    node_selector: dict[str, str] = at("nodeSelector", {})


class ContainerStatus(KubeModel):
    """How a container of a pod fares."""

    name: str = ""
    image: str = "?"
    waiting_reason: str = at("state.waiting.reason", "")
    waiting_message: str = at("state.waiting.message", "")
    ended_reason: str = at("state.terminated.reason", "")
    last_exit_code: int | None = at("lastState.terminated.exitCode", None)
    last_reason: str = at("lastState.terminated.reason", "")


class Pod(KubeModel):
    """A pod's name, containers and status."""

    name: str = at("metadata.name", "")
    namespace: str = at("metadata.namespace", "")
    labels: dict[str, str] = at("metadata.labels", {})
    spec: PodSpec = PodSpec()
    phase: str = at("status.phase", "")
    reason: str = at("status.reason", "")
    message: str = at("status.message", "")
    conditions: tuple[Condition, ...] = at("status.conditions", ())
    init_containers: tuple[ContainerStatus, ...] = at("status.initContainerStatuses", ())
    containers: tuple[ContainerStatus, ...] = at("status.containerStatuses", ())


class RayJob(KubeModel):
    """A RayJob's metadata and status."""

    name: str = at("metadata.name", "")
    uid: str = at("metadata.uid", "")
    labels: dict[str, str] = at("metadata.labels", {})
    annotations: dict[str, str] = at("metadata.annotations", {})
    created: str = at("metadata.creationTimestamp", "")
    deleted: str = at("metadata.deletionTimestamp", "")
    suspend: bool = at("spec.suspend", False)
    ttl_s: int = at("spec.ttlSecondsAfterFinished", 0)
    retries: int = at("spec.backoffLimit", 0)
    failures: int = at("status.failed", 0)
    deployment_status: str = at("status.jobDeploymentStatus", "")
    job_status: str = at("status.jobStatus", "")
    reason: str = at("status.reason", "")
    message: str = at("status.message", "")
    started: str = at("status.startTime", "")
    ended: str = at("status.endTime", "")
    ray_cluster: str = at("status.rayClusterName", "")
    ready_workers: int = at("status.rayClusterStatus.readyWorkerReplicas", 0)
    desired_workers: int = at("status.rayClusterStatus.desiredWorkerReplicas", 0)
    cluster_conditions: tuple[Condition, ...] = at("status.rayClusterStatus.conditions", ())


class Event(KubeModel):
    """An event about another object."""

    type: str = ""
    reason: str = ""
    message: str = ""
    about: str = at("involvedObject.name", "")
    last_observed: str = at("series.lastObservedTime", "")
    last_timestamp: str = at("lastTimestamp", "")
    event_time: str = at("eventTime", "")

    @property
    def last_seen(self) -> str:
        """When it was last seen, as Kubernetes writes times: they sort as text."""
        return self.last_observed or self.last_timestamp or self.event_time


class AdmissionCheck(KubeModel):
    """A check besides the quota that a Workload of Kueue must pass."""

    name: str = ""
    state: str = ""
    message: str = ""


class Workload(KubeModel):
    """A Workload of Kueue: what it knows of a job in a queue."""

    is_active: bool = at("spec.active", True)
    conditions: tuple[Condition, ...] = at("status.conditions", ())
    checks: tuple[AdmissionCheck, ...] = at("status.admissionChecks", ())


class LocalQueue(KubeModel):
    """A queue of a namespace, and the ClusterQueue that it leads to."""

    name: str = at("metadata.name", "")
    cluster_queue: str = at("spec.clusterQueue", "")
    stop_policy: str = at("spec.stopPolicy", "None")
    conditions: tuple[Condition, ...] = at("status.conditions", ())


class FlavorResource(KubeModel):
    """The quota of a ClusterQueue for one resource on one kind of node."""

    name: str = ""
    nominal: Amount = at("nominalQuota", 0)
    borrowing_limit: Amount | None = at("borrowingLimit", None)  # None: what the cohort has


class Flavor(KubeModel):
    """One kind of node of a ClusterQueue."""

    name: str = ""
    resources: tuple[FlavorResource, ...] = ()


class ResourceGroup(KubeModel):
    """Resources that a ClusterQueue gives out together."""

    covered: tuple[str, ...] = at("coveredResources", ())
    flavors: tuple[Flavor, ...] = ()


class LabelRequirement(KubeModel):
    """One of the expressions of a selector."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(KubeModel):
    """A selector of objects by their labels; an empty one selects all."""

    match_labels: dict[str, str] = at("matchLabels", {})
    match_expressions: tuple[LabelRequirement, ...] = at("matchExpressions", ())

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return self.match_labels.items() <= labels.items() and all(
            _holds(requirement, labels) for requirement in self.match_expressions
        )


def _holds(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    found, values = labels.get(requirement.key), requirement.values
    holds = {"In": found in values, "NotIn": found not in values, "Exists": found is not None}
    return holds.get(requirement.operator, found is None)


class ClusterQueue(KubeModel):
    """A quota of Kueue, for all namespaces that it selects."""

    name: str = at("metadata.name", "")
    cohort: str = at("spec.cohortName", "")
    namespaces: LabelSelector | None = at("spec.namespaceSelector", None)  # None selects no namespace
    groups: tuple[ResourceGroup, ...] = at("spec.resourceGroups", ())
    stop_policy: str = at("spec.stopPolicy", "None")
    conditions: tuple[Condition, ...] = at("status.conditions", ())


class Node(KubeModel):
    """A node, and what pods may have of it."""

    name: str = at("metadata.name", "")
    labels: dict[str, str] = at("metadata.labels", {})
    unschedulable: bool = at("spec.unschedulable", False)
    allocatable: Amounts = at("status.allocatable", {})


class ResourceQuota(KubeModel):
    """A quota of a namespace; the controller copies its limits into the status."""

    name: str = at("metadata.name", "")
    hard: Amounts = at("status.hard", {})
    hard_in_spec: Amounts = at("spec.hard", {})
    used: Amounts = at("status.used", {})


Model = TypeVar("Model")  # A KubeModel, or a dataclass of pydantic's


def read(model: type[Model], data: object, where: str) -> Model:
    """The fields of a model in an object, or in a file of the same kind; null is the same as absent, as in Kubernetes.

    Raises:
        ClusterError: If a field is missing or has the wrong type; its value is not quoted, because it may be secret.
    """
    try:
        return TypeAdapter(model).validate_python(_without_nulls(data))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise ClusterError(f"{where}: {f'{field}: ' if field else ''}{first['msg']}") from None


def _without_nulls(data: object) -> object:
    if isinstance(data, Mapping):
        return {key: _without_nulls(value) for key, value in data.items() if value is not None}
    return [_without_nulls(item) for item in data] if isinstance(data, list) else data
