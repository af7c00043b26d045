"""What we ask of every pod: nothing that Pod Security's profile `restricted` refuses.

Each rule yields what breaks it, and names the controls of the profile, as its page has them:
https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from histoseg.kube.rules.manifest import Cluster, Document, Finding, Pod, at

FORBIDDEN = "Pod Security forbids it; leave it out"
VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
PROFILES = ("RuntimeDefault", "Localhost")
# What a securityContext may say, the pod's or a container's; that it says nothing is always allowed here.
CONTEXT: Mapping[str, tuple[Any, ...]] = {
    "privileged": (False,),  # Privileged Containers
    "procMount": ("Default",),  # /proc Mount Type
    "runAsNonRoot": (True,),  # Running as Non-root
    "seccompProfile.type": PROFILES,  # Seccomp
    "appArmorProfile.type": PROFILES,  # AppArmor
    "seLinuxOptions.type": ("container_t", "container_init_t", "container_kvm_t", "container_engine_t", ""),  # SELinux
    "seLinuxOptions.user": ("",),
    "seLinuxOptions.role": ("",),
    "windowsOptions.hostProcess": (False,),  # HostProcess
}
NEEDED = {"runAsNonRoot": "true", "seccompProfile.type": PROFILES[0]}
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
# As Kubernetes 1.30 has them, the oldest that the chart takes; it would refuse those that were added later.
SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
)
HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop")


def keeps_off_the_host(pod: Pod) -> Iterator[Finding]:
    """What is the host's (Host Namespaces, Host Ports)."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(name):
            yield Finding(path=f"{pod.path}.{name}", found=True, remedy=FORBIDDEN)
    for path, container in pod.containers():
        for i, port in enumerate(container.get("ports") or []):
            if found := port.get("hostPort"):
                yield Finding(path=f"{path}.ports[{i}].hostPort", found=found, remedy=FORBIDDEN)


def mounts_what_it_may(pod: Pod) -> Iterator[Finding]:
    """Other volumes than those (HostPath Volumes, Volume Types)."""
    for volume in pod.spec.get("volumes") or []:
        if kinds := [kind for kind in volume if kind not in ("name", *VOLUMES)]:
            remedy = f"Pod Security allows {', '.join(VOLUMES)}"
            yield Finding(path=f"{pod.path}.volumes[{volume.get('name')}]", found=kinds[0], remedy=remedy)


def asks_nobody_else(pod: Pod) -> Iterator[Finding]:
    """A kubelet that is sent elsewhere (Host Probes / Lifecycle Hooks, since Kubernetes 1.34)."""
    for path, container in pod.containers():
        for name in (f"{handler}.{kind}.host" for handler in HANDLERS for kind in ("httpGet", "tcpSocket")):
            if found := at(container, name):
                yield Finding(path=f"{path}.{name}", found=found, remedy=FORBIDDEN)


def says_what_it_may(pod: Pod) -> Iterator[Finding]:
    """What a security context must not say, though another one overrides it (see CONTEXT; Non-root user)."""
    yield from _sayings(pod.path, pod.spec)
    for path, container in pod.containers():
        yield from _sayings(path, container)


def is_confined(pod: Pod) -> Iterator[Finding]:
    """Containers without what they or their pod must say (Running as Non-root, Seccomp)."""
    for path, container in pod.containers():
        yield from _needs(path, container, pod)


def has_no_privileges(pod: Pod) -> Iterator[Finding]:
    """Containers that may more than they must (Privilege Escalation, Capabilities)."""
    for path, container in pod.containers():
        yield from _privileges(path, container)


def keeps_app_armor(pod: Pod) -> Iterator[Finding]:
    """Another profile, said as before Kubernetes 1.30 (AppArmor)."""
    for name, found in pod.annotations.items():
        allowed = found in ("", "runtime/default") or str(found).startswith("localhost/")
        if name.startswith(APP_ARMOR) and not allowed:
            path = f"{pod.path.removesuffix('spec')}metadata.annotations[{name}]"
            yield Finding(path=path, found=found, remedy="Pod Security allows runtime/default, localhost/…")


def sets_safe_sysctls(pod: Pod) -> Iterator[Finding]:
    """Settings of the kernel that reach beyond the pod (Sysctls)."""
    for i, entry in enumerate(at(pod.spec, "securityContext.sysctls") or []):
        if (found := entry.get("name")) not in SYSCTLS:
            path = f"{pod.path}.securityContext.sysctls[{i}].name"
            yield Finding(path=path, found=found, remedy=f"Pod Security allows {', '.join(SYSCTLS)}")


def autoscaler_is_restricted(cluster: Cluster) -> Iterator[Finding]:
    """The same for the autoscaler in the head's pod, which takes nothing from the Ray container's security context."""
    if cluster.autoscaling:
        path, options = f"{cluster.path}.autoscalerOptions", cluster.spec.get("autoscalerOptions") or {}
        yield from _sayings(path, options)
        yield from _needs(path, options, cluster.head.pod)
        yield from _privileges(path, options)


def _sayings(path: str, holder: Document) -> Iterator[Finding]:
    context: Document = holder.get("securityContext") or {}
    for name, allowed in CONTEXT.items():
        if (found := at(context, name)) is not None and found not in allowed:
            yield Finding(path=f"{path}.securityContext.{name}", found=found, remedy=_remedy(allowed))
    if context.get("runAsUser") == 0:
        yield Finding(path=f"{path}.securityContext.runAsUser", found=0, remedy="Pod Security forbids root")


def _remedy(allowed: tuple[Any, ...]) -> str:
    names = [str(value).lower() if isinstance(value, bool) else value for value in allowed if value]
    return f"Pod Security allows {', '.join(names)}" if names else FORBIDDEN


def _needs(path: str, container: Document, pod: Pod) -> Iterator[Finding]:
    for name, needed in NEEDED.items():
        field = f"securityContext.{name}"
        if at(container, field) is None and at(pod.spec, field) is None:
            remedy = f"Pod Security needs {needed}, here or in the pod"
            yield Finding(path=f"{path}.{field}", found=None, remedy=remedy)


def _privileges(path: str, container: Document) -> Iterator[Finding]:
    context: Document = container.get("securityContext") or {}
    path = f"{path}.securityContext"
    if (found := context.get("allowPrivilegeEscalation")) is not False:
        yield Finding(path=f"{path}.allowPrivilegeEscalation", found=found, remedy="Pod Security needs false")
    if "ALL" not in (dropped := at(context, "capabilities.drop") or []):
        yield Finding(path=f"{path}.capabilities.drop", found=dropped or None, remedy="Pod Security needs [ALL]")
    if added := set(at(context, "capabilities.add") or []) - {"NET_BIND_SERVICE"}:
        yield Finding(path=f"{path}.capabilities.add", found=sorted(added), remedy="Pod Security forbids it")


Rule = Callable[[Pod], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    keeps_off_the_host,
    mounts_what_it_may,
    asks_nobody_else,
    says_what_it_may,
    is_confined,
    has_no_privileges,
    keeps_app_armor,
    sets_safe_sysctls,
)
CLUSTER_RULES = (autoscaler_is_restricted,)
