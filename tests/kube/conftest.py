import textwrap
from types import SimpleNamespace

import pytest
import yaml

COMMAND = "make submit EXP=table1 CLUSTER=lab"
IMAGE = "registry.example/histoseg-train:0.1.0"


@pytest.fixture
def server(api_server, kubelet, team):
    """The API server's namespace `team`, as a user sees it who may not create pods, with a played KubeRay."""
    from tests.kube.lab import lab

    with lab(api_server, kubelet) as opened:
        opened.refuse("create pods")
        yield opened


@pytest.fixture
def kubeconfig(request, tmp_path, monkeypatch):
    """The path of a kubeconfig with a context `lab` for the server, if there is one; set as KUBECONFIG."""
    has_server = "server" in request.fixturenames
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig_text(request.getfixturevalue("server").url if has_server else "http://127.0.0.1:9"))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def kubeconfig_text(url: str, context: str = "lab", namespace: str = "team") -> str:
    return textwrap.dedent(f"""
        apiVersion: v1
        kind: Config
        current-context: {context}
        clusters: [{{name: {context}, cluster: {{server: "{url}"}}}}]
        users: [{{name: me, user: {{token: very-secret-token}}}}]
        contexts: [{{name: {context}, context: {{cluster: {context}, user: me, namespace: "{namespace}"}}}}]
        """)


@pytest.fixture
def cluster(server, kubeconfig):
    """The server as histoseg reaches it; busy servers are asked again without delay."""
    from dataclasses import replace

    from histoseg.kube.api import Cluster

    made = Cluster.connect("lab")
    yield replace(made, patience_s=0.3, sleep=lambda _seconds: None)
    made.close()


@pytest.fixture
def data():
    """What the chart writes into its ConfigMap."""
    from tests.kube.example import ray_job

    template = ray_job()
    template["metadata"] = {"namespace": "team", "labels": template["metadata"]["labels"]}
    del template["spec"]["entrypoint"]
    settings = {
        "chart": {"version": "0.1.0", "appVersion": "0.1.0"},
        "rayVersion": "2.60.0",
        "image": IMAGE,
        "store": {
            "url": "s3://bucket/prefix",
            "endpoint": "",
            "region": "us-east-1",
            "existingSecret": "store-keys",
            "accessKeyKey": "access",
            "secretKeyKey": "secret",
        },
        "rawData": "",
        "queue": "",
        "crds": [{"name": "rayjobs.ray.io", "version": "v1"}],
    }
    return {"rayjob.yaml": yaml.safe_dump(template), "settings.yaml": yaml.safe_dump(settings)}


@pytest.fixture
def settings(data):
    """Those settings."""
    from histoseg.kube.settings import Settings

    return Settings.parse(data, "ConfigMap team/histoseg-settings", "histoseg")


@pytest.fixture
def job(settings):
    """What the tests ask for, as the release gets it."""
    from histoseg.kube.rayjob import addressed
    from histoseg.runs.request import Request

    return addressed(Request(experiment="table1", scale="paper", seeds=3, workers=2), settings)


@pytest.fixture
def mistake():
    from histoseg.errors import ClusterError

    return ClusterError


@pytest.fixture
def name(job):
    return job.name


@pytest.fixture
def pace():
    from histoseg.runs.follow import Pace

    return Pace(poll_s=0.0, silence_s=0.2, deletion_s=0.5, outage_s=0.5)


@pytest.fixture
def act(server, cluster, job, settings, pace):
    """Submit the job to a cluster whose KubeRay goes through these scripts; gives what was shown, and the results."""
    from histoseg.kube.submit import submit

    def do(*scripts, job=job, settings=settings, pace=pace, shown=None):
        server.scripts.extend([list(script) for script in scripts])
        shown = [] if shown is None else shown
        results = submit(cluster, job, settings, COMMAND, shown.append, pace)
        return shown, results

    return do


@pytest.fixture
def later(monkeypatch):
    """A look at which there is nothing new, 100 s after the one before: no other time passes for the follower."""
    now = [0.0]
    monkeypatch.setattr("histoseg.runs.follow.time", SimpleNamespace(monotonic=lambda: now[0]))

    def step(api, name):
        now[0] += 100.0

    return step
