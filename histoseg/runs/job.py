"""One submission to a cluster: what is asked for, under a name that stands for it."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from histoseg.runs.config import require
from histoseg.runs.plain import digest

RELEASE = "histoseg"  # The chart's usual release
DRIVER = "ray_jobs.driver"  # The module that a cluster runs: `python -m ray_jobs.driver …`
MAX_NAME_CHARS = 47  # KubeRay's limit for a RayJob: it appends to the name, and Kubernetes ends names at 63.
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # DNS-1035, what KubeRay demands
PREPARED, DEMO = "prepared", "demo"


@dataclass(frozen=True, kw_only=True)
class Job:
    """An experiment as a cluster is asked for it.

    Attributes:
        sets: Assignments such as optim.steps=200.
        data: `prepared` (what the store holds), `demo` (drawn there), or a folder as the cluster's pods see it.
        store: s3://bucket/prefix, as the pods see it.
        workers: Ray workers of each run; no part of the name, for it changes no result.
    """

    experiment: str
    scale: str = "laptop"
    seeds: int = 1
    sets: tuple[str, ...] = ()
    data: str = PREPARED
    store: str
    workers: int = field(default=1, compare=False)

    def __post_init__(self) -> None:
        require(self.seeds >= 1, "job.seeds", self.seeds, "at least 1")
        require(self.workers >= 1, "job.workers", self.workers, "at least 1")
        known = self.data in (PREPARED, DEMO) or self.data.startswith("/")
        require(known, "job.data", self.data, f"{PREPARED}, {DEMO}, or an absolute folder as the pods see it")
        require(
            self.store.startswith("s3://"), "job.store", self.store, "s3://bucket/prefix, which every pod can reach"
        )

    def name(self, code: str) -> str:
        """The job's name, valid for Kubernetes: the experiment and a hash of all that its result depends on.

        Args:
            code: What runs it, such as an image's digest: other code is another job.
        """
        asked = [self.experiment, self.scale, self.seeds, list(self.sets), self.data, self.store, code]
        stem = re.sub(r"[^a-z0-9]+", "-", self.experiment.lower()).strip("-")
        return f"{stem[: MAX_NAME_CHARS - 9].rstrip('-')}-{digest(asked)[:8]}"

    def entrypoint(self, name: str, capacity: Mapping[str, float]) -> str:
        """The command line that runs it in a cluster.

        Args:
            name: The job's name, under which it leaves its results.
            capacity: What the cluster's workers will have when all are there, in Ray's words: {"CPU": 8, "GPU": 2}.
        """
        words = ["python", "-m", DRIVER, "--name", name, "--experiment", self.experiment, "--scale", self.scale]
        words += ["--store", self.store, "--data", self.data]
        words += ["--seeds", str(self.seeds), "--workers", str(self.workers)]
        words += ["--set", " ".join(self.sets)] if self.sets else []
        words += ["--capacity", ",".join(f"{key}={amount:g}" for key, amount in capacity.items())] if capacity else []
        return shlex.join(words)


def results_folder(experiment: str, name: str) -> str:
    """Where in the store a job leaves its table, page and figures."""
    return f"results/{experiment}/{name}"
