"""Checks of this machine, a store, a dashboard and a cluster, before anything is spent."""

import http.client
import os
import shutil
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from histoseg.doctor.checks import Check, store_checks
from histoseg.errors import HistosegError
from histoseg.machine import available_cpus, versions
from histoseg.runs.job import RELEASE

NEEDED_DISK_BYTES = 4 * 2**30
NEEDED_MEMORY_BYTES = 8 * 2**30
TIME_LIMIT_S = 20.0  # For one answer of a dashboard
PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # Between attempts at a dashboard that is starting or busy


@dataclass(frozen=True, kw_only=True)
class Places:
    """What to look at; an empty text is nothing.

    Attributes:
        store: A store's URL.
        dashboard: The URL of a Ray dashboard.
        cluster: A context of the kubeconfig.
        namespace: In that cluster; empty means the context's.
        release: Of the chart, in that namespace.
        experiment: What is to run on the store or the cluster, at that scale.
    """

    store: str = ""
    dashboard: str = ""
    cluster: str = ""
    namespace: str = ""
    release: str = RELEASE
    experiment: str = ""
    scale: str = "laptop"

    @property
    def elsewhere(self) -> bool:
        """Whether the work is done on other machines than this one."""
        return bool(self.dashboard or self.cluster)


def all_checks(places: Places, *, machine: bool) -> Iterator[Check]:
    """Every check of these places, and of this machine if asked for, as it is made."""
    if machine:
        yield from machine_checks()
    stores = {places.store} - {""}
    if places.store:
        yield from store_checks(places.store)
    if places.dashboard:
        yield from dashboard_checks(places.dashboard, os.environ.get("RAY_AUTH_TOKEN", ""))
    if places.cluster:
        bucket = yield from _cluster_checks(places)
        if bucket and bucket not in stores:
            yield from store_checks(bucket)
        stores |= {bucket} - {""}
    for url in sorted(stores) if places.experiment else []:
        yield _experiment_check(url, places)


def machine_checks() -> Iterator[Check]:
    """Every check of this machine, as it is made."""
    found = versions()
    yield Check(what="Python", ok=sys.version_info >= (3, 11), found=found["python"], advice="use Python 3.11 or newer")
    for package in ("torch", "ray"):
        advice = "run `make setup`, or install histoseg[train]"
        yield Check(what=package, ok=package in found, found=found.get(package, "not installed"), advice=advice)
    yield Check(what="cores", ok=True, found=str(available_cpus()))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Check(
        what="memory",
        ok=memory >= NEEDED_MEMORY_BYTES,
        found=f"{memory / 2**30:.1f} GiB",
        advice="a run on one machine takes up to 8 GiB",
    )
    free = shutil.disk_usage(Path.cwd()).free
    yield Check(
        what="disk",
        ok=free >= NEEDED_DISK_BYTES,
        found=f"{free / 2**30:.1f} GiB free in {Path.cwd()}",
        advice=f"free {NEEDED_DISK_BYTES // 2**30} GiB, or work in another folder",
    )
    if "torch" in found:
        yield _accelerator()


def dashboard_checks(url: str, token: str) -> Iterator[Check]:
    """Whether a Ray dashboard answers, refuses whoever has no token, and takes ours.

    Args:
        url: http://host:8265, or https.
        token: Ray's; empty means that there is none at hand.
    """
    answers = "dashboard: answers"
    try:
        status = _health(url)
        yield Check(what=answers, ok=status == 200, found=f"{url}: {status}", advice="look at the head pod's log")
        status = _status(url, "/api/version")
        yield Check(
            what="dashboard: asks for a token",
            ok=status in (401, 403),
            found=f"{url}: {status} without one",
            advice="whoever reaches it can run code there; set auth.mode: token in the chart's values",
        )
        what, token = "dashboard: takes our token", token.strip()
        if not token:
            found = "not checked: RAY_AUTH_TOKEN is not set; its value is `auth_token` in the cluster's Secret"
            yield Check(what=what, ok=True, found=found)
            return
        if not (token.isascii() and token.isprintable()):  # Of such a one, the error would quote all of it
            found = "RAY_AUTH_TOKEN has a letter that cannot be sent"
            yield Check(what=what, ok=False, found=found, advice="take `auth_token` from this cluster's Secret")
            return
        status = _status(url, "/api/version", token)
        advice = "RAY_AUTH_TOKEN is of another cluster; take `auth_token` from this cluster's Secret"
        yield Check(what=what, ok=status == 200, found=f"{url}: {status} with it", advice=advice)
    except (OSError, http.client.HTTPException, ValueError) as error:
        advice = "correct the URL, or forward the port: kubectl port-forward service/<cluster>-head-svc 8265"
        yield Check(what=answers, ok=False, found=f"{url}: {str(error) or type(error).__name__}", advice=advice)


def _health(url: str) -> int:
    """The status of the one path that Ray leaves open."""
    for pause_s in PAUSES_S:
        with suppress(TimeoutError, ConnectionError):  # A head that is starting refuses connections, or drops them
            if (status := _status(url, "/api/gcs_healthz")) < HTTPStatus.INTERNAL_SERVER_ERROR:
                return status
        time.sleep(pause_s)
    return _status(url, "/api/gcs_healthz")


def _status(url: str, path: str, token: str = "") -> int:
    """The status of an answer; no redirect is followed, so that the token goes nowhere else."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write http://host:8265")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=TIME_LIMIT_S)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", parts.path.rstrip("/") + path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _cluster_checks(places: Places) -> Generator[Check, None, str]:
    """Every check of a release in a cluster; afterwards its store's URL, "" if it cannot be tried from here."""
    try:
        from histoseg.doctor.cluster import cluster_checks, reachable_store
    except ImportError as error:  # The small install has no YAML.
        yield Check(what="cluster", ok=False, found=str(error), advice="pip install 'histoseg[cluster]'")
        return ""
    settings = yield from cluster_checks(places.cluster, places.namespace, places.release)
    if settings is None:
        return ""
    bucket = reachable_store(settings, os.environ)
    yield bucket.check
    return bucket.url


def _accelerator() -> Check:
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none; training runs on the CPU"
    return Check(what="GPU", ok=True, found=name)


def _experiment_check(url: str, places: Places) -> Check:
    """Which of an experiment's runs the store's sources allow."""
    from histoseg.pipeline.plan import make_plan
    from histoseg.store.objects import connect

    what = f"experiment {places.experiment} ({places.scale})"
    try:
        plan = make_plan(places.experiment, connect(url), places.scale, 1, [])
    except HistosegError as error:
        advice = f"prepare its sources: histoseg prepare all --experiment {places.experiment} --scale {places.scale} …"
        return Check(what=what, ok=False, found=str(error), advice=advice)
    absent = f"; not prepared: {', '.join(plan.absent)}" if plan.absent else ""
    return Check(what=what, ok=True, found=f"{len(plan.runs)} runs of {', '.join(plan.sources)}{absent}")
