"""The scenarios on a played cluster: all of them pass, and each notices what it is there to notice.

Real: the API server (schemas, rights, quotas, Pod Security), kubectl, helm, the chart, `make submit`, the store, and the
processes of `helm test` and of the ledger. Played: controllers, kubelet, KubeRay and the trainings.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from tests.cluster import scenarios
from tests.cluster.lab import PREFIX, ROOT, Lab, environment, opened
from tests.kube.controllers import Faults, PlayedCluster
from tests.kube.kubelet import kubelet
from tests.ray_jobs.restartable_store import restartable_store

pytestmark = pytest.mark.slow
LIMIT_S = 300
PATIENCE = 0.2


@pytest.fixture(scope="module")
def played(programs, api_server, tmp_path_factory):
    """Controllers and a kubelet with two nodes, for the namespaces of the scenarios."""
    folder = tmp_path_factory.mktemp("played")
    certificates = api_server.folder / "certs"
    with ExitStack() as stack:
        store = stack.enter_context(restartable_store(folder / "store"))
        served = stack.enter_context(kubelet(certificates / "apiserver.crt", certificates / "apiserver.key"))
        made = PlayedCluster(api_server, served, PREFIX, store.environment, folder)
        made.add_nodes()
        yield stack.enter_context(made.running())


@pytest.fixture
def kubeconfig(played, tmp_path_factory):
    """An administrator's, whose context is `lab`."""
    path = tmp_path_factory.mktemp("kubeconfig") / "config"
    path.write_text(played.api.kubeconfig(namespace="default"))
    return path


def command(kubeconfig, *words):
    """`make test-cluster CLUSTER=lab`, with shorter limits."""
    variables = {"HISTOSEG_CLUSTER": "lab", "KUBECONFIG": str(kubeconfig), "PATIENCE": str(PATIENCE)}
    variables["HISTOSEG_SUBMITTER"] = "tests.kube.hurried"
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/cluster/test_cluster.py", *words],
        cwd=ROOT,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def everything_else(played):
    """What the scenarios may not touch: their names and the nodes' specs."""
    paths = ("/api/v1/namespaces", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "/apis/scheduling.k8s.io/v1/priorityclasses")
    names = {path: sorted(each["metadata"]["name"] for each in played.api.get(path)["items"]) for path in paths}
    return names, [node["spec"] for node in played.api.get("/api/v1/nodes")["items"]]


def test_all_scenarios_pass_and_nothing_is_left(played, kubeconfig):
    before = everything_else(played)
    shown, _ = command(kubeconfig, "--durations=0").communicate(timeout=LIMIT_S)
    assert f"{len(scenarios.SCENARIOS)} passed" in shown, shown
    assert "skipped" not in shown
    assert "cluster lab: https://127.0.0.1:" in shown
    assert everything_else(played) == before
    assert played.errors == []
