"""A Kubernetes API server over HTTP that remembers, with what kmock lacks: selectors, logs, rights, faults, KubeRay.

KubeRay is played by scripts: each look at a RayJob takes the next step of its script, so a test waits for nothing and
always sees the same. Wording and status of refusals are those of a real API server (Kubernetes 1.33).
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp.web
import kmock
from kmock import KubernetesEmulator, KubernetesError, Server

RAYJOBS, PODS, EVENTS, CONFIG_MAPS = "ray.io/v1/rayjobs", "v1/pods", "v1/events", "v1/configmaps"
CREATED = "2025-01-01T00:00:00Z"
READY = {"readyWorkerReplicas": 2}
KINDS = (RAYJOBS, PODS, EVENTS, CONFIG_MAPS, "v1/secrets", "v1/nodes", "v1/resourcequotas")

Step = Callable[["ApiServer", str], None]


@dataclass
class Fault:
    """What requests of a method whose path ends so get instead of an answer, a number of times.

    Attributes:
        status: 0 means that the connection is cut.
        is_half: Whether only half of the body comes; then the connection is cut, after hang_s.
    """

    method: str
    path_end: str
    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    hang_s: float = 0.0
    is_half: bool = False


@dataclass
class Log:
    """A container's log.

    Attributes:
        breaks: After how many lines each connection in turn is cut off, in the middle of the next line.
        over: Whether the container has ended; otherwise the connection stays open and silent.
        instead: What the kubelet says in place of the log, in a line without a time.
    """

    lines: list[tuple[str, str]]
    breaks: list[int] = field(default_factory=list)
    over: bool = True
    instead: str = ""


class ApiServer(KubernetesEmulator):
    """The server; to be changed only through `Served.tell` once it runs."""

    def prepare(self) -> None:
        self.faults: list[Fault] = []
        self.refused = {"create pods"}  # What the user may not do; by default as a researcher of the chart
        self.logs: dict[str, Log] = {}
        self.scripts: list[list[Step]] = []  # One for each RayJob in the order of their creation
        self.running: dict[str, list[Step]] = {}  # By the RayJob's uid
        self.looks_until_gone = 2  # How often a deleted RayJob is seen before its finalizer lets it go
        self.uids = 0
        for kind in KINDS:
            self.resources[kind] = {}  # type: ignore[typeddict-item]  # its type wants every field, kmock itself none

    async def _handle(self, request: kmock.Request) -> aiohttp.web.StreamResponse:
        for fault in self.faults:
            if fault.times and request.method.value == fault.method and request.url.path.endswith(fault.path_end):
                fault.times -= 1
                return await self._fail(fault, request)
        answer = await self._beyond_kmock(request)
        if answer is None and "dryRun" in request.params:
            answer = self._tried(request)
        if answer is None:
            answer = await self._remembered(request)
        if request.url.path.rpartition("/")[0].endswith("/rayjobs") and request.action == kmock.action.FETCH:
            self._advance(request)
        return answer

    async def _beyond_kmock(self, request: kmock.Request) -> aiohttp.web.StreamResponse | None:
        """The answer to what kmock does not know."""
        plural, path = request.resource.plural if request.resource else None, request.url.path
        if path == "/version/":  # as the client writes it
            return aiohttp.web.json_response(await self._serve_server_version(request))
        if path == "/api/v1/":
            names = [{"name": resource.plural} for resource in self.resources if resource.group == ""]
            return aiohttp.web.json_response({"resources": names})
        if plural == "selfsubjectaccessreviews":
            asked = request.data["spec"]["resourceAttributes"]
            allowed = f"{asked['verb']} {asked['resource']}" not in self.refused
            return aiohttp.web.json_response({**request.data, "status": {"allowed": allowed}}, status=201)
        if plural is not None and request.resource not in self.resources:
            return aiohttp.web.Response(text="404 page not found\n", status=404)
        if request.subresource == "log":
            return await self._log(request)
        return None

    def _tried(self, request: kmock.Request) -> aiohttp.web.StreamResponse:
        """The answer to a creation that is only tried; what admission says of it, only a real server knows."""
        plural = request.resource.plural
        if f"create {plural}" in self.refused:
            message = f'{plural} is forbidden: User "me" cannot create resource "{plural}" in API group ""'
            return _status(403, "Forbidden", message, kind=plural)
        return aiohttp.web.json_response(request.data, status=201)

    async def _remembered(self, request: kmock.Request) -> aiohttp.web.StreamResponse:
        """kmock's answer, worded as Kubernetes does."""
        plural = request.resource.plural if request.resource else None
        if request.action == kmock.action.LIST and plural is not None:
            return aiohttp.web.json_response({"items": self._selected(request)})
        if request.action == kmock.action.CREATE:
            self._complete(request.data, request.url.path)
        uid = (
            (request.data or {}).get("preconditions", {}).get("uid") if request.action == kmock.action.DELETE else None
        )
        if uid and (there := self._stored(request)) and there["metadata"]["uid"] != uid:
            return _status(409, "Conflict", "the UID in the precondition does not match the UID in record")
        try:
            return await super()._handle(request)
        except KubernetesError as error:
            if request.action not in (kmock.action.FETCH, kmock.action.CREATE, kmock.action.DELETE):
                return aiohttp.web.Response(text="404 page not found\n", status=404)
            name = request.name or request.data["metadata"]["name"]
            reason, said = {404: ("NotFound", "not found"), 409: ("AlreadyExists", "already exists")}[error.status]
            return _status(error.status, reason, f'{plural}.ray.io "{name}" {said}', name=name, kind=plural)

    async def _fail(self, fault: Fault, request: kmock.Request) -> aiohttp.web.StreamResponse:
        if fault.is_half:
            response = aiohttp.web.StreamResponse(status=fault.status, headers={"Content-Length": str(len(fault.body))})
            await response.prepare(request._raw_request)
            await response.write(fault.body[: len(fault.body) // 2].encode())
            await asyncio.sleep(fault.hang_s)
            request._raw_request.transport.abort()
            return response
        await asyncio.sleep(fault.hang_s)
        if not fault.status:
            request._raw_request.transport.abort()
        return aiohttp.web.Response(status=fault.status or 500, text=fault.body, headers=fault.headers)

    def _complete(self, made: dict[str, Any], path: str) -> None:
        """What the API server and KubeRay add to a new object."""
        self.uids += 1
        metadata = made["metadata"]
        metadata |= {"uid": f"uid-{self.uids}", "creationTimestamp": CREATED}
        if path.endswith("rayjobs"):
            metadata["finalizers"] = ["ray.io/rayjob-finalizer"]

    def _stored(self, request: kmock.Request) -> Any:
        key = (request.resource, request.namespace, request.name)
        return self.objects[key] if key in self.objects and not self.objects[key].deleted else None

    def _selected(self, request: kmock.Request) -> list[Any]:
        """The objects of a list, by its selectors."""
        found = []
        for (resource, namespace, _), stored in self.objects.items():
            if stored.deleted or resource != request.resource or request.namespace not in (None, namespace):
                continue
            labels = stored.raw["metadata"].get("labels") or {}
            wanted = [part.partition("=") for part in request.params.get("labelSelector", "").split(",") if part]
            fits = all(key in labels and (not equals or labels[key] == text) for key, equals, text in wanted)
            fields = [part for part in request.params.get("fieldSelector", "").split(",") if part]
            found += [stored.raw] if fits and all(_has(stored.raw, part) for part in fields) else []
        return found

    def _advance(self, request: kmock.Request) -> None:
        """KubeRay's next step on the RayJob that was just looked at."""
        job, name = self._stored(request), request.name
        if job is None:
            return
        if job["metadata"].get("deletionTimestamp"):
            self.looks_until_gone -= 1
            if self.looks_until_gone <= 0:
                job.delete()
                self.remove_pods()
            return
        uid = job["metadata"]["uid"]
        if uid not in self.running:
            self.running[uid] = list(self.scripts.pop(0)) if self.scripts else []
        if self.running[uid]:
            self.running[uid].pop(0)(self, name)

    def remove_pods(self) -> None:
        for (resource, _, _), stored in self.objects.items():
            if resource.plural == "pods" and not stored.deleted:
                stored.delete()

    async def _log(self, request: kmock.Request) -> aiohttp.web.StreamResponse:
        if request.name not in self.logs:
            return _status(404, "NotFound", f'pods "{request.name}" not found', name=request.name, kind="pods")
        log = self.logs[request.name]
        response = aiohttp.web.StreamResponse()
        await response.prepare(request._raw_request)
        if log.instead:
            await response.write(log.instead.encode())
            await response.write_eof()
            return response
        stop = log.breaks.pop(0) if log.breaks else None
        for i, (stamp, text) in enumerate(_recent(log.lines, int(request.params.get("sinceSeconds", 0)))):
            line = f"{stamp} {text}\n".encode()
            if i == stop:
                await response.write(line[: len(line) // 2])
                await asyncio.sleep(0.02)
                request._raw_request.transport.abort()
                return response
            await response.write(line)
        while not log.over:
            await asyncio.sleep(0.01)
        await response.write_eof()
        return response


def _has(found: Any, requirement: str) -> bool:
    """Whether an object meets one part of a field selector: a=b or a!=b."""
    path, is_not, text = requirement.partition("!=") if "!=" in requirement else requirement.partition("=")
    for key in path.split("."):
        found = (found or {}).get(key, "")
    return (found != text) if is_not == "!=" else (found == text)


def _recent(lines: list[tuple[str, str]], seconds: int) -> list[tuple[str, str]]:
    """Those of the last seconds before the newest; the stamps here differ only in their minutes and seconds."""
    if not seconds or not lines:
        return lines
    now = _seconds(lines[-1][0])
    return [line for line in lines if _seconds(line[0]) >= now - seconds]


def _seconds(stamp: str) -> int:
    hours, minutes, seconds = stamp[11:19].split(":")
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds)


def status_body(code: int, reason: str, message: str, **details: Any) -> str:
    """A Status object as the API server sends it."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return json.dumps({**status, "message": message, "details": details})


def _status(code: int, reason: str, message: str, **details: Any) -> aiohttp.web.Response:
    text = status_body(code, reason, message, **details)
    return aiohttp.web.Response(status=code, text=text, content_type="application/json")


@dataclass
class Served:
    """A running server."""

    api: ApiServer
    url: str
    loop: asyncio.AbstractEventLoop

    def tell(self, change: Callable[[ApiServer], Any]) -> Any:
        """Change or read the server between two requests."""

        async def do() -> Any:
            return change(self.api)

        return asyncio.run_coroutine_threadsafe(do(), self.loop).result(10)

    def put(self, kind: str, name: str, body: dict[str, Any], namespace: str | None = "team") -> None:
        """Have an object there."""
        self.tell(lambda api: put(api, kind, name, body, namespace))

    def rayjob(self, name: str) -> dict[str, Any] | None:
        """A RayJob as it is stored, without the step that a look would take."""

        def read(api: ApiServer) -> dict[str, Any] | None:
            key = (kmock.resource(RAYJOBS), "team", name)
            return api.objects[key].raw if key in api.objects and not api.objects[key].deleted else None

        found: dict[str, Any] | None = self.tell(read)
        return found

    def requests(self, method: str, path_end: str, *, dry_run: bool = False) -> list[kmock.Request]:
        """The requests of this kind, or those that only try it."""

        def read(api: ApiServer) -> list[kmock.Request]:
            found = [r for r in api._requests if r.method.value == method and r.url.path.endswith(path_end)]
            return [r for r in found if ("dryRun" in r.params) is dry_run]

        found: list[kmock.Request] = self.tell(read)
        return found


def put(api: ApiServer, kind: str, name: str, body: dict[str, Any], namespace: str | None = "team") -> None:
    """Have an object there, from within the server."""
    metadata = {"name": name, "uid": f"uid-of-{name}", "creationTimestamp": CREATED, **body.get("metadata", {})}
    api.objects[kmock.resource(kind), namespace, name] = {**body, "metadata": metadata}


@contextmanager
def serving() -> Iterator[Served]:
    """A server of its own thread."""
    started: list[Served] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        api = ApiServer()
        api.prepare()
        async with api, Server(api) as server:
            started.append(Served(api=api, url=str(server.url).rstrip("/"), loop=loop))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


def state(deployment: str, job: str = "", attempt: int = 1, ray_cluster: Any = (), **more: Any) -> Step:
    """KubeRay writes a RayJob's status (fields of its CRD, v1.7.0)."""
    ray_cluster = dict(ray_cluster)

    def step(api: ApiServer, name: str) -> None:
        ray = {"readyWorkerReplicas": 0, "desiredWorkerReplicas": 2, **ray_cluster}
        fields = {"rayClusterName": f"{name}-{attempt:05}", "rayClusterStatus": ray, **more}
        found = {"jobDeploymentStatus": deployment, "jobStatus": job, **fields}
        api.objects[kmock.resource(RAYJOBS), "team", name].patch({"status": found})

    return step


def ends(deployment: str = "Complete", job: str = "SUCCEEDED", **more: Any) -> Step:
    """The job's last status."""
    return state(deployment, job, ray_cluster={"readyWorkerReplicas": 2}, **more)


def waiting(reason: str, message: str, **more: Any) -> dict[str, Any]:
    """The status of a pod whose container does not start."""
    why = {"waiting": {"reason": reason, "message": message}}
    container = {"name": "ray", "image": "registry/none:1", "state": why, **more}
    return {"phase": "Pending", "containerStatuses": [container]}


def ray_pod(group: str, body: dict[str, Any], attempt: int = 1) -> Step:
    """A pod of the job's Ray cluster, in a state."""

    def step(api: ApiServer, name: str) -> None:
        labels = {"ray.io/cluster": f"{name}-{attempt:05}", "ray.io/group": group}
        put(api, PODS, f"{name}-{group}", {"metadata": {"labels": labels}, "status": body})

    return step


def submitter(log: Log, number: int = 1, attempt: int = 1) -> Step:
    """KubeRay's submitter, whose log is the driver's."""

    def step(api: ApiServer, name: str) -> None:
        pod = f"{name}-submitter-{number}"
        labels = {"batch.kubernetes.io/job-name": name, "batch.kubernetes.io/controller-uid": f"attempt-{attempt}"}
        made = f"2025-01-01T00:{number:02}:00Z"
        body = {"metadata": {"labels": labels, "creationTimestamp": made}, "status": {"phase": "Running"}}
        put(api, PODS, pod, {**body, "spec": {"containers": [{"name": "ray-job-submitter"}]}})
        api.logs[pod] = log

    return step


def warning(
    about: Callable[[str], str], reason: str, message: str, at: str = "2025-01-01T00:05:00Z", type_: str = "Warning"
) -> Step:
    """An event about one of the job's objects."""

    def step(api: ApiServer, name: str) -> None:
        kind = "RayJob" if about(name) == name else "RayCluster" if about(name).endswith("-00001") else "Pod"
        body = {
            "involvedObject": {"kind": kind, "name": about(name)},
            "type": type_,
            "reason": reason,
            "message": message,
        }
        put(api, EVENTS, f"event-{len(api.objects)}", {**body, "lastTimestamp": at})

    return step


def both(*steps: Step) -> Step:
    """Several at once."""

    def step(api: ApiServer, name: str) -> None:
        for each in steps:
            each(api, name)

    return step


def stamped(*texts: str, first: int = 0) -> list[tuple[str, str]]:
    """Lines a second apart."""
    return [(f"2025-01-01T00:{(first + i) // 60:02}:{(first + i) % 60:02}.5Z", text) for i, text in enumerate(texts)]


def running(log, number=1, attempt=1):
    return [state("Running", "RUNNING", attempt, READY), submitter(log, number, attempt)]
