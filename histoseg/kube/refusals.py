"""What a Kubernetes API server's refusals mean, each as one line with a remedy."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from histoseg.errors import ClusterError
from histoseg.kube.objects import KubeModel, read

MAX_QUOTED_CHARS = 300  # Admission webhooks answer with pages of text.
BUSY = (429, 500, 502, 503, 504)
ADMIN = "ask your cluster administrator"
# OpenSSL's words for a certificate or key that either side does not accept; a connection that breaks has others
BAD_CERTIFICATE = re.compile(r"certificate|unknown ca|PEM|X509|private key", re.IGNORECASE)
UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')  # Of strict validation
MISSING_RIGHT = re.compile(r'User "[^"]*" cannot ')  # How RBAC begins; all other refusals with 403 are admission's
# What installs a kind that the server does not have, by its group
INSTALL = {
    "ray.io": "install the KubeRay operator, version 1.7 or later, with its CRDs",
    "kueue.x-k8s.io": "install or upgrade Kueue, or leave kueue.queue empty in the chart's values",
    "monitoring.coreos.com": "install the Prometheus operator, or set monitoring.enabled=false in the chart's values",
}
# Fields of ours that CRDs of KubeRay lack, and since which version they have them (release notes and API references)
SINCE = {
    "backoffLimit": "1.2",
    "submitterConfig": "1.2",
    "version": "1.4",  # Of autoscalerOptions
    "authOptions": "1.5.1",
    "secretName": "1.6",  # Of authOptions
    "preRunningDeadlineSeconds": "1.6",
    "upgradeStrategy": "1.6",
}
# Why admission refuses an object, by a pattern of its message, and what to do
ADMISSION = {
    r"exceeded quota": "wait until other jobs have ended, or ask for a larger quota",
    r"violates PodSecurity": "`helm upgrade` the release with an unchanged chart, whose pods pass Pod Security",
    r"serviceaccount \S+ not found": "`helm upgrade` the release, which creates this account",
    r"no PriorityClass with name": "create this PriorityClass, or correct priorityClass and workerGroups in the values",
    r"being terminated": "the namespace is being deleted: name another one with NAMESPACE= (--namespace)",
}


class RefusedError(ClusterError):
    """The API server answered with a refusal.

    Attributes:
        request, answer: What was refused, and how; None if no answer of an API server was read.
    """

    def __init__(
        self, text: str, status: int, request: "ApiRequest | None" = None, answer: "ErrorAnswer | None" = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.request = request
        self.answer = answer

    @property
    def was_allowed(self) -> bool:
        """Whether the user lacks the right now and had it before.

        An API server that has just started answers so until it has read the roles.
        """
        return bool(self.request and self.answer and self.request.was_allowed and self.answer.lacks_right)

    @property
    def brief(self) -> str:
        """What was refused and why, without what to do."""
        if self.request is None or self.answer is None:
            return str(self)
        return f"cannot {self.request.what}: {self.answer.said} ({self.status})"


class UnreachableError(ClusterError):
    """The API server did not answer, or only with errors of its own, in several attempts."""

    def __init__(self, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True)
class ApiRequest:
    """A request to the API server.

    Attributes:
        verb: As RBAC names it: get, list, create, delete.
        resource: The plural, with its subresource: rayjobs, pods/log.
        group: "" for Kubernetes' core.
        role: The Role that would allow it.
        was_allowed: Whether the user could do the same before.
        plugin: The command by which the kubeconfig logs in; empty if it has none.
    """

    verb: str
    resource: str
    group: str = ""
    version: str = "v1"
    name: str = ""
    namespace: str = ""
    context: str
    server: str
    role: str
    was_allowed: bool = False
    plugin: str = ""

    @property
    def right(self) -> str:
        """The right that it needs, such as `create on rayjobs.ray.io`."""
        return f"{self.verb} on {self.kind}"

    @property
    def what(self) -> str:
        """Such as `create rayjobs.ray.io 'table1-0a1b2c3d' in namespace 'team'`."""
        name = f" {self.name!r}" if self.name else ""
        place = f" in namespace {self.namespace!r}" if self.namespace else ""
        return f"{self.verb} {self.kind}{name}{place}"

    @property
    def kind(self) -> str:
        """Such as rayjobs.ray.io."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


class Cause(KubeModel):
    """A field that the server refuses, and why."""

    field: str = ""
    message: str = ""


class Details(KubeModel):
    """The object that an error is about."""

    name: str = ""
    kind: str = ""
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ErrorAnswer:
    """An error answer: its HTTP status, 0 if none came, and the content of its Status object, if it has one."""

    status: int
    message: str
    reason: str = ""
    details: Details = field(default_factory=Details)

    @classmethod
    def read(cls, status: int, body: str, reason: str = "") -> "ErrorAnswer":
        """From a body that is a Status object, or a text from a proxy before the API server."""
        reason = one_line(reason)
        try:
            found = json.loads(body)
        except ValueError:
            found = {}
        if not isinstance(found, Mapping) or found.get("kind") != "Status":
            return cls(status=status, message=one_line(body) or reason)
        return cls(
            status=status,
            message=one_line(str(found.get("message") or reason)),
            reason=str(found.get("reason") or ""),
            details=_read_details(found.get("details")),
        )

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed in a while."""
        return self.status in BUSY or (self.status == 0 and not BAD_CERTIFICATE.search(self.message))

    @property
    def kind_is_unknown(self) -> bool:
        """Whether the whole kind is missing: an absent object has a Status with its name, an absent kind has none."""
        return self.status == 404 and self.details == Details()

    @property
    def already_exists(self) -> bool:
        """Whether an object of that name exists."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def said(self) -> str:
        """The first field that the server refuses and why, or else its message."""
        cause = self.details.causes[0] if self.details.causes else Cause()
        return f"{cause.field}: {one_line(cause.message)}" if cause.field and cause.message else self.message

    @property
    def fields(self) -> list[str]:
        """The fields that the server refuses, such as spec.containers[0].name; empty if it names none."""
        return [*(cause.field for cause in self.details.causes if cause.field), *UNKNOWN_FIELD.findall(self.message)]

    @property
    def lacks_right(self) -> bool:
        """Whether the user lacks the right; admission refuses with the same status, but in other words."""
        return self.status == 403 and MISSING_RIGHT.search(self.message) is not None


def _read_details(found: object) -> Details:
    try:
        return read(Details, found or {}, "details")
    except ClusterError:  # They only improve the message
        return Details()


def refusal(request: ApiRequest, answer: ErrorAnswer) -> RefusedError:
    """The error that says what was tried, what came back and what to do."""
    explain = {0: _handshake, 401: _unknown_user, 403: _forbidden, 404: _missing, 409: _conflict}
    explain |= {400: _undecodable, 413: _invalid, 422: _invalid}
    return RefusedError(explain.get(answer.status, _other)(request, answer), answer.status, request, answer)


def remedy(request: ApiRequest, answer: ErrorAnswer) -> str:
    """What to do if no answer came for too long, or only errors of the server itself."""
    if request.resource == "pods/log":  # The API server reads it from the pod's node
        return f"the pod's node may be lost, or refuse the API server: {ADMIN}"
    if "failed calling webhook" in answer.message:
        return f"{ADMIN}: the webhook named here is down"
    if answer.reason:  # Only the API server itself gives one
        return f"{ADMIN}, or repeat later"
    return (
        f"check that context {request.context!r} names the right cluster and that this machine's network (VPN, proxy) "
        f"reaches it, then repeat"
    )


def admission_remedy(said: str) -> str | None:
    """What to do about an object that admission refuses with these words; None if they are not known."""
    return next((do for pattern, do in ADMISSION.items() if re.search(pattern, said)), None)


def unsendable(request: ApiRequest, kind: str) -> str:
    """The message for a request that cannot be written, because of an error of this kind."""
    return (
        f"cannot {request.what}: the request cannot be written ({kind}); check that the token of context "
        f"{request.context!r} in the kubeconfig is one line of ASCII letters, or log in again"
    )


def _handshake(request: ApiRequest, answer: ErrorAnswer) -> str:
    return (
        f"{request.server}: no secure connection: {answer.message}; correct certificate-authority and the client "
        f"certificate of context {request.context!r} in the kubeconfig"
    )


def _unknown_user(request: ApiRequest, answer: ErrorAnswer) -> str:
    by = f" with {request.plugin!r}" if request.plugin else ""
    return (
        f"{request.server} does not accept the credentials of context {request.context!r} ({answer.status}: "
        f"{answer.message}); log in again{by}, then try `kubectl --context {request.context} get pods`"
    )


def _forbidden(request: ApiRequest, answer: ErrorAnswer) -> str:
    if 'User "system:anonymous"' in answer.message:  # Its credentials, if any, counted for nothing
        return _unknown_user(request, answer)
    if not answer.lacks_right:
        do = admission_remedy(answer.message) or f"correct the chart's values, or {ADMIN}"
        return f"cannot {request.what}: the cluster refuses it (403: {answer.message}); {do}"
    if not request.namespace:
        return f"may not {request.what} (403); this needs the right {request.right} for the whole cluster: {ADMIN}"
    return (
        f"may not {request.what} with context {request.context!r} (403); this needs the right {request.right}, which "
        f"the Role {request.role} grants: ask the person who installed the chart to add you to access.researchers"
    )


def _missing(request: ApiRequest, answer: ErrorAnswer) -> str:
    if answer.kind_is_unknown:
        do = INSTALL.get(request.group, "the API server is too old, or the URL belongs to another service")
        return f"{request.server} has no {request.kind}/{request.version} (404); {do}"
    if answer.details.kind == "namespaces":
        where = f"no namespace {request.namespace!r} in context {request.context!r}"
        return f"{where}; name another one with NAMESPACE= (--namespace)"
    return f"cannot {request.what}: {answer.message} (404); it does not exist, or was deleted"


def _conflict(request: ApiRequest, answer: ErrorAnswer) -> str:
    return f"cannot {request.what}: {answer.message} (409); it was changed at the same time: repeat the command"


def _undecodable(request: ApiRequest, answer: ErrorAnswer) -> str:
    """A field that the server's CRD does not have, which strict validation refuses; or any other bad request."""
    unknown = [field.rpartition(".")[2] for field in UNKNOWN_FIELD.findall(answer.message)]
    if not unknown:
        return _other(request, answer)
    since = ", ".join(f"{field} since {SINCE[field]}" for field in unknown if field in SINCE)
    known = f" (KubeRay has {since})" if since else ""
    return (
        f"cannot {request.what}: {answer.message} (400); the cluster's CRDs are older than the chart{known}: upgrade "
        "KubeRay and its CRDs to version 1.7 or later (Helm does not upgrade CRDs); `make submit` with DRY_RUN=1 "
        "prints the manifest"
    )


def _invalid(request: ApiRequest, answer: ErrorAnswer) -> str:
    upgrade = "upgrade the older one of chart and KubeRay" if request.group else "`helm upgrade` the release"
    return (
        f"cannot {request.what}: {answer.said} ({answer.status}); correct the chart's value behind this field, "
        f"or {upgrade}; `make submit` with DRY_RUN=1 prints the manifest"
    )


def _other(request: ApiRequest, answer: ErrorAnswer) -> str:
    return f"cannot {request.what}: {answer.message} ({answer.status}); {ADMIN} what it means"


def one_line(text: str) -> str:
    """The same words on one line, cut where it is too long to read."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_QUOTED_CHARS else f"{line[:MAX_QUOTED_CHARS]}…"
