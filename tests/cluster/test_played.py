"""The scenarios on a played cluster: all of them pass, and each notices what it is there to notice.

Real: the API server (schemas, rights, quotas, Pod Security), kubectl, helm, the chart, `make submit`, the store, and
the processes of `helm test` and of the ledger. Played: controllers, kubelet, KubeRay and the trainings.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from tests.cluster import scenarios
from tests.cluster.site import PREFIX, ROOT, Site, environment, opened
from tests.kube.kubelet import running as kubelet
from tests.kube.played.cluster import PlayedCluster
from tests.kube.played.faults import Faults
from tests.ray_jobs.restartable_store import restartable_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("HISTOSEG_PLAYED" not in os.environ, reason="takes ten minutes: make test-played runs it"),
]
LIMIT_S = 900
PATIENCE = 0.2  # Of the real limits
HURRIED = "tests.kube.played.hurried"
PRIORITIES = "/apis/scheduling.k8s.io/v1/priorityclasses"
IMPATIENCE = 0.08  # The same where something is expected not to be seen


@contextmanager
def ended(process):
    """A process that is interrupted, as by Ctrl-C, if a test fails meanwhile."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_S)
        process.stdout.close()


def wait_until(claim):
    deadline = time.monotonic() + LIMIT_S
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def played(programs, api_server, tmp_path_factory):
    """Controllers and a kubelet with two nodes, for the namespaces of the scenarios."""
    folder = tmp_path_factory.mktemp("played")
    certificates = api_server.folder / "certs"
    with ExitStack() as stack:
        store = stack.enter_context(restartable_store(folder / "store"))
        served = stack.enter_context(kubelet(certificates / "apiserver.crt", certificates / "apiserver.key"))
        made = PlayedCluster(api_server, served, PREFIX, store.environment, folder)
        yield stack.enter_context(made.running())


@pytest.fixture(scope="module")
def kubeconfig(played, tmp_path_factory):
    """An administrator's, whose context is `lab`."""
    path = tmp_path_factory.mktemp("kubeconfig") / "config"
    path.write_text(played.api.kubeconfig(namespace="default"))
    return path


def command(kubeconfig, *words, context="lab"):
    """What `make test-cluster CLUSTER=lab` runs, with shorter limits."""
    variables = {"HISTOSEG_CLUSTER": context, "KUBECONFIG": str(kubeconfig), "PATIENCE": str(PATIENCE)}
    variables["HISTOSEG_SUBMITTER"] = HURRIED
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/cluster/test_cluster.py", *words],
        cwd=ROOT,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def everything_else(played):
    """What the scenarios may not touch: namespaces, what belongs to none, and the nodes' specs."""
    groups = ("/api/v1/namespaces", "/apis/rbac.authorization.k8s.io/v1/clusterroles", PRIORITIES)
    names = {path: sorted(each["metadata"]["name"] for each in played.api.get(path)["items"]) for path in groups}
    return names, {node["metadata"]["name"]: node["spec"] for node in played.api.get("/api/v1/nodes")["items"]}


def test_all_scenarios_pass_and_nothing_is_left(played, kubeconfig):
    before = everything_else(played)
    with ended(command(kubeconfig, "--durations=0")) as started:
        shown, _ = started.communicate(timeout=LIMIT_S)
    assert f"= {len(scenarios.SCENARIOS)} passed in" in shown, shown  # None is skipped
    assert f"cluster lab: {played.api.url}, Kubernetes v1." in shown
    assert everything_else(played) == before
    assert played.errors == []


def is_cordoned(played):
    return any(spec.get("unschedulable") for spec in everything_else(played)[1].values())


def test_ctrl_c_leaves_nothing(played, kubeconfig):
    before = everything_else(played)
    with ended(command(kubeconfig, "-k", "drain")) as started:
        wait_until(lambda: started.poll() is not None or is_cordoned(played))
        started.send_signal(signal.SIGINT)
        shown, _ = started.communicate(timeout=LIMIT_S)
    assert started.returncode == 2, shown  # pytest's code for an interruption
    assert everything_else(played) == before


def test_nothing_begins_where_the_context_is_unknown(kubeconfig, played):
    before = everything_else(played)
    with ended(command(kubeconfig, context="nope")) as started:
        shown, _ = started.communicate(timeout=LIMIT_S)
    assert "no context 'nope'" in shown
    assert everything_else(played) == before


@pytest.fixture(scope="module")
def installed(played, kubeconfig, tmp_path_factory):
    """A site with a release, in this process."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KUBECONFIG", str(kubeconfig))
    folder = tmp_path_factory.mktemp("installed")
    made = Site(context="lab", folder=folder, patience=PATIENCE, submitter=HURRIED)
    with opened(made):
        scenarios.install(made)
        made.patience = IMPATIENCE
        yield made
        played.misbehave(Faults())
        made.patience = PATIENCE
    patch.undo()


@pytest.fixture
def site(played, installed):
    """That site, on a cluster that is well again afterwards."""
    yield installed
    played.misbehave(Faults())
    installed.patience = PATIENCE
    installed.tidy()
    installed.patience = IMPATIENCE


@pytest.mark.parametrize(
    ("faults", "scenario", "said"),
    [
        (Faults(lost_heads_stay=True), scenarios.head_deleted, "another head is ready"),
        (Faults(writes_twice=True), scenarios.worker_deleted, "cells with more than one record"),
        (Faults(ignores_cordons=True), scenarios.drain, "a worker was put on node-a again"),
        (Faults(loses_records=True), scenarios.repeat, "records were lost"),
        (Faults(end_s=120.0), scenarios.cancel, "the cancelled job's pods are gone"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_goes_wrong_is_noticed(played, site, faults, scenario, said):
    played.misbehave(faults)
    with pytest.raises(AssertionError, match=said):
        scenario(site)


def test_a_stranger_who_may_read_jobs_is_noticed(site):
    site.kubectl("create", "role", "too-much", "--verb=get,list", "--resource=rayjobs.ray.io")
    site.kubectl("create", "rolebinding", "too-much", "--role=too-much", f"--serviceaccount={site.namespace}:stranger")
    with pytest.raises(AssertionError, match="a stranger may read rayjobs:"):
        scenarios.stranger(site)
    site.kubectl("delete", "role,rolebinding", "too-much")


def test_what_an_uninstallation_leaves_is_noticed(played, site):
    """The volume, and the token of the job's Ray cluster. It comes last: the release is gone then."""
    played.misbehave(Faults(claims_stay=True, kept_kinds=frozenset({"Secret"})))
    with pytest.raises(AssertionError, match=r"PersistentVolumeClaim objects-\S+-store-0, Secret smoke-\w+-00001"):
        scenarios.uninstall(site)
