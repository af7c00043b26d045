"""A job as `make submit` and the chart describe it, running in pods."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import boto3

from histoseg.kube.rayjob import addressed, manifest
from histoseg.kube.settings import Settings
from histoseg.runs.request import DEMO, Request
from tests.charts.rendering import NAMESPACE, one
from tests.pods import kubelet
from tests.pods.podman import Cluster, podman

SUBNET = "10.89.77.0/24"
STORE_IP, HEAD_IP = "10.89.77.10", "10.89.77.11"
STORE, HEAD = f"histoseg-store.{NAMESPACE}.svc", f"smoke-head-svc.{NAMESPACE}.svc.cluster.local"
SECRETS = {"histoseg-store": {"AWS_ACCESS_KEY_ID": "histoseg", "AWS_SECRET_ACCESS_KEY": "only-for-this-test"}}
TOKEN = "0123456789abcdef" * 4  # As long as KubeRay's; Ray takes no short ones.
BUCKET, PREFIX = "histoseg", "test/demo"  # Demo data lies below a prefix of its own.
ASK_STATUS = """
import json, sys
from ray.job_submission import JobSubmissionClient
print(json.dumps(JobSubmissionClient("http://127.0.0.1:8265").get_job_status(sys.argv[1])))
"""


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What runs, and how to look at it.

    Attributes:
        job: The RayJob.
        head: The head's container; `submitter` likewise.
        store: A client of the store.
    """

    cluster: Cluster
    job: Mapping[str, Any]
    head: str
    submitter: str
    store: Any

    @classmethod
    def start(cls, cluster: Cluster, chart: list[dict[str, Any]]) -> "Submitted":
        """Start store, head, the worker `worker-1` and the submitter."""
        job = job_of(chart)
        store = start_store(cluster, one(chart, "StatefulSet", "store")["spec"]["template"])
        group = job["spec"]["rayClusterSpec"]["headGroupSpec"]
        head = cluster.start(played(cluster, kubelet.ray_pod("head", group, HEAD, TOKEN)), HEAD_IP)
        for port, path in {
            kubelet.AGENT_PORT: "api/local_raylet_healthz",
            kubelet.DASHBOARD_PORT: "api/gcs_healthz",
        }.items():
            ask = ["exec", head, "wget", "-T", "4", "-q", "-O-", f"http://127.0.0.1:{port}/{path}"]
            wait(f"the head says it is healthy at {path}", lambda ask=ask: "success" in podman(*ask, check=False), 120)
        start_worker(cluster, job, "worker-1")
        submitter = cluster.start(played(cluster, kubelet.submitter_pod(job, HEAD, TOKEN)))
        return cls(cluster=cluster, job=job, head=head, submitter=submitter, store=store)

    def start_worker(self, name: str) -> None:
        start_worker(self.cluster, self.job, name)

    def log(self) -> str:
        """What the submitter's pod has printed."""
        return podman("logs", self.submitter)

    def is_followed(self) -> bool:
        """Whether the submitter's pod still runs."""
        return podman("inspect", self.submitter, "--format", "{{.State.Running}}").strip() == "true"

    def status(self) -> str:
        """What Ray says of the job."""
        return json.loads(podman("exec", self.head, "python", "-c", ASK_STATUS, self.job["spec"]["jobId"]))

    def keys(self, prefix: str) -> list[str]:
        """The store's objects whose keys begin so."""
        found = self.store.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/{prefix}")
        return [each["Key"].removeprefix(f"{PREFIX}/") for each in found.get("Contents", [])]

    def records(self) -> list[str]:
        return [key for key in self.keys("records/smoke/") if key.endswith(".json")]


def job_of(chart: list[dict[str, Any]]) -> dict[str, Any]:
    """The RayJob that `make submit EXP=smoke` makes of this chart; long enough to be interrupted."""
    settings = Settings.parse(one(chart, "ConfigMap", "settings")["data"], "the rendered chart", "histoseg")
    asked = Request(experiment="smoke", sets=("optim.steps=800",), data=DEMO, store=f"s3://{BUCKET}/test")
    return manifest(addressed(asked, settings), settings, "make test-pods")


def start_store(cluster: Cluster, template: Mapping[str, Any]) -> Any:
    """Run the store and its postStart hook; returns a client."""
    container = cluster.start(played(cluster, kubelet.pod("store", template)), STORE_IP)
    hook = template["spec"]["containers"][0]["lifecycle"]["postStart"]["exec"]["command"]
    podman("exec", container, *hook, timeout_s=150)
    keys = SECRETS["histoseg-store"]
    return boto3.client(
        "s3",
        endpoint_url=f"http://{STORE_IP}:8333",
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )


def start_worker(cluster: Cluster, job: Mapping[str, Any], name: str) -> None:
    """Run a pod of the job's only group of workers."""
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    cluster.start(played(cluster, kubelet.ray_pod(name, group, HEAD, TOKEN)))


def played(cluster: Cluster, pod: Mapping[str, Any]) -> dict[str, Any]:
    return kubelet.for_podman(pod, cluster.folder, cluster.services, SECRETS)


def wait(what: str, is_so: Callable[[], object], timeout_s: float) -> None:
    """Return once it is so."""
    until = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(1)
