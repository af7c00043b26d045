"""What a Kubernetes API server's refusals mean, each as one line with a remedy."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from histoseg.errors import ClusterError

MAX_QUOTED_CHARS = 300  # Admission webhooks answer with pages of text.
BUSY = (429, 500, 502, 503, 504)
# OpenSSL's words for a certificate or key that either side does not take; a connection that breaks has others
BAD_CERTIFICATE = re.compile(r"certificate|unknown ca|PEM|X509|private key", re.IGNORECASE)


class RefusedError(ClusterError):
    """The API server answered, and the answer is no."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class UnreachableError(ClusterError):
    """The API server did not answer, or only with errors of its own, however often it was asked."""

    def __init__(self, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked of the API server.

    Attributes:
        verb: As RBAC names it: get, list, create, delete.
        resource: The plural, with its subresource: rayjobs, pods/log.
        group: "" for Kubernetes' core.
        name: Of the object; empty when many are asked for.
        namespace: Empty if the resource has none.
        context: Of the kubeconfig.
        server: The API server's URL.
        role: The Role that would allow it.
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
    plugin: str = ""

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


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer that is not a success: its HTTP status, 0 if none came, and what its Status object said, if any."""

    status: int
    message: str
    reason: str = ""
    details: Mapping[str, Any]

    @classmethod
    def read(cls, status: int, body: str, reason: str = "") -> "Answer":
        """From a body that is a Status object, or text of something before the API server."""
        reason = one_line(reason)
        try:
            found = json.loads(body)
        except ValueError:
            found = {}
        if not isinstance(found, Mapping) or found.get("kind") != "Status":
            return cls(status=status, message=one_line(body) or reason, details={})
        return cls(
            status=status,
            message=one_line(str(found.get("message") or reason)),
            reason=str(found.get("reason") or ""),
            details=found.get("details") or {},
        )

    @property
    def may_pass(self) -> bool:
        """Whether the same question may be answered in a while."""
        return self.status in BUSY or (self.status == 0 and not BAD_CERTIFICATE.search(self.message))

    @property
    def kind_is_unknown(self) -> bool:
        """Whether the whole kind is missing: an absent object has a Status with its name, an absent kind has none."""
        return self.status == 404 and not self.details

    @property
    def already_exists(self) -> bool:
        """Whether an object of that name is there."""
        return self.status == 409 and self.reason == "AlreadyExists"


def refusal(request: Request, answer: Answer) -> RefusedError:
    """The error that says what was tried, what came back and what to do."""
    explain = {0: _handshake, 401: _unknown_user, 403: _forbidden, 404: _missing, 409: _conflict}
    explain |= {400: _undecodable, 413: _invalid, 422: _invalid}
    return RefusedError(explain.get(answer.status, _other)(request, answer), answer.status)


def remedy(request: Request, answer: Answer) -> str:
    """What to do about an answer that did not come for too long, or was only that the server cannot."""
    if request.resource == "pods/log":  # The API server has it from the pod's node
        return "the pod's node may be lost, or refuse the API server: ask who runs the cluster"
    if "failed calling webhook" in answer.message:
        return "ask who runs the cluster: the webhook that it names is down"
    if answer.reason:  # It is the API server itself that says so
        return "ask who runs the cluster, or repeat later"
    return (
        f"see that context {request.context!r} names the right cluster and that this machine's network (VPN, proxy) "
        f"reaches it, then repeat"
    )


def unsendable(request: Request, kind: str) -> str:
    """What is said of a request that cannot even be written, for a reason of this kind."""
    return (
        f"cannot {request.what}: the request cannot be written ({kind}); see that the token of context "
        f"{request.context!r} in the kubeconfig is one line of plain letters, or log in again"
    )


def _handshake(request: Request, answer: Answer) -> str:
    return (
        f"{request.server}: no safe connection: {answer.message}; correct certificate-authority and the client's "
        f"certificate of context {request.context!r} in the kubeconfig"
    )


def _unknown_user(request: Request, answer: Answer) -> str:
    by = f" with {request.plugin!r}" if request.plugin else ""
    return (
        f"{request.server} does not accept the credentials of context {request.context!r} ({answer.status}: "
        f"{answer.message}); log in again{by}, then try `kubectl --context {request.context} get pods`"
    )


def _forbidden(request: Request, answer: Answer) -> str:
    said = answer.message
    if 'User "system:anonymous"' in said:  # Its credentials, if any, counted for nothing
        return _unknown_user(request, answer)
    if "exceeded quota" in said:
        return f"cannot {request.what}: {said}; wait until other jobs have ended, or ask for a larger quota"
    if "being terminated" in said:
        return f"cannot {request.what}: the namespace is being deleted; name another one with NAMESPACE="
    if "cannot" not in said:  # RBAC's sentence is `User "x" cannot create resource "y" …`; the rest is admission's
        return f"cannot {request.what}: the cluster's admission refuses it (403: {said}); ask who runs the cluster"
    right = f"{request.verb} on {request.kind}"
    if not request.namespace:
        return f"may not {request.what} (403); the right needed is {right}, for the whole cluster: ask who runs it"
    return (
        f"may not {request.what} with context {request.context!r} (403); the right needed is {right}, which the Role "
        f"{request.role} grants: ask who installed the chart to bind you to it"
    )


def _missing(request: Request, answer: Answer) -> str:
    if answer.kind_is_unknown:
        remedy = {
            "ray.io": "install the KubeRay operator, version 1.7 or later, with its CRDs",
            "kueue.x-k8s.io": "install Kueue, or leave kueue.queue empty in the chart's values",
            "monitoring.coreos.com": "install the Prometheus operator, or switch monitoring off in the chart's values",
        }
        do = remedy.get(request.group, "the API server is too old, or the URL is not that of one")
        return f"{request.server} knows no {request.kind}/{request.version} (404); {do}"
    if answer.details.get("kind") == "namespaces":
        return f"no namespace {request.namespace!r} in context {request.context!r}; name another one with NAMESPACE="
    return f"cannot {request.what}: {answer.message} (404); it is not there, or no longer"


def _conflict(request: Request, answer: Answer) -> str:
    return f"cannot {request.what}: {answer.message} (409); somebody else changed it just now: repeat the command"


def _undecodable(request: Request, answer: Answer) -> str:
    """A field that the server's CRD does not have, which strict validation refuses; or any other bad request."""
    if "unknown field" not in answer.message:
        return _other(request, answer)
    return (
        f"cannot {request.what}: {answer.message} (400); the cluster's CRDs are older than the chart: upgrade KubeRay "
        f"and its CRDs to version 1.7 or later (Helm does not upgrade CRDs), and look at the manifest with DRY_RUN=1"
    )


def _invalid(request: Request, answer: Answer) -> str:
    causes = answer.details.get("causes") or [{}]
    field, said = causes[0].get("field", ""), causes[0].get("message", "")
    first = f"{field}: {one_line(said)}" if field and said else answer.message
    return (
        f"cannot {request.what}: {first} ({answer.status}); the chart's template and the cluster's CRD disagree: "
        f"upgrade the older of chart and KubeRay, and look at the manifest with DRY_RUN=1"
    )


def _other(request: Request, answer: Answer) -> str:
    return f"cannot {request.what}: {answer.message} ({answer.status}); ask who runs the cluster what it means"


def one_line(text: str) -> str:
    """The same words on one line, cut where it is too long to read."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_QUOTED_CHARS else f"{line[:MAX_QUOTED_CHARS]}…"
