"""All checks of `histoseg doctor`, before anything is spent: this machine, a store, a dashboard, a cluster."""

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from histoseg.doctor.check import Check
from histoseg.doctor.dashboard import dashboard_checks
from histoseg.doctor.machine import machine_checks
from histoseg.doctor.store import experiment_check, store_checks
from histoseg.runs.job import RELEASE


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """What to check; an empty text means nothing.

    Attributes:
        store, dashboard: URLs of a store and of a Ray dashboard.
        cluster: A context of the kubeconfig.
        namespace: In that cluster; empty means the context's.
        experiment: What is to run on the store or the cluster, at that scale.
    """

    store: str = ""
    dashboard: str = ""
    cluster: str = ""
    namespace: str = ""
    release: str = RELEASE
    experiment: str = ""
    scale: str = "laptop"
    machine: bool = True


def all_checks(options: DoctorOptions) -> Iterator[Check]:
    """Every check, as it is made."""
    if options.machine:
        yield from machine_checks()
    stores = {options.store} - {""}
    if options.store:
        yield from store_checks(options.store)
    if options.dashboard:
        yield from dashboard_checks(options.dashboard, os.environ.get("RAY_AUTH_TOKEN", ""))
    if options.cluster:
        url = yield from _cluster_checks(options)
        if url and url not in stores:
            yield from store_checks(url)
        stores |= {url} - {""}
    for url in sorted(stores) if options.experiment else []:
        yield experiment_check(url, options.experiment, options.scale)


def _cluster_checks(options: DoctorOptions) -> Generator[Check, None, str]:
    """Every check of a release in a cluster; returns its store's URL, "" if the store cannot be tried from here."""
    try:
        from histoseg.doctor.cluster import cluster_checks, reachable_store
    except ImportError as error:  # The small install has no YAML.
        yield Check(what="cluster", ok=False, found=str(error), advice="pip install 'histoseg[cluster]'")
        return ""
    settings = yield from cluster_checks(options.cluster, options.namespace, options.release)
    if settings is None:
        return ""
    url, check = reachable_store(settings, os.environ)
    yield check
    return url
