"""What can be done about a job on a cluster: run it, ask for its state, fetch its table, end it."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Protocol

from histoseg.errors import ClusterError
from histoseg.kube import jobs
from histoseg.kube.api import Cluster
from histoseg.kube.rayjob import addressed
from histoseg.kube.settings import Settings, fullname
from histoseg.kube.submit import dry_run, submit
from histoseg.pipeline.cohort import require_valid
from histoseg.runs.follow import Show
from histoseg.runs.request import Request
from histoseg.store.endpoint import STYLE
from histoseg.store.keys import results_folder
from histoseg.store.objects import FileStore, Store, connect
from ray_jobs.jobs_api import RayJobs
from ray_jobs.target import Target


class JobService(Protocol):
    """The jobs of one cluster."""

    def addressed(self, request: Request) -> Request:
        """The request as the cluster gets it, with its store and the job's name."""

    def dry_run(self, request: Request, command: str) -> str:
        """What would be submitted."""

    def submit(self, request: Request, command: str, show: Show) -> None:
        """Submit the job unless it exists, and follow it to its end."""

    def status(self, name: str) -> str:
        """The state of a job; without a name, of all."""

    def cancel(self, name: str) -> str:
        """End a job; returns what happened."""

    def results(self, request: Request | None, name: str) -> tuple[Store, str]:
        """The store in which a job leaves its results, as it is reached from here, and their folder there."""


def act(request: Request | None, target: Target) -> str:
    """Do it; returns the last line to print."""
    if request is not None:
        require_valid(request)
    with _service(target) as service:
        return _act(service, request, target)


def _act(service: JobService, typed: Request | None, target: Target) -> str:
    if target.action in ("status", "cancel"):
        # A job that is named needs no release, which may be gone.
        name = target.job or (service.addressed(typed).name if typed else "")
        return service.status(name) if target.action == "status" else service.cancel(name)
    request = None if typed is None else service.addressed(typed)
    if target.action == "results":
        return str(fetch(*service.results(request, target.job or (request.name if request else "")), target.out))
    if typed is None or request is None:
        raise ClusterError("name the experiment to run: EXP=table1")
    command = target.command(typed)
    if target.action == "dry-run":
        return service.dry_run(request, command)
    service.submit(request, command, show)
    return f"{results_url(request)}/index.html"


@contextmanager
def _service(target: Target) -> Iterator[JobService]:
    if target.ray_address:
        yield RayJobs(address=target.ray_address, ship=target.ship)
        return
    role = f"{fullname(target.installed)}-researcher"
    with closing(Cluster.connect(target.cluster, target.namespace, role)) as cluster:
        yield _OnKubernetes(cluster, target)


class _OnKubernetes:
    def __init__(self, cluster: Cluster, target: Target) -> None:
        self._cluster, self._target = cluster, target

    @cached_property
    def settings(self) -> Settings:
        is_strict = self._target.action in ("run", "dry-run")
        return Settings.read(self._cluster, self._target.installed, strict=is_strict)

    def addressed(self, request: Request) -> Request:
        return addressed(request, self.settings)

    def dry_run(self, request: Request, command: str) -> str:
        return dry_run(request, self.settings, command)

    def submit(self, request: Request, command: str, show: Show) -> None:
        submit(self._cluster, request, self.settings, command, show)

    def status(self, name: str) -> str:
        return jobs.status(self._cluster, name, "" if name else self._instance())

    def _instance(self) -> str:
        """The label of the jobs of the release that was typed; "" if none was."""
        if not self._target.release:
            return ""
        try:  # With fullnameOverride, RELEASE= is not the name that Helm knows.
            return self.settings.instance or self._target.release
        except ClusterError:  # It may be uninstalled.
            return self._target.release

    def cancel(self, name: str) -> str:
        return jobs.cancel(self._cluster, name)

    def results(self, request: Request | None, name: str) -> tuple[Store, str]:
        reach_store_of(self.settings)
        where = results_url(request) if request and request.name == name else jobs.results_of(self._cluster, name)
        url, *parts = where.rsplit("/", 3)
        return connect(url), "/".join(parts)


def reach_store_of(settings: Settings) -> None:
    """Point S3 clients of this process to the release's store, unless the environment says where it is from here."""
    if not any(os.environ.get(f"AWS_ENDPOINT_URL{end}") for end in ("", "_S3")) and settings.store.endpoint:
        os.environ["AWS_ENDPOINT_URL_S3"] = settings.store.endpoint
    if settings.store.addressing_style:
        os.environ.setdefault(STYLE, settings.store.addressing_style)
    if settings.store.region:
        os.environ.setdefault("AWS_REGION", settings.store.region)


def show(line: str) -> None:
    """Print a line at once, also into a file or pipe."""
    print(line, flush=True)


def results_url(request: Request) -> str:
    """Where in the store a job leaves its results."""
    return f"{request.store}/{results_folder(request.experiment, request.name)}"


def fetch(store: Store, source: str, out: Path) -> Path:
    """Copy the results of a job, which lie in results/<experiment>/<job>, to `out`/<experiment>; returns the page."""
    _, experiment, name = source.split("/")
    keys, page = store.list(f"{source}/"), f"{source}/index.html"
    if not keys:
        raise ClusterError(
            f"{store.url}/{source} is empty: job {name} has left no results yet; STATUS=1 shows its state"
        )
    if page not in keys:  # It is put last.
        raise ClusterError(
            f"{store.url}/{source} has no index.html yet: the results of job {name} are still being written; repeat "
            f"the command, or see its state with STATUS=1"
        )
    target = FileStore((out / experiment).resolve())
    target.delete("index.html")  # Of an earlier job, if this ends half-way.
    for key in sorted(keys, key=lambda key: key == page):
        target.put(key.removeprefix(f"{source}/"), store.get(key))
    return target.root / "index.html"
