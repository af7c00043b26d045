"""What we ask of every pod: nothing that Pod Security's profile `restricted` refuses, and no secret in plain sight.

The profile: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from histoseg.kube.rules.manifest import Cluster, Document, Finding, Pod, at

SECRET = re.compile(r"SECRET|TOKEN(?!IZER)|PASSWORD|PASSWD|CREDENTIAL|ACCESS_KEY|API_KEY|PRIVATE_KEY", re.IGNORECASE)
NOT_SECRET = re.compile(r"_(PATH|FILE|DIR|NAME|MODE|URL)$", re.IGNORECASE)
VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")


def keeps_off_the_host(pod: Pod) -> Iterator[Finding]:
    """What is the host's (Host Namespaces, Host Ports, Volume Types)."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(name):
            yield Finding(path=f"{pod.path}.{name}", found=True, remedy="Pod Security forbids it; leave it out")
    for path, container in pod.containers():
        for i, port in enumerate(container.get("ports") or []):
            if found := port.get("hostPort"):
                remedy = "Pod Security forbids it; leave it out"
                yield Finding(path=f"{path}.ports[{i}].hostPort", found=found, remedy=remedy)
    for volume in pod.spec.get("volumes") or []:
        if kinds := [kind for kind in volume if kind not in ("name", *VOLUMES)]:
            remedy = f"Pod Security allows {', '.join(VOLUMES)}"
            yield Finding(path=f"{pod.path}.volumes[{volume.get('name')}]", found=kinds[0], remedy=remedy)


def is_not_root(pod: Pod) -> Iterator[Finding]:
    """Containers that may be root (Running as Non-root, Running as Non-root user, Seccomp)."""
    for path, container in pod.containers():
        for name, allowed in (("runAsNonRoot", (True,)), ("seccompProfile.type", ("RuntimeDefault", "Localhost"))):
            found = _first(at(container, f"securityContext.{name}"), at(pod.spec, f"securityContext.{name}"))
            if found not in allowed:
                remedy = f"Pod Security needs {str(allowed[0]).replace('True', 'true')}, here or in the pod"
                yield Finding(path=f"{path}.securityContext.{name}", found=found, remedy=remedy)
        user = _first(at(container, "securityContext.runAsUser"), at(pod.spec, "securityContext.runAsUser"))
        if user == 0:
            yield Finding(path=f"{path}.securityContext.runAsUser", found=0, remedy="Pod Security forbids root")


def has_no_privileges(pod: Pod) -> Iterator[Finding]:
    """Containers that may more than they must (Privileged Containers, Privilege Escalation, Capabilities)."""
    for path, container in pod.containers():
        yield from _privileges(path, container.get("securityContext") or {})


def hides_secrets(pod: Pod) -> Iterator[Finding]:
    """Secrets that whoever may read a pod or a RayJob would read."""
    for path, container in pod.containers():
        yield from _literals(path, container.get("env") or [])


def autoscaler_is_restricted(cluster: Cluster) -> Iterator[Finding]:
    """The same for the autoscaler, whose container takes nothing from the Ray container's security context."""
    if cluster.autoscaling:
        options = cluster.spec.get("autoscalerOptions") or {}
        path = f"{cluster.path}.autoscalerOptions"
        yield from _privileges(path, options.get("securityContext") or {})
        yield from _literals(path, options.get("env") or [])


def _privileges(path: str, context: Document) -> Iterator[Finding]:
    path = f"{path}.securityContext"
    if context.get("privileged"):
        yield Finding(path=f"{path}.privileged", found=True, remedy="Pod Security forbids it; leave it out")
    if context.get("allowPrivilegeEscalation") is not False:
        found = context.get("allowPrivilegeEscalation")
        yield Finding(path=f"{path}.allowPrivilegeEscalation", found=found, remedy="Pod Security needs false")
    if "ALL" not in (at(context, "capabilities.drop") or []):
        found = at(context, "capabilities.drop")
        yield Finding(path=f"{path}.capabilities.drop", found=found, remedy="Pod Security needs [ALL]")
    if added := set(at(context, "capabilities.add") or []) - {"NET_BIND_SERVICE"}:
        yield Finding(path=f"{path}.capabilities.add", found=sorted(added), remedy="Pod Security forbids it")


def _literals(path: str, env: list[Any]) -> Iterator[Finding]:
    for entry in env:
        name = entry.get("name", "")
        if entry.get("value") and SECRET.search(name) and not NOT_SECRET.search(name):
            remedy = "take it from a Secret by valueFrom.secretKeyRef"
            yield Finding(path=f"{path}.env[{name}]", found="a literal", remedy=remedy)


def _first(own: Any, general: Any) -> Any:
    return general if own is None else own


Rule = Callable[[Pod], Iterator[Finding]]
RULES: tuple[Rule, ...] = (keeps_off_the_host, is_not_root, has_no_privileges, hides_secrets)
