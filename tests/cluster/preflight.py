"""Where the scenarios are about to work, and what would keep them from it; asked before anything is created."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from histoseg.errors import ClusterError
from histoseg.kube.api import RAY, RAY_VERSION, Cluster
from tests.cluster.site import Site

NEEDED = ("create namespaces", "delete namespaces", "create secrets", "create roles", "create serviceaccounts/token")


def describe(site: Site) -> Iterator[str]:
    """The cluster, and what will be done in it; ends the session if it cannot be done."""
    try:
        with closing(Cluster.connect(site.context, site.namespace)) as cluster:
            yield f"cluster {site.context}: {cluster.server}, Kubernetes {cluster.version()}"
            if "rayjobs" not in cluster.resources(RAY, RAY_VERSION):
                pytest.exit(f"{site.context} has no rayjobs.{RAY}/{RAY_VERSION}: install KubeRay first", 1)
    except ClusterError as error:
        pytest.exit(f"histoseg: {error}", 1)
    if lacking := [right for right in NEEDED if not site.may(*right.split())]:
        pytest.exit(f"{site.context}: the right to {', to '.join(lacking)} is missing", 1)
    yield f"creates the namespace {site.namespace} and deletes it at the end; Ctrl-C ends it at any time"
    yield f"cordons a node during `drain`, evicts nothing but pods of {site.namespace}, changes nothing else"
