"""What the chart was installed with, as it left it in the cluster for whoever submits."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import yaml

from histoseg.errors import ClusterError
from histoseg.kube.api import Cluster
from histoseg.kube.refusals import one_line
from histoseg.runs.job import RELEASE

logger = logging.getLogger(__name__)

CHART = "histoseg"
MAX_FULLNAME_CHARS = 40  # As in the chart's helper `histoseg.fullname`


def fullname(release: str) -> str:
    """How the chart names its objects for a release, unless fullnameOverride says otherwise."""
    name = release if CHART in release else f"{release}-{CHART}"
    return name[:MAX_FULLNAME_CHARS].rstrip("-")


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """The object store as the pods see it.

    Attributes:
        url: s3://bucket/prefix.
        endpoint: Empty means AWS.
        existing_secret: The Secret with its keys; empty means that the pods' service account may use the store.
        access_key_key, secret_key_key: What the keys are called in that Secret.
    """

    url: str
    endpoint: str = ""
    region: str = ""
    existing_secret: str = ""
    access_key_key: str = ""
    secret_key_key: str = ""


@dataclass(frozen=True, kw_only=True)
class Crd:
    """A kind that the release needs: rayjobs.ray.io, v1."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A release of the chart.

    Attributes:
        fullname: What the names of its objects begin with.
        app_version: The histoseg that it was made for.
        image: What runs the jobs, with its tag or digest.
        raw_data: Where the pods see raw data sets; empty means nowhere.
        queue: Kueue's LocalQueue; empty means that jobs do not queue.
        template: A RayJob without name, entrypoint and jobId.
    """

    fullname: str
    chart_version: str
    app_version: str
    ray_version: str
    image: str
    store: StoreSettings
    raw_data: str = ""
    queue: str = ""
    crds: tuple[Crd, ...] = ()
    template: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, cluster: Cluster, release: str = RELEASE, *, strict: bool = True) -> "Settings":
        """Those of a release in the cluster's namespace.

        Args:
            cluster: With that namespace.
            release: The chart's.
            strict: Whether to refuse a release of another minor version, for which no job can be made here; whoever
                only looks at jobs that are there, or ends them, is warned instead.

        Raises:
            ClusterError: If there is no such release, or it does not fit what is installed here.
        """
        name = f"{fullname(release)}-settings"
        data = cluster.config_map(name)
        if data is None:
            raise ClusterError(
                f"no release {release!r} in namespace {cluster.namespace!r} (no ConfigMap {name}); "
                f"`helm install {release} charts/histoseg --namespace {cluster.namespace}`, or name another with "
                f"RELEASE= and NAMESPACE="
            )
        return cls.parse(data, f"ConfigMap {cluster.namespace}/{name}", fullname(release), strict=strict)

    @classmethod
    def parse(cls, data: Mapping[str, str], where: str, name: str, *, strict: bool = True) -> "Settings":
        """Those in a ConfigMap's data.

        Args:
            data: With settings.yaml and rayjob.yaml.
            where: What to call the ConfigMap in errors.
            name: What the names of the release's objects begin with.
            strict: Whether to refuse another minor version.
        """
        found = _mapping(data, "settings.yaml", where)
        chart, store = _part(found, "chart", where), _part(found, "store", where)
        app_version = _text(chart, "appVersion", where)
        _require_version(app_version, where, strict=strict)
        return cls(
            fullname=name,
            chart_version=_text(chart, "version", where),
            app_version=app_version,
            ray_version=_text(found, "rayVersion", where),
            image=_text(found, "image", where),
            store=StoreSettings(
                url=_text(store, "url", where),
                endpoint=str(store.get("endpoint") or ""),
                region=str(store.get("region") or ""),
                existing_secret=str(store.get("existingSecret") or ""),
                access_key_key=str(store.get("accessKeyKey") or ""),
                secret_key_key=str(store.get("secretKeyKey") or ""),
            ),
            raw_data=str(found.get("rawData") or ""),
            queue=str(found.get("queue") or ""),
            crds=tuple(
                Crd(name=_text(crd, "name", where), version=_text(crd, "version", where))
                for crd in found.get("crds") or []
            ),
            template=_template(_mapping(data, "rayjob.yaml", where), where),
        )


def _mapping(data: Mapping[str, str], key: str, where: str) -> Mapping[str, Any]:
    """A key's YAML."""
    try:
        found = yaml.safe_load(data[key])
    except KeyError:
        raise _broken(where, f"has no {key}") from None
    except yaml.YAMLError as error:
        raise _broken(where, f"{key} is no YAML: {one_line(str(error))}") from None
    if not isinstance(found, Mapping):
        raise _broken(where, f"{key} is no mapping")
    return found


def _template(found: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The RayJob, if it is one with workers."""
    kind = f"{found.get('kind')} of {found.get('apiVersion')}"
    if kind != "RayJob of ray.io/v1":
        raise _broken(where, f"rayjob.yaml is a {kind}, not a RayJob of ray.io/v1")
    cluster = _part(_part(found, "spec", where), "rayClusterSpec", where)
    if not cluster.get("workerGroupSpecs"):
        raise _broken(where, "rayjob.yaml has no workerGroupSpecs, so nothing would train")
    return found


def _part(found: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    part = found.get(key)
    if not isinstance(part, Mapping):
        raise _broken(where, f"{key} is {part!r}, not a mapping")
    return part


def _text(found: Mapping[str, Any], key: str, where: str) -> str:
    text = found.get(key)
    if not isinstance(text, str) or not text:
        raise _broken(where, f"{key} is {text!r}, not a text")
    return text


def _broken(where: str, what: str) -> ClusterError:
    return ClusterError(f"{where}: {what}; `helm upgrade` the release with this version's chart")


def _require_version(app_version: str, where: str, *, strict: bool) -> None:
    """If strict, refuse another major or minor version; warn of any other difference.

    Raises:
        ClusterError: If job and submitter might not understand each other.
    """
    here = version(CHART)
    if app_version == here:
        return
    found = f"{where}: the release is of histoseg {app_version}, installed here is {here}"
    if strict and app_version.split(".")[:2] != here.split(".")[:2]:
        raise ClusterError(f"{found}; `helm upgrade` the release, or install histoseg {app_version} here")
    logger.warning("%s; jobs run %s", found, app_version)
