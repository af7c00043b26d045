"""What is asked of a Kubernetes API server: the only module that imports its client.

Objects come back as the server sent them, as mappings. Each request has a time limit; a server that is busy or away is
asked again for a minute; whatever else goes wrong is one line.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from histoseg.errors import ClusterError
from histoseg.kube.kubeconfig import fault, find_context, keep_token_clean, kubeconfig_paths, overheard, quotable
from histoseg.kube.refusals import (
    Answer,
    RefusedError,
    Request,
    UnreachableError,
    one_line,
    refusal,
    remedy,
    unsendable,
)

CONNECT_S, READ_S = 10.0, 30.0
PATIENCE_S = 60.0  # How long a busy or absent server is asked again
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
RAY, RAY_VERSION = "ray.io", "v1"
KUEUE_VERSION = "v1beta2"  # what Kueue 0.19 stores
MAX_LINE_BYTES = 1 << 20

Object = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A namespace of a cluster, as a context of the kubeconfig names it.

    Attributes:
        client: Of the `kubernetes` package.
        role: The Role whose holders may do all that is asked here; named when a right is missing.
        plugin: The command by which the kubeconfig logs in; empty if it has none.
        sleep: Waits between two attempts.
    """

    client: Any = field(repr=False)
    context: str
    namespace: str
    role: str = "histoseg-researcher"
    plugin: str = ""
    patience_s: float = PATIENCE_S
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def connect(cls, context: str, namespace: str = "", role: str = "histoseg-researcher") -> "Cluster":
        """A cluster as kubectl would reach it; nothing is sent yet.

        Args:
            context: Of the kubeconfig, which KUBECONFIG names as for kubectl.
            namespace: Empty means the context's, or else "default".
            role: What to name when a right is missing.

        Raises:
            ClusterError: If there is no such context, or no kubeconfig.
        """
        try:
            from kubernetes import client, config
        except ImportError as error:
            raise ClusterError(f"{error}: a cluster needs more packages; pip install 'histoseg[cluster]'") from None
        paths = kubeconfig_paths()
        found = find_context(paths, context)
        configuration = client.Configuration()
        configuration.retries = False  # urllib3's own would wait as long as a server likes, and go after redirects
        try:
            load: Callable[..., None] = config.load_kube_config
            with overheard() as said:
                load(paths, context=context, client_configuration=configuration)
            keep_token_clean(configuration)
            made = client.ApiClient(configuration)
        except Exception as error:  # Whatever the client makes of a file that people and tools write
            raise ClusterError(
                f"{paths}: context {context!r} cannot be used: {fault(error)}; correct it, or log in again"
            ) from None
        if found.plugin and not (configuration.api_key or configuration.cert_file):
            raise ClusterError(
                f"{paths}: {found.plugin!r}, which logs context {context!r} in, gives no credentials "
                f"({quotable(' '.join(said))}); install it or log in with it, then try `kubectl --context {context} "
                f"get pods`"
            )
        namespace = namespace or found.namespace or "default"
        return cls(client=made, context=context, namespace=namespace, role=role, plugin=found.plugin)

    def close(self) -> None:
        """End all connections."""
        self.client.close()

    @property
    def server(self) -> str:
        """The API server's URL, without what may be secret in one."""
        parts = urlsplit(self.client.configuration.host)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def version(self) -> str:
        """The server's version, such as v1.33.2."""
        request = self._request("get", "version", namespace="")
        found = self._json(request, self._version().get_code)
        if "gitVersion" not in found:
            raise _foreign(request, json.dumps(found))
        return str(found["gitVersion"])

    def resources(self, group: str, version: str) -> set[str]:
        """Plurals (and plural/subresource) that the server has of a group; empty if it does not know the group."""
        api = self._custom().get_api_resources if group else self._core().get_api_resources
        request = self._request("list", "resources", group=group, version=version, namespace="")
        found = self._find(request, api, *([group, version] if group else []))
        return {resource["name"] for resource in found["resources"]} if found else set()

    def may(self, verb: str, group: str, resource: str, subresource: str = "", name: str = "") -> bool:
        """Whether whom the context stands for may do this in the namespace."""
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
        """A ConfigMap's data, None if it is not there."""
        request = self._request("get", "configmaps", name=name)
        found = self._find(request, self._core().read_namespaced_config_map, name, self.namespace)
        return None if found is None else found.get("data") or {}

    def secret_keys(self, name: str) -> set[str] | None:
        """The names of a Secret's keys, None if it is not there; its values are not kept."""
        request = self._request("get", "secrets", name=name)
        found = self._find(request, self._core().read_namespaced_secret, name, self.namespace)
        return None if found is None else set(found.get("data") or {})

    def local_queue(self, name: str, version: str = KUEUE_VERSION) -> Object | None:
        """A LocalQueue of Kueue, None if it is not there."""
        return self._custom_object("kueue.x-k8s.io", version, "localqueues", name)

    def workloads(self, uid: str) -> list[Object]:
        """What Kueue keeps about the job of this uid; empty without Kueue."""
        request = self._request("list", "workloads", group="kueue.x-k8s.io", version=KUEUE_VERSION)
        path = ("kueue.x-k8s.io", KUEUE_VERSION, self.namespace, "workloads")
        api = self._custom().list_namespaced_custom_object
        found = self._find(request, api, *path, label_selector=f"kueue.x-k8s.io/job-uid={uid}")
        return _items(found or {})

    def rayjob(self, name: str) -> Object | None:
        """A RayJob, None if it is not there."""
        return self._custom_object(RAY, RAY_VERSION, "rayjobs", name)

    def rayjobs(self, selector: str = "") -> list[Object]:
        """The namespace's RayJobs that carry these labels."""
        request = self._request("list", "rayjobs", group=RAY, version=RAY_VERSION)
        api = self._custom().list_namespaced_custom_object
        return _items(self._json(request, api, *self._rayjobs_path(), label_selector=selector))

    def create_rayjob(self, manifest: Object) -> bool:
        """Create a RayJob; False if there is one of its name already.

        A server whose CRD is too old for one of its fields refuses it, instead of leaving that field out.
        """
        request = self._request("create", "rayjobs", group=RAY, version=RAY_VERSION, name=manifest["metadata"]["name"])
        api = self._custom().create_namespaced_custom_object
        answer = self._answer(request, api, *self._rayjobs_path(), dict(manifest), field_validation="Strict")
        if isinstance(answer, Answer) and not answer.already_exists:
            raise refusal(request, answer)
        return not isinstance(answer, Answer)

    def delete_rayjob(self, name: str, uid: str) -> bool:
        """Delete a RayJob and wait for nothing; False if it was not there.

        It stays, marked, until its cluster and pods are gone: a new one of the same name must not find the old one's.
        One of the same name with another uid is spared.
        """
        request = self._request("delete", "rayjobs", group=RAY, version=RAY_VERSION, name=name)
        api = self._custom().delete_namespaced_custom_object
        body = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        return self._find(request, api, *self._rayjobs_path(), name, body=body) is not None

    def pods(self, selector: str) -> list[Object]:
        """The namespace's pods that carry these labels."""
        request = self._request("list", "pods")
        api = self._core().list_namespaced_pod
        return _items(self._json(request, api, self.namespace, label_selector=selector))

    def events(self, name: str) -> list[Object]:
        """What was noted about the objects of this name, of whatever kind, oldest first."""
        request = self._request("list", "events")
        api = self._core().list_namespaced_event
        found = _items(self._json(request, api, self.namespace, field_selector=f"involvedObject.name={name}"))
        return sorted(found, key=noted_at)

    def quotas(self) -> list[Object]:
        """The namespace's ResourceQuotas."""
        request = self._request("list", "resourcequotas")
        return _items(self._json(request, self._core().list_namespaced_resource_quota, self.namespace))

    def nodes(self) -> list[Object]:
        """The cluster's nodes; not everybody may see them."""
        return _items(self._json(self._request("list", "nodes", namespace=""), self._core().list_node))

    def log(self, pod: str, container: str, seconds: int = 0, silence_s: float = READ_S) -> Iterator[str]:
        """A container's log as it is written, line by line, each after its time and a space.

        It begins that many seconds ago (0: at the container's start), and ends with the container, or whenever the
        connection does or nothing has come for `silence_s`.
        """
        request = self._request("get", "pods/log", name=pod)
        back = {"since_seconds": seconds} if seconds else {}
        api, time_limit = self._core().read_namespaced_pod_log, (CONNECT_S, silence_s)
        options = {"container": container, "follow": True, "timestamps": True, "_request_timeout": time_limit, **back}
        response = self._ask(request, lambda: _send(api, pod, self.namespace, **options))
        if not isinstance(response, Answer):
            yield from _lines(response)
        elif response.status not in (400, 404):  # 400: the container has not begun; 404: the pod is gone
            raise refusal(request, response)

    def _custom_object(self, group: str, version: str, plural: str, name: str) -> Object | None:
        request = self._request("get", plural, group=group, version=version, name=name)
        api = self._custom().get_namespaced_custom_object
        return self._find(request, api, group, version, self.namespace, plural, name)

    def _rayjobs_path(self) -> tuple[str, str, str, str]:
        return RAY, RAY_VERSION, self.namespace, "rayjobs"

    def _request(self, verb: str, resource: str, **more: str) -> Request:
        place = {"namespace": self.namespace, "context": self.context, "server": self.server}
        place |= {"role": self.role, "plugin": self.plugin}
        return Request(verb=verb, resource=resource, **{**place, **more})

    def _find(self, request: Request, api: Callable[..., Any], *path: Any, **options: Any) -> Any | None:
        """An answer's JSON, None if the object is not there (nor, of what is no object, the kind)."""
        answer = self._answer(request, api, *path, **options)
        if not isinstance(answer, Answer):
            return answer
        if answer.status == 404 and not (answer.kind_is_unknown and request.name):
            return None
        raise refusal(request, answer)

    def _json(self, request: Request, api: Callable[..., Any], *path: Any, **options: Any) -> Any:
        """An answer's JSON."""
        answer = self._answer(request, api, *path, **options)
        if isinstance(answer, Answer):
            raise refusal(request, answer)
        return answer

    def _answer(self, request: Request, api: Callable[..., Any], *path: Any, **options: Any) -> Any:
        """An answer's JSON, or what the server answered instead."""
        body = self._ask(request, lambda: _send(api, *path, **options).data)
        return body if isinstance(body, Answer) else _parsed(request, body)

    def _ask(self, request: Request, send: Callable[[], Any]) -> Any:
        """What `send` brings, or what the server answered instead; one that is busy or away is asked again."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        begin, pause_s = time.monotonic(), FIRST_PAUSE_S
        while True:
            asked_s = 0.0
            try:
                return send()
            except ApiException as error:
                answer = Answer.read(error.status or 0, error.body or "", str(error.reason or ""))
                if not answer.may_pass:
                    return answer
                asked_s, cause = _retry_after_s(error.headers), _cause(request, answer)
            except HTTPError as error:
                cause = _cause(request, Answer.read(0, "", str(error)))
            except ValueError as error:  # Its text may be the token
                raise RefusedError(unsendable(request, type(error).__name__), 0) from None
            left_s = self.patience_s - (time.monotonic() - begin)
            if left_s <= 0 or asked_s > left_s:
                raise UnreachableError(f"cannot {request.what}: {request.server} {cause}", asked_s)
            self.sleep(min(max(asked_s, pause_s), left_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _core(self) -> Any:
        from kubernetes.client import CoreV1Api

        return CoreV1Api(self.client)

    def _custom(self) -> Any:
        from kubernetes.client import CustomObjectsApi

        return CustomObjectsApi(self.client)

    def _version(self) -> Any:
        from kubernetes.client import VersionApi

        return VersionApi(self.client)


def noted_at(event: Object) -> str:
    """When an event was last seen, as Kubernetes writes times: they sort as text."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(found) for found in times if found), "")


def _items(found: Object) -> list[Object]:
    return list(found.get("items") or [])


def _send(api: Callable[..., Any], *path: Any, **options: Any) -> Any:
    """A successful response, whose body is still to be read."""
    return api(*path, **{"_request_timeout": (CONNECT_S, READ_S), **options}, _preload_content=False)


def _parsed(request: Request, body: bytes) -> Object:
    """The object in an answer's body.

    Raises:
        RefusedError: If there is none, as when somebody else answers for the server.
    """
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise _foreign(request, body.decode(errors="replace"))
    return found


def _foreign(request: Request, said: str) -> RefusedError:
    """The error of an answer that comes from something else."""
    return RefusedError(
        f"cannot {request.what}: what {request.server} sends is no API server's answer ({one_line(said)}); log in "
        f"again, and see that context {request.context!r} names the API server itself",
        200,
    )


def _cause(request: Request, answer: Answer) -> str:
    """Why there is no answer of use, and what to do."""
    said = f"answers {answer.status} ({answer.message})" if answer.status else f"does not answer ({answer.message})"
    return f"{said}; {remedy(request, answer)}"


def _retry_after_s(headers: Any) -> float:
    """How long a busy server asks to wait; 0 if it does not say so in seconds."""
    text = str((headers or {}).get("Retry-After", ""))
    return float(text) if text.isdigit() else 0.0


def _lines(response: Any) -> Iterator[str]:
    """Whole lines as they arrive; a broken connection ends them, and then the last, unfinished one is left out."""
    from urllib3.exceptions import HTTPError

    rest = b""
    try:
        for chunk in response.stream(1 << 16, decode_content=True):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
            rest = rest[-MAX_LINE_BYTES:]
        if rest:
            yield rest.decode(errors="replace")
    except HTTPError:
        return
    finally:
        response.close()
