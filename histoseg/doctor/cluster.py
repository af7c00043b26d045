"""Whether a cluster has what a release of the chart needs, and lets its user do what submitting takes."""

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import requires
from itertools import groupby

from histoseg.doctor.checks import Check
from histoseg.doctor.fit import gpu_check, quota_checks
from histoseg.errors import ClusterError
from histoseg.kube.api import Cluster
from histoseg.kube.rules import faults
from histoseg.kube.rules.manifest import at
from histoseg.kube.settings import Crd, Settings, fullname
from histoseg.machine import versions

PATIENCE_S = 5.0  # Whoever waits for a check would rather know that a server is away.
RAY_CRDS = (Crd(name="rayclusters.ray.io", version="v1"), Crd(name="rayjobs.ray.io", version="v1"))
# What installs a kind that is missing, by its group.
INSTALLERS = {
    "ray.io": "install the KubeRay operator, version 1.7 or later, with its CRDs",
    "kueue.x-k8s.io": "install or upgrade Kueue, or leave kueue.queue empty in the chart's values",
    "monitoring.coreos.com": "install the Prometheus operator, or set monitoring.enabled=false in the chart's values",
}
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")  # Where boto3 finds credentials


@dataclass(frozen=True, kw_only=True)
class Right:
    """What somebody may need to do: a verb on a resource (with its subresource), of a group or Kubernetes' core."""

    verb: str
    resource: str
    group: str = ""
    name: str = ""

    @property
    def kind(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


SUBMITTING = (
    *(Right(verb=verb, resource="rayjobs", group="ray.io") for verb in ("create", "get", "list", "delete")),
    Right(verb="list", resource="pods"),
    Right(verb="get", resource="pods/log"),
    Right(verb="list", resource="events"),
)


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A release's store: its URL if it can be tried from here, else ""; and the line that says so."""

    url: str
    check: Check


def cluster_checks(context: str, namespace: str, release: str) -> Generator[Check, None, Settings | None]:
    """Every check of a release, as it is made; afterwards its settings, None if they could not be read.

    Args:
        context: Of the kubeconfig.
        namespace: Empty means the context's.
        release: The chart's.
    """
    try:
        cluster = replace(Cluster.connect(context, namespace), patience_s=PATIENCE_S)
    except ClusterError as error:
        yield Check(what="cluster", ok=False, found=str(error))
        return None
    try:
        return (yield from release_checks(cluster, release))
    finally:
        cluster.close()


def release_checks(cluster: Cluster, release: str) -> Generator[Check, None, Settings | None]:
    """The same for a cluster that is at hand."""
    try:
        found = f"{cluster.server}, Kubernetes {cluster.version()}, namespace {cluster.namespace}"
        yield Check(what="API server", ok=True, found=found)
    except ClusterError as error:
        yield Check(what="API server", ok=False, found=str(error))
        return None
    settings = None
    try:
        settings = Settings.read(cluster, release)
        found = f"chart {settings.chart_version}, jobs run {settings.image}"
        yield Check(what=f"release {release}", ok=True, found=found)
    except ClusterError as error:
        yield Check(what=f"release {release}", ok=False, found=str(error))
    for what, checks in _parts(cluster, release, settings).items():
        try:
            yield from checks()
        except ClusterError as error:
            yield Check(what=what, ok=False, found=str(error))
    return settings


def reachable_store(settings: Settings, environ: Mapping[str, str]) -> Bucket:
    """Whether this machine can try a release's store: it needs keys of its own, and to know where it is."""
    store, what = settings.store, "bucket"
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    if not any(environ.get(name) for name in KEYS):
        found = f"{store.url} not tried: no AWS_ACCESS_KEY_ID or AWS_PROFILE is set here; `helm test` tries it in a pod"
    elif store.endpoint and not endpoint:
        found = f"{store.url} not tried: set AWS_ENDPOINT_URL to where this machine reaches {store.endpoint}"
    else:
        found = f"{store.url} at {endpoint or 'AWS'}"
        return Bucket(url=store.url, check=Check(what=what, ok=True, found=found))
    return Bucket(url="", check=Check(what=what, ok=True, found=found))


def _parts(cluster: Cluster, release: str, settings: Settings | None) -> dict[str, Callable[[], Iterator[Check]]]:
    """What is checked one after the other; a failure in one does not end the others."""
    parts: dict[str, Callable[[], Iterator[Check]]] = {
        "CRDs": lambda: _crds(cluster, settings.crds if settings and settings.crds else RAY_CRDS),
        "rights": lambda: _rights(cluster, release),
    }
    if settings is None:
        return parts
    return parts | {
        "versions": lambda: _versions(settings),
        "template": lambda: _template(settings),
        "secret": lambda: _secret(cluster, settings),
        "GPUs": lambda: _gpus(cluster, settings),
        "quotas": lambda: _quotas(cluster, settings),
        "queue": lambda: _queue(cluster, settings),
    }


def _crds(cluster: Cluster, needed: tuple[Crd, ...]) -> Iterator[Check]:
    """By discovery, which everybody may ask, rather than by reading CRDs, which researchers may not."""
    for crd in needed:
        plural, _, group = crd.name.partition(".")
        served = plural in cluster.resources(group, crd.version)
        found = f"{crd.version} is {'served' if served else 'not served'}"
        advice = INSTALLERS.get(group, f"install what brings {crd.name}")
        yield Check(what=crd.name, ok=served, found=found, advice=advice)


def _rights(cluster: Cluster, release: str) -> Iterator[Check]:
    name = fullname(release)
    needed = (*SUBMITTING, Right(verb="get", resource="configmaps", name=f"{name}-settings"))
    for kind, group in groupby(needed, lambda right: right.kind):
        rights = list(group)
        lacking = [right.verb for right in rights if not _may(cluster, right)]
        yield Check(
            what=f"may use {kind}",
            ok=not lacking,
            found=f"may not {', '.join(lacking)}" if lacking else ", ".join(right.verb for right in rights),
            advice=f"ask who installed the chart to bind you to the Role {name}-researcher (access.researchers)",
        )


def _may(cluster: Cluster, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    return cluster.may(right.verb, right.group, resource, subresource=subresource, name=right.name)


def _versions(settings: Settings) -> Iterator[Check]:
    here = versions()
    yield Check(
        what="histoseg",
        ok=settings.app_version == here["histoseg"],
        found=f"{settings.app_version} in the release, {here['histoseg']} here",
        advice="`helm upgrade` the release with this version's chart and images, or install its version here",
    )
    ray = here.get("ray") or _required_ray()
    yield Check(
        what="Ray",
        ok=settings.ray_version == ray,
        found=f"{settings.ray_version} in the release, {ray} here",
        advice="all parts of Ray must be of one version: `helm upgrade` the release, or install its version here",
    )


def _required_ray() -> str:
    """The version of Ray that histoseg asks for, where it is not installed."""
    found = [re.match(r"ray\b[^;=]*==([\w.]+)", line) for line in requires("histoseg") or []]
    return next((match[1] for match in found if match), "unknown")


def _template(settings: Settings) -> Iterator[Check]:
    lines = faults([settings.template], template=True)
    advice = "correct the chart's values and `helm upgrade` the release; KubeRay would refuse the job or let it hang"
    yield Check(what="job template", ok=not lines, found="; ".join(lines) or "breaks no rule", advice=advice)


def _secret(cluster: Cluster, settings: Settings) -> Iterator[Check]:
    store = settings.store
    what = f"secret {store.existing_secret}"
    if not store.existing_secret:
        yield Check(what="secret", ok=True, found="none: the pods' service account may use the store")
        return
    if not _may(cluster, Right(verb="get", resource="secrets", name=store.existing_secret)):
        found = "not checked: you may not read secrets, which is right; `helm test` uses it in a pod"
        yield Check(what=what, ok=True, found=found)
        return
    keys = cluster.secret_keys(store.existing_secret)
    lacking = {store.access_key_key, store.secret_key_key} - (keys or set())
    found = "is not there" if keys is None else f"lacks {', '.join(sorted(lacking))}"
    advice = (
        f"kubectl create secret generic {store.existing_secret}, with {store.access_key_key}, {store.secret_key_key}"
    )
    yield Check(what=what, ok=not lacking, found=found if lacking else "has both keys", advice=advice)


def _gpus(cluster: Cluster, settings: Settings) -> Iterator[Check]:
    if not cluster.may("list", "", "nodes"):
        yield Check(what="GPUs", ok=True, found="not checked: you may not list nodes; ask who runs the cluster")
        return
    yield gpu_check(settings.template, cluster.nodes())


def _quotas(cluster: Cluster, settings: Settings) -> Iterator[Check]:
    if not cluster.may("list", "", "resourcequotas"):
        yield Check(what="quotas", ok=True, found="not checked: you may not list resourcequotas")
        return
    quotas = cluster.quotas()
    yield from quota_checks(settings.template, quotas)
    if not quotas:
        yield Check(what="quotas", ok=True, found=f"none in namespace {cluster.namespace}")


def _queue(cluster: Cluster, settings: Settings) -> Iterator[Check]:
    if not settings.queue:
        return
    versions_of = {crd.name: crd.version for crd in settings.crds}
    queue = cluster.local_queue(settings.queue, versions_of.get("localqueues.kueue.x-k8s.io", "v1beta2"))
    conditions = at(queue, "status.conditions") or [] if queue else []
    idle = [each for each in conditions if each.get("type") == "Active" and each.get("status") == "False"]
    found = "is not there" if queue is None else idle[0].get("message", "is not active") if idle else "is there"
    advice = f"create the LocalQueue in namespace {cluster.namespace}, or name another with kueue.queue"
    advice = "ask who runs Kueue to correct its ClusterQueue" if idle else advice
    yield Check(what=f"queue {settings.queue}", ok=queue is not None and not idle, found=found, advice=advice)
