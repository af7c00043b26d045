"""The settings of an installed chart, which it leaves in a ConfigMap for `make submit`."""

import logging
from collections.abc import Mapping
from dataclasses import field
from importlib.metadata import version
from typing import Literal

import yaml
from pydantic import AliasPath, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from histoseg.errors import ClusterError
from histoseg.kube.api import Cluster
from histoseg.kube.objects import Object, read
from histoseg.kube.refusals import one_line
from histoseg.runs.job import RELEASE

logger = logging.getLogger(__name__)

CHART = "histoseg"
INSTANCE = "app.kubernetes.io/instance"  # The label with the name of a release
MAX_FULLNAME_CHARS = 40  # As in the chart's helper `histoseg.fullname`
UPGRADE = "`helm upgrade` the release with this version's chart"
CAMEL_CASE = ConfigDict(alias_generator=to_camel, populate_by_name=True)


def fullname(release: str) -> str:
    """The prefix of the names of a release's objects, unless fullnameOverride sets another."""
    name = release if CHART in release else f"{release}-{CHART}"
    return name[:MAX_FULLNAME_CHARS].rstrip("-")


@dataclass(frozen=True, kw_only=True, config=CAMEL_CASE)
class StoreSettings:
    """The object store as the pods see it.

    Attributes:
        endpoint: Empty means AWS.
        addressing_style: See `histoseg.store.endpoint.addressing_style`.
        existing_secret: The Secret with its keys; empty means that the pods' service account may use the store.
        access_key_key, secret_key_key: The names of the keys in that Secret.
    """

    url: str = Field(min_length=1)
    endpoint: str = ""
    region: str = ""
    addressing_style: str = ""
    existing_secret: str = ""
    access_key_key: str = ""
    secret_key_key: str = ""


@dataclass(frozen=True, kw_only=True)
class Crd:
    """A kind that the release needs: rayjobs.ray.io, v1."""

    name: str
    version: str


class JobTemplate(BaseModel):
    """What a RayJob must have to be submitted."""

    kind: Literal["RayJob"]
    api_version: Literal["ray.io/v1"] = Field(alias="apiVersion")
    worker_groups: tuple[Object, ...] = Field(
        min_length=1, validation_alias=AliasPath("spec", "rayClusterSpec", "workerGroupSpecs")
    )


@dataclass(frozen=True, kw_only=True, config=CAMEL_CASE)
class Settings:
    """A release of the chart.

    Attributes:
        app_version: The histoseg version that it was made for.
        image: The image of the jobs, with its tag or digest.
        raw_data: The folder in which the pods see raw data sets; empty means none.
        queue: Kueue's LocalQueue; empty means that jobs do not queue.
        overrides: The values that are merged over what the chart writes, such as head.podTemplate, by their names.
        template: A RayJob without name, entrypoint and jobId.
    """

    fullname: str
    chart_version: str = Field(validation_alias=AliasPath("chart", "version"))
    app_version: str = Field(validation_alias=AliasPath("chart", "appVersion"))
    ray_version: str
    image: str = Field(min_length=1)
    store: StoreSettings
    raw_data: str = ""
    queue: str = ""
    crds: tuple[Crd, ...] = ()
    overrides: dict[str, Object] = field(default_factory=dict, repr=False)
    template: Object = field(repr=False)

    @property
    def instance(self) -> str:
        """The name by which Helm knows the release; the label of all that belongs to it."""
        labels = (self.template.get("metadata") or {}).get("labels") or {}
        return str(labels.get(INSTANCE, ""))

    @classmethod
    def read(cls, cluster: Cluster, release: str = RELEASE, *, strict: bool = True) -> "Settings":
        """The settings of a release in the cluster's namespace.

        If `strict`, a release of another minor version is refused, because no job can be made for it here; otherwise it
        is only a warning, enough to look at existing jobs or end them.
        """
        name = f"{fullname(release)}-settings"
        data = cluster.config_map(name)
        if data is None:
            raise ClusterError(
                f"no release {release!r} in namespace {cluster.namespace!r} (no ConfigMap {name}); "
                f"`helm install {release} charts/histoseg --namespace {cluster.namespace}`, or name another with "
                f"RELEASE= and NAMESPACE= (--release, --namespace)"
            )
        return cls.parse(data, f"ConfigMap {cluster.namespace}/{name}", fullname(release), strict=strict)

    @classmethod
    def parse(cls, data: Mapping[str, str], where: str, name: str, *, strict: bool = True) -> "Settings":
        """The settings in a ConfigMap's data."""
        template = _mapping(data, "rayjob.yaml", where)
        found = {**_mapping(data, "settings.yaml", where), "fullname": name, "template": template}
        try:
            read(JobTemplate, template, f"{where}: rayjob.yaml")
            settings = read(cls, found, f"{where}: settings.yaml")
        except ClusterError as error:
            raise ClusterError(f"{error}; {UPGRADE}") from None
        _require_version(settings.app_version, where, strict=strict)
        return settings


def _mapping(data: Mapping[str, str], key: str, where: str) -> Object:
    """The YAML of one of the ConfigMap's keys."""
    try:
        found = yaml.safe_load(data.get(key, ""))
    except yaml.YAMLError as error:
        raise ClusterError(f"{where}: {key} is not valid YAML: {one_line(str(error))}; {UPGRADE}") from None
    if not isinstance(found, Mapping):
        raise ClusterError(f"{where}: {key} is missing or not a mapping; {UPGRADE}")
    return found


def _require_version(app_version: str, where: str, *, strict: bool) -> None:
    """If strict, refuse another major or minor version; warn of any other difference."""
    here = version(CHART)
    if app_version == here:
        return
    found = f"{where}: the release is of histoseg {app_version}, installed here is {here}"
    if strict and app_version.split(".")[:2] != here.split(".")[:2]:
        raise ClusterError(f"{found}; `helm upgrade` the release, or install histoseg {app_version} here")
    logger.warning("%s; jobs run %s", found, app_version)
