"""What can be done about a job on a cluster: run it, ask how it stands, fetch its table, end it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from histoseg.errors import ClusterError
from histoseg.jobs import Job, results_folder
from ray_jobs.options import Options

if TYPE_CHECKING:
    from histoseg.storage import Store


def act(options: Options) -> str:
    """Do it; returns what the last line says.

    Raises:
        HistosegError: With one line that says what is wrong and what to do.
    """
    return _on_kubernetes(options) if options.cluster else _on_ray(options)


def _on_ray(options: Options) -> str:
    from histoseg.storage import connect
    from ray_jobs.jobs_api import RemoteRay

    ray = RemoteRay(address=options.ray_address, ship=options.ship)
    job = options.job("")
    if options.action == "dry-run":
        return json.dumps(ray.manifest(job, options.command), indent=2)
    if options.action == "status":
        return ray.status(job)
    if options.action == "cancel":
        return ray.cancel(job)
    if options.action == "results":
        return str(fetch(connect(job.store), job, ray.name(job), options.out))
    return page_url(job, ray.submit(job, options.command, print))


def page_url(job: Job, name: str) -> str:
    """Where in the store a job has left its page."""
    return f"{job.store}/{results_folder(job.experiment, name)}/index.html"


def fetch(store: "Store", job: Job, name: str, out: Path) -> Path:
    """Copy what a job has left in the store below `out`; returns the page's path.

    Raises:
        ClusterError: If it has left nothing yet.
        StorageError: If the store cannot be read from here.
    """
    from histoseg.storage import FileStore

    source = results_folder(job.experiment, name)
    keys = sorted(store.list(f"{source}/"), key=lambda key: key.endswith("/index.html"))
    if not keys:
        raise ClusterError(
            f"{store.url}/{source} is empty: job {name} has left no results yet; STATUS=1 says how it stands"
        )
    target = FileStore((out / job.experiment).resolve())
    for key in keys:
        target.put(key.removeprefix(f"{source}/"), store.get(key))
    return target.root / "index.html"
