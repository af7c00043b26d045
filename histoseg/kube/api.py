"""Requests to a Kubernetes API server: the only module that calls the APIs of its client.

Each request has a time limit; a server that is busy or away is asked again for a minute; any other failure is an error
of one line.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from histoseg.kube.kubeconfig import log_in
from histoseg.kube.objects import (
    ClusterQueue,
    Event,
    LocalQueue,
    Model,
    Node,
    Object,
    Pod,
    ResourceQuota,
    Workload,
    read,
)
from histoseg.kube.refusals import ApiRequest, ErrorAnswer, refusal
from histoseg.kube.transport import ask, foreign, lines, parse

CONNECT_S, READ_S = 10.0, 30.0
PATIENCE_S = 60.0  # How long a busy or absent server is asked again
RAY, RAY_VERSION = "ray.io", "v1"
KUEUE, KUEUE_VERSION = "kueue.x-k8s.io", "v1beta2"  # The version that Kueue 0.19 stores
DRY_RUN = {"dry_run": "All"}
ORDINARY = ("Scheduled", "Pulling", "Pulled", "Created", "Started", "Killing")  # Events of every pod

Untyped = Any  # Objects of the kubernetes package, which has no types
ApiMethod = Callable[..., Untyped]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A namespace of a cluster, as a context of the kubeconfig names it.

    Attributes:
        role: The Role that grants all rights needed here; named when one is missing.
        plugin: The command by which the kubeconfig logs in; empty if it has none.
        used: The rights that the user had so far.
    """

    client: Untyped = field(repr=False)
    context: str
    namespace: str
    role: str = "histoseg-researcher"
    plugin: str = ""
    patience_s: float = PATIENCE_S
    sleep: Callable[[float], None] = time.sleep
    used: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def connect(cls, context: str, namespace: str = "", role: str = "histoseg-researcher") -> "Cluster":
        """The cluster that kubectl would reach; nothing is sent yet. An empty namespace means the context's."""
        api_client, found = log_in(context)
        namespace = namespace or found.namespace or "default"
        return cls(client=api_client, context=context, namespace=namespace, role=role, plugin=found.plugin)

    def close(self) -> None:
        """End all connections."""
        self.client.close()

    @property
    def server(self) -> str:
        """The API server's URL, without a user name and password."""
        parts = urlsplit(self.client.configuration.host)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def version(self) -> str:
        """The server's version, such as v1.33.2."""
        request = self._request("get", "version", namespace="")
        found = self._json(request, self._version().get_code)
        if "gitVersion" not in found:
            raise foreign(request, json.dumps(found))
        return str(found["gitVersion"])

    def resources(self, group: str, version: str) -> set[str]:
        """Plurals (and plural/subresource) of a group; empty if the server does not have the group."""
        api = self._custom().get_api_resources if group else self._core().get_api_resources
        request = self._request("list", "resources", group=group, version=version, namespace="")
        found = self._find(request, api, *([group, version] if group else []))
        return {resource["name"] for resource in found["resources"]} if found else set()

    def may(self, verb: str, group: str, resource: str, subresource: str = "", name: str = "") -> bool:
        """Whether the current user may do this in the namespace."""
        asked = {"namespace": self.namespace, "verb": verb, "group": group, "resource": resource}
        asked |= {key: text for key, text in {"subresource": subresource, "name": name}.items() if text}
        request = self._request("create", "selfsubjectaccessreviews", group="authorization.k8s.io", namespace="")
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        where = ("authorization.k8s.io", "v1", "selfsubjectaccessreviews")
        answer = self._json(request, self._custom().create_cluster_custom_object, *where, body)
        return bool(answer["status"]["allowed"])

    def config_map(self, name: str) -> Object | None:
        """A ConfigMap's data; None if there is no such ConfigMap."""
        request = self._request("get", "configmaps", name=name)
        found = self._find(request, self._core().read_namespaced_config_map, name, self.namespace)
        return None if found is None else found.get("data") or {}

    def secret_keys(self, name: str) -> set[str] | None:
        """The names of a Secret's keys, without their values; None if there is no such Secret."""
        request = self._request("get", "secrets", name=name)
        found = self._find(request, self._core().read_namespaced_secret, name, self.namespace)
        return None if found is None else set(found.get("data") or {})

    def local_queue(self, name: str, version: str = KUEUE_VERSION) -> LocalQueue | None:
        """A LocalQueue of Kueue; None if there is no such queue."""
        found = self._custom_object(KUEUE, version, "localqueues", name)
        return None if found is None else read(LocalQueue, found, f"LocalQueue {name}")

    def cluster_queue(self, name: str, version: str = KUEUE_VERSION) -> ClusterQueue | None:
        """A ClusterQueue of Kueue; None if there is no such queue. It belongs to no namespace."""
        request = self._request("get", "clusterqueues", group=KUEUE, version=version, name=name, namespace="")
        found = self._find(request, self._custom().get_cluster_custom_object, KUEUE, version, "clusterqueues", name)
        return None if found is None else read(ClusterQueue, found, f"ClusterQueue {name}")

    def namespace_labels(self) -> dict[str, str]:
        """The labels of the namespace."""
        request = self._request("get", "namespaces", name=self.namespace)
        found = self._json(request, self._core().read_namespace, self.namespace)
        return dict(found["metadata"].get("labels") or {})

    def workloads(self, uid: str) -> list[Workload]:
        """The Workloads of Kueue for the job with this uid; empty without Kueue."""
        request = self._request("list", "workloads", group=KUEUE, version=KUEUE_VERSION)
        api, where = self._custom().list_namespaced_custom_object, (KUEUE, KUEUE_VERSION, self.namespace, "workloads")
        found = self._find(request, api, *where, label_selector=f"{KUEUE}/job-uid={uid}")
        return _read_items(Workload, found or {}, request)

    def rayjob(self, name: str) -> Object | None:
        """A RayJob; None if there is no such RayJob."""
        return self._custom_object(RAY, RAY_VERSION, "rayjobs", name)

    def rayjobs(self, selector: str = "") -> list[Object]:
        """The namespace's RayJobs with these labels."""
        request = self._request("list", "rayjobs", group=RAY, version=RAY_VERSION)
        api = self._custom().list_namespaced_custom_object
        return _items(self._json(request, api, *self._rayjobs_path(), label_selector=selector))

    def create_rayjob(self, manifest: Object) -> bool:
        """Create a RayJob; False if one of its name exists already.

        A server whose CRD is too old for one of its fields refuses it, instead of dropping that field.
        """
        return self._create_rayjob(manifest, {})

    def try_rayjob(self, manifest: Object) -> None:
        """Have the server check a RayJob as for its creation (schema, admission, quota), and create nothing."""
        self._create_rayjob(manifest, DRY_RUN)

    def try_pod(self, manifest: Object) -> bool:
        """The same for a pod; False if the user may not create pods, so that nothing was checked."""
        request = self._request("create", "pods", name=manifest["metadata"]["generateName"])
        api = self._core().create_namespaced_pod
        answer = self._answer(request, api, self.namespace, dict(manifest), field_validation="Strict", **DRY_RUN)
        if isinstance(answer, ErrorAnswer) and not answer.lacks_right:
            raise refusal(request, answer)
        return not isinstance(answer, ErrorAnswer)

    def delete_rayjob(self, name: str, uid: str) -> bool:
        """Delete a RayJob and wait for nothing; False if it did not exist.

        It stays, marked, until its cluster and pods are gone: a new one of the same name must not find the old one's.
        One of the same name with another uid is not deleted.
        """
        request = self._request("delete", "rayjobs", group=RAY, version=RAY_VERSION, name=name)
        api = self._custom().delete_namespaced_custom_object
        body = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        return self._find(request, api, *self._rayjobs_path(), name, body=body) is not None

    def pods(self, selector: str) -> list[Object]:
        """The namespace's pods with these labels."""
        request = self._request("list", "pods")
        return _items(self._json(request, self._core().list_namespaced_pod, self.namespace, label_selector=selector))

    def operators(self) -> list[Pod]:
        """The pods of KubeRay's operator, wherever they are; listing them needs a right for the whole cluster."""
        request = self._request("list", "pods", namespace="")
        api, selector = self._core().list_pod_for_all_namespaces, "app.kubernetes.io/component=kuberay-operator"
        return _read_items(Pod, self._json(request, api, label_selector=selector), request)

    def events(self, name: str) -> list[Event]:
        """The events about objects of this name, of any kind, oldest first."""
        return self._events(f"involvedObject.name={name}")

    def pod_events(self) -> list[Event]:
        """The events about all pods of the namespace but those of an ordinary life, oldest first."""
        return self._events(",".join(["involvedObject.kind=Pod", *(f"reason!={reason}" for reason in ORDINARY)]))

    def _events(self, selector: str) -> list[Event]:
        request = self._request("list", "events")
        found = self._json(request, self._core().list_namespaced_event, self.namespace, field_selector=selector)
        return sorted(_read_items(Event, found, request), key=lambda event: event.last_seen)

    def quotas(self) -> list[ResourceQuota]:
        """The namespace's ResourceQuotas."""
        request = self._request("list", "resourcequotas")
        found = self._json(request, self._core().list_namespaced_resource_quota, self.namespace)
        return _read_items(ResourceQuota, found, request)

    def nodes(self) -> list[Node]:
        """The cluster's nodes; listing them needs a right for the whole cluster."""
        request = self._request("list", "nodes", namespace="")
        return _read_items(Node, self._json(request, self._core().list_node), request)

    def log(self, pod: str, container: str, seconds: int = 0, silence_s: float = READ_S) -> Iterator[str]:
        """A container's log as it is written, line by line, each after its time and a space.

        It begins that many seconds ago (0: at the container's start). It ends with the container or the connection, or
        when nothing has come for `silence_s`.
        """
        request = self._request("get", "pods/log", name=pod)
        back = {"since_seconds": seconds} if seconds else {}
        api, time_limit = self._core().read_namespaced_pod_log, (CONNECT_S, silence_s)
        options = {"container": container, "follow": True, "timestamps": True, "_request_timeout": time_limit, **back}
        response = self._ask(request, lambda: _send(api, pod, self.namespace, **options))
        if not isinstance(response, ErrorAnswer):
            yield from lines(response)
        elif response.status not in (400, 404):  # 400: the container has not begun; 404: the pod is gone
            raise refusal(request, response)

    def _create_rayjob(self, manifest: Object, options: dict[str, str]) -> bool:
        request = self._request("create", "rayjobs", group=RAY, version=RAY_VERSION, name=manifest["metadata"]["name"])
        api, path = self._custom().create_namespaced_custom_object, self._rayjobs_path()
        answer = self._answer(request, api, *path, dict(manifest), field_validation="Strict", **options)
        if isinstance(answer, ErrorAnswer) and not answer.already_exists:
            raise refusal(request, answer)
        return not isinstance(answer, ErrorAnswer)

    def _custom_object(self, group: str, version: str, plural: str, name: str) -> Object | None:
        request = self._request("get", plural, group=group, version=version, name=name)
        api = self._custom().get_namespaced_custom_object
        return self._find(request, api, group, version, self.namespace, plural, name)

    def _rayjobs_path(self) -> tuple[str, str, str, str]:
        return RAY, RAY_VERSION, self.namespace, "rayjobs"

    def _request(self, verb: str, resource: str, **more: str) -> ApiRequest:
        place: dict[str, Any] = {"namespace": self.namespace, "context": self.context, "server": self.server}
        place |= {"role": self.role, "plugin": self.plugin}
        request = ApiRequest(verb=verb, resource=resource, **{**place, **more})
        return replace(request, was_allowed=request.right in self.used)

    def _find(self, request: ApiRequest, api: ApiMethod, *path: object, **options: object) -> Object | None:
        """An answer's JSON; None if the object does not exist or, for a list, its kind does not."""
        answer = self._answer(request, api, *path, **options)
        if not isinstance(answer, ErrorAnswer):
            return answer
        if answer.status == 404 and not (answer.kind_is_unknown and request.name):
            return None
        raise refusal(request, answer)

    def _json(self, request: ApiRequest, api: ApiMethod, *path: object, **options: object) -> Object:
        """An answer's JSON."""
        answer = self._answer(request, api, *path, **options)
        if isinstance(answer, ErrorAnswer):
            raise refusal(request, answer)
        return answer

    def _answer(self, request: ApiRequest, api: ApiMethod, *path: object, **options: object) -> Object | ErrorAnswer:
        """An answer's JSON, or the answer itself if it is an error."""
        body = self._ask(request, lambda: _send(api, *path, **options).data)
        return body if isinstance(body, ErrorAnswer) else parse(request, body)

    def _ask(self, request: ApiRequest, send: Callable[[], Untyped]) -> Untyped:
        answer = ask(request, send, self.patience_s, self.sleep)
        if not isinstance(answer, ErrorAnswer) or answer.status == 404:  # Rights are checked before existence
            self.used.add(request.right)
        return answer

    def _core(self) -> Untyped:
        from kubernetes.client import CoreV1Api

        return CoreV1Api(self.client)

    def _custom(self) -> Untyped:
        from kubernetes.client import CustomObjectsApi

        return CustomObjectsApi(self.client)

    def _version(self) -> Untyped:
        from kubernetes.client import VersionApi

        return VersionApi(self.client)


def _items(found: Object) -> list[Object]:
    return list(found.get("items") or [])


def _read_items(model: type[Model], found: Object, request: ApiRequest) -> list[Model]:
    return [read(model, item, f"answer to {request.what}") for item in _items(found)]


def _send(api: ApiMethod, *path: object, **options: object) -> Untyped:
    """A successful response, whose body is still to be read."""
    return api(*path, **{"_request_timeout": (CONNECT_S, READ_S), **options}, _preload_content=False)
