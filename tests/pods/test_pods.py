"""The chart's pods, run from the Dockerfile's images: a Ray of them fills a table, though its worker is taken away.

Real: images, pod specs, restricted security contexts, read-only roots, an address for each pod, token authentication,
the store, the RayJob that `make submit` makes. Played: KubeRay (commands, token) and the kubelet (kubelet.py).
"""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.pods.podman import podman
from tests.pods.submitted import Submitted, wait

WANTED = {
    "HISTOSEG_PODS=1": os.environ.get("HISTOSEG_PODS") == "1",
    "podman": shutil.which("podman") is not None,
    "root": os.geteuid() == 0,
}
MISSING = ", ".join(what for what, is_there in WANTED.items() if not is_there)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"`make test-pods` runs this; it needs {MISSING}"),
]


def finish(submitted: Submitted) -> str:
    """Wait for the end; returns the log, in which each cell was recorded once, and a page was left."""
    wait("the job ended", lambda: not submitted.is_followed(), 1200)
    log = submitted.log()
    assert submitted.status() == "SUCCEEDED", log
    assert len(submitted.records()) == 2, log  # MAML and transfer learning for one pair of tasks and one seed
    for record in submitted.records():
        assert log.count(f"run {Path(record).stem} recorded") == 1, log
    names = {Path(key).name for key in submitted.keys(f"results/smoke/{submitted.job['metadata']['name']}")}
    assert names >= {"index.html", "smoke.md", "smoke.csv"}
    return log


def is_training(submitted: Submitted) -> bool:
    assert submitted.is_followed(), submitted.log()
    return len(set(re.findall(r"pretrain synthetic (\w+)  step", submitted.log()))) == 2


def test_a_killed_workers_cells_are_finished_by_the_next(submitted: Submitted) -> None:
    def has_checkpoint() -> bool:
        return any("/pretrain/step-" in key for key in submitted.keys("runs/"))

    wait("both methods train", lambda: is_training(submitted), 900)
    wait("one has a checkpoint", has_checkpoint, 300)
    assert len(submitted.records()) < 2, "it was over before a worker could be killed; raise optim.steps"
    submitted.cluster.lose("worker-1")
    submitted.start_worker("worker-2")
    assert "resumed at step" in finish(submitted)


def test_an_evicted_worker_saves_first_so_that_nothing_starts_from_the_beginning(submitted: Submitted) -> None:
    (group,) = submitted.job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    hook = group["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    wait("both methods train", lambda: is_training(submitted), 900)
    podman("exec", "worker-1-ray-worker", *hook, timeout_s=group["template"]["spec"]["terminationGracePeriodSeconds"])
    missing = 2 - len(submitted.records())  # A training that comes to its end within the notice has nothing to resume.
    assert missing, "it was over before its worker was gone; raise optim.steps"
    submitted.cluster.lose("worker-1")
    submitted.start_worker("worker-2")
    resumed = re.findall(r"runs/(\w+)/pretrain: resumed at step (\d+)", finish(submitted))
    assert len({run for run, _ in resumed}) == missing, resumed
