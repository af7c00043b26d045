"""What can be done about a job on a cluster: run it, ask how it stands, fetch its table, end it."""

import json
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from histoseg.errors import ClusterError
from histoseg.runs.job import Job, results_folder
from ray_jobs.options import Options

if TYPE_CHECKING:
    from histoseg.kube.api import Cluster
    from histoseg.kube.settings import Settings
    from histoseg.store.objects import Store


def act(options: Options) -> str:
    """Do it; returns what the last line says.

    Raises:
        HistosegError: With one line that says what is wrong and what to do.
    """
    if options.experiment:
        from histoseg.pipeline.plan import data_of

        data_of(options.experiment, options.scale, options.sets)  # Refuses what cannot be before anything is sent.
    return _on_kubernetes(options) if options.cluster else _on_ray(options)


def _on_kubernetes(options: Options) -> str:
    from histoseg.kube.api import Cluster
    from histoseg.kube.settings import fullname

    role = f"{fullname(options.release)}-researcher"
    with closing(Cluster.connect(options.cluster, options.namespace, role)) as cluster:
        return _act_on_kubernetes(options, cluster)


def _act_on_kubernetes(options: Options, cluster: "Cluster") -> str:
    from histoseg.kube import follow
    from histoseg.kube.settings import Settings
    from histoseg.store.objects import connect

    if not (options.experiment or options.name):
        return follow.status(cluster)
    runs = options.action in ("run", "dry-run")
    settings = Settings.read(cluster, options.release, strict=runs)
    if options.action == "status":
        return follow.status(cluster, _name(options, settings))
    if options.action == "cancel":
        follow.cancel(cluster, _name(options, settings), show)
        return _name(options, settings)
    if options.action == "results":
        _reach_store_as(settings)
        where = follow.results_of(cluster, options.name) if options.name else _results_url(options, settings)
        url, *parts = where.rsplit("/", 3)
        return str(fetch(connect(url), "/".join(parts), options.out))
    job = options.job(settings.store.url)
    _require_raw_data(job, settings)
    if options.action == "dry-run":
        return follow.dry_run(job, settings, options.command)
    return f"{follow.submit(cluster, job, settings, options.command, show).results}/index.html"


def _name(options: Options, settings: "Settings") -> str:
    return options.name or options.job(settings.store.url).name(settings.image)


def _results_url(options: Options, settings: "Settings") -> str:
    return results_url(options.job(settings.store.url), _name(options, settings))


def _require_raw_data(job: Job, settings: "Settings") -> None:
    """Refuse a folder that no pod sees.

    Raises:
        ClusterError: With where the pods see raw data, or how they could.
    """
    mounted = settings.raw_data
    if job.data.startswith("/") and not (mounted and Path(job.data).is_relative_to(mounted)):
        seen = f"they see {mounted}" if mounted else "they see none; `helm upgrade` with rawData.existingClaim"
        raise ClusterError(f"DATA={job.data} is not what the pods see: {seen}, or leave DATA out to use the store's")


def _reach_store_as(settings: "Settings") -> None:
    """Point S3 clients of this process to the release's store, unless the environment says where it is from here."""
    if not any(os.environ.get(f"AWS_ENDPOINT_URL{end}") for end in ("", "_S3")) and settings.store.endpoint:
        os.environ["AWS_ENDPOINT_URL_S3"] = settings.store.endpoint
    if settings.store.region:
        os.environ.setdefault("AWS_REGION", settings.store.region)


def _on_ray(options: Options) -> str:
    from histoseg.store.objects import connect
    from ray_jobs.jobs_api import RemoteRay

    ray = RemoteRay(address=options.ray_address, ship=options.ship)
    if options.name and options.action != "results":
        return ray.status(options.name) if options.action == "status" else ray.cancel(options.name)
    job = options.job("")
    name = options.name or ray.name(job)
    if options.action == "dry-run":
        return json.dumps(ray.manifest(job, options.command), indent=2)
    if options.action == "status":
        return ray.status(name)
    if options.action == "cancel":
        return ray.cancel(name)
    if options.action == "results":
        return str(fetch(connect(job.store), results_folder(job.experiment, name), options.out))
    return f"{results_url(job, ray.submit(job, options.command, show))}/index.html"


def show(line: str) -> None:
    """Print a line at once, also into a file or pipe."""
    print(line, flush=True)


def results_url(job: Job, name: str) -> str:
    """Where in the store a job leaves its results."""
    return f"{job.store}/{results_folder(job.experiment, name)}"


def fetch(store: "Store", source: str, out: Path) -> Path:
    """Copy what a job has left in the store below `out`; returns the page's path.

    Args:
        store: The job's store.
        source: Its folder there, results/<experiment>/<job>.
        out: The experiment gets a folder of its own below it.

    Raises:
        ClusterError: If it has left nothing yet, or not all.
        StorageError: If the store cannot be read from here.
    """
    from histoseg.store.objects import FileStore

    _, experiment, name = source.split("/")
    keys, page = store.list(f"{source}/"), f"{source}/index.html"
    if not keys:
        raise ClusterError(
            f"{store.url}/{source} is empty: job {name} has left no results yet; STATUS=1 says how it stands"
        )
    if page not in keys:  # It is put last.
        raise ClusterError(
            f"{store.url}/{source} has no index.html yet: the results of job {name} are still being written; repeat "
            f"the command, or see with STATUS=1 how it stands"
        )
    target = FileStore((out / experiment).resolve())
    target.delete("index.html")  # Of an earlier job, if this ends half-way.
    for key in sorted(keys, key=lambda key: key == page):
        target.put(key.removeprefix(f"{source}/"), store.get(key))
    return target.root / "index.html"
