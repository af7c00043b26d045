"""Checks of a cluster: whether it has what a release of the chart needs, and its user may submit jobs."""

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import requires
from itertools import groupby

from histoseg.doctor.capacity import gpu_check, head_check, quota_checks
from histoseg.doctor.check import Check
from histoseg.doctor.queue import queue_checks
from histoseg.errors import ClusterError
from histoseg.kube.api import Cluster
from histoseg.kube.job_pods import require_accepted
from histoseg.kube.refusals import ADMIN, INSTALL
from histoseg.kube.settings import Crd, Settings, fullname
from histoseg.machine import versions

PATIENCE_S = 5.0  # A person waits for the answer
RAY_CRDS = (Crd(name="rayclusters.ray.io", version="v1"), Crd(name="rayjobs.ray.io", version="v1"))
KUBERAY = (1, 7)  # The version whose fields the chart uses
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")  # Where boto3 finds credentials
TRIAL = "histoseg-doctor"  # The name of the job that the server checks, and never creates


@dataclass(frozen=True, kw_only=True)
class Right:
    """A verb on a resource (with its subresource), of a group or Kubernetes' core."""

    verb: str
    resource: str
    group: str = ""
    name: str = ""

    @property
    def kind(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


CREATE_JOB = Right(verb="create", resource="rayjobs", group="ray.io")
SUBMITTING = (
    CREATE_JOB,
    *(replace(CREATE_JOB, verb=verb) for verb in ("get", "list", "delete")),
    Right(verb="list", resource="pods"),
    Right(verb="get", resource="pods/log"),
    Right(verb="list", resource="events"),
)


def cluster_checks(context: str, namespace: str, release: str) -> Generator[Check, None, Settings | None]:
    """Every check of a release, as it is made; returns its settings, None if they could not be read.

    An empty namespace means that of the context.
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
    """The same for an open connection."""
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


def reachable_store(settings: Settings, environ: Mapping[str, str]) -> tuple[str, Check]:
    """A release's store, "" if this machine lacks credentials or an endpoint for it; and a line that says so."""
    store = settings.store
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    if not any(environ.get(name) for name in KEYS):
        why = "no AWS_ACCESS_KEY_ID or AWS_PROFILE is set here; `helm test` tries it in a pod"
    elif store.endpoint and not endpoint:
        why = f"set AWS_ENDPOINT_URL to where this machine reaches {store.endpoint}"
    else:
        return store.url, Check(what="bucket", ok=True, found=f"{store.url} at {endpoint or 'AWS'}")
    return "", Check(what="bucket", ok=True, found=f"{store.url} not tried: {why}")


def _parts(cluster: Cluster, release: str, settings: Settings | None) -> dict[str, Callable[[], Iterator[Check]]]:
    """Checks that do not depend on each other; a failure in one does not end the others."""
    parts: dict[str, Callable[[], Iterator[Check]]] = {
        "KubeRay": lambda: _operator(cluster),
        "CRDs": lambda: _crds(cluster, settings.crds if settings and settings.crds else RAY_CRDS),
        "rights": lambda: _rights(cluster, release),
    }
    if settings is None:
        return parts
    return parts | {
        "versions": lambda: _versions(settings),
        "job template": lambda: _template(cluster, settings),
        "secret": lambda: _secret(cluster, settings),
        "head": lambda: iter([head_check(settings.template)]),
        "GPUs": lambda: _gpus(cluster, settings),
        "quotas": lambda: _quotas(cluster, settings),
        "queue": lambda: queue_checks(cluster, settings),
    }


def _operator(cluster: Cluster) -> Iterator[Check]:
    """By the tag of the operator's image; the operator itself has no API."""
    what = "KubeRay"
    if not replace(cluster, namespace="").may("list", "", "pods"):
        yield Check(what=what, ok=True, found="version not checked: you may not list the pods of all namespaces")
        return
    pods = cluster.operators()
    if not pods:
        yield Check(what=what, ok=True, found="version not checked: no operator has the label of its own chart")
    for pod in pods:
        image = next((container.image for container in pod.spec.containers), "")
        found = re.search(r":v?(\d+)\.(\d+)", image)
        is_old = found is not None and (int(found[1]), int(found[2])) < KUBERAY
        advice = f"upgrade KubeRay and its CRDs to version {KUBERAY[0]}.{KUBERAY[1]} or later"
        yield Check(what=what, ok=not is_old, found=f"{image or 'unknown'} in {pod.namespace}", advice=advice)


def _crds(cluster: Cluster, needed: tuple[Crd, ...]) -> Iterator[Check]:
    """By discovery, which every user may do; researchers may not read CRDs."""
    for crd in needed:
        plural, _, group = crd.name.partition(".")
        served = plural in cluster.resources(group, crd.version)
        found = f"{crd.version} is {'served' if served else 'not served'}"
        advice = INSTALL.get(group, f"install the operator that brings {crd.name}")
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
            advice=f"ask the person who installed the chart to add you to access.researchers (Role {name}-researcher)",
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
    """The version of Ray that histoseg requires, where Ray is not installed."""
    found = [re.match(r"ray\b[^;=]*==([\w.]+)", line) for line in requires("histoseg") or []]
    return next((match[1] for match in found if match), "unknown")


def _template(cluster: Cluster, settings: Settings) -> Iterator[Check]:
    """By a dry run of a job without a task."""
    what = "job template"
    if not _may(cluster, CREATE_JOB):
        yield Check(what=what, ok=True, found="not checked: you may not create rayjobs")
        return
    metadata = {**settings.template["metadata"], "name": TRIAL}
    spec = {**settings.template["spec"], "entrypoint": "true"}
    job = {**settings.template, "metadata": metadata, "spec": spec}
    has_pods = require_accepted(cluster, job, settings.overrides)
    pods = "with its pods" if has_pods else "its pods were not checked: you may not create pods, as is usual"
    yield Check(what=what, ok=True, found=f"the API server accepts it, {pods}")


def _secret(cluster: Cluster, settings: Settings) -> Iterator[Check]:
    store = settings.store
    what = f"secret {store.existing_secret}"
    if not store.existing_secret:
        yield Check(what="secret", ok=True, found="not needed: the pods' service account may use the store")
        return
    if not _may(cluster, Right(verb="get", resource="secrets", name=store.existing_secret)):
        found = "not checked: you may not read secrets, as is usual; `helm test` uses it in a pod"
        yield Check(what=what, ok=True, found=found)
        return
    keys = cluster.secret_keys(store.existing_secret)
    lacking = {store.access_key_key, store.secret_key_key} - (keys or set())
    found = "does not exist" if keys is None else f"lacks {', '.join(sorted(lacking))}"
    advice = (
        f"kubectl create secret generic {store.existing_secret}, with {store.access_key_key}, {store.secret_key_key}"
    )
    yield Check(what=what, ok=not lacking, found=found if lacking else "has both keys", advice=advice)


def _gpus(cluster: Cluster, settings: Settings) -> Iterator[Check]:
    if not cluster.may("list", "", "nodes"):
        yield Check(what="GPUs", ok=True, found=f"not checked: you may not list nodes; {ADMIN}")
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
