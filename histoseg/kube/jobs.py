"""The jobs of a namespace: their state, where their results lie, and how to cancel them."""

from collections.abc import Sequence

from histoseg.errors import ClusterError
from histoseg.kube.api import Cluster
from histoseg.kube.objects import Object
from histoseg.kube.obstacles import find_reasons
from histoseg.kube.rayjob import EXPERIMENT, JOB, RESULTS
from histoseg.kube.refusals import RefusedError
from histoseg.kube.settings import INSTANCE
from histoseg.kube.state import describe, is_going, is_terminal, rayjob, results_url, since, workers


def status(cluster: Cluster, name: str = "", release: str = "") -> str:
    """The state of a job in a few lines; without a name, a table of all jobs of the namespace, or of a release."""
    if name:
        return details(
            cluster,
            _find(
                cluster,
                name,
                "its results, if it had any, are found by RESULTS=1 with its EXP= (--results --experiment)",
            ),
        )
    jobs = cluster.rayjobs(f"{JOB},{INSTANCE}={release}" if release else JOB)
    of = f" of release {release!r}" if release else ""
    return table(cluster, jobs) if jobs else f"no jobs{of} in namespace {cluster.namespace!r} of {cluster.context!r}"


def details(cluster: Cluster, found: Object) -> str:
    """The state in a few lines, with what is in the job's way and where its results go."""
    job = rayjob(found)
    lines = [f"{job.name}: {describe(found)}", f"since {since(job)}, workers: {workers(job)}"]
    results = f"results: {results_url(found) or 'unknown: it was not submitted by histoseg'}"
    return "\n".join([*lines, *_obstacles(cluster, found), results])


def table(cluster: Cluster, found: Sequence[Object]) -> str:
    """Many jobs, a line each."""
    rows = [["NAME", "EXPERIMENT", "SINCE", "STATE", "WAITS FOR"]]
    for each in sorted(found, key=lambda each: rayjob(each).created):
        job = rayjob(each)
        obstacles = [] if is_terminal(each) else _obstacles(cluster, each)
        rows.append([job.name, job.labels.get(EXPERIMENT, ""), since(job), describe(each), " | ".join(obstacles)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _obstacles(cluster: Cluster, found: Object) -> list[str]:
    try:
        return [reason.text for reason in find_reasons(cluster, found)]
    except RefusedError as error:
        return [f"why it waits is unknown: {error}"]


def results_of(cluster: Cluster, name: str) -> str:
    """Where in the store the results of a job of this name lie, with any release or image."""
    found = _find(cluster, name, f"what it left lies in the release's store, at results/<experiment>/{name}")
    url = results_url(found)
    if not url:
        raise ClusterError(
            f"the RayJob {name} does not say where its results lie (no annotation {RESULTS}), so it was not made by "
            f"histoseg; STATUS=1 lists the jobs that were"
        )
    return url


def cancel(cluster: Cluster, name: str) -> str:
    """Delete a job, with its Ray cluster and pods; returns what happened. Repeating it does no harm."""
    found = cluster.rayjob(name)
    if found is None:
        return f"{name}: does not exist; nothing to cancel"
    if is_going(found):
        return f"{name}: is being deleted already"
    require_ours(found)
    cluster.delete_rayjob(name, found["metadata"]["uid"])
    return f"{name}: cancelled; its Ray cluster and pods go with it, what it finished stays in the store"


def require_ours(found: Object) -> None:
    """Refuse to touch a RayJob that was not made by histoseg."""
    name = found["metadata"]["name"]
    if (found["metadata"].get("labels") or {}).get(JOB) != name:
        raise ClusterError(f"the RayJob {name} was not made by histoseg (no label {JOB}); delete or rename it yourself")


def _find(cluster: Cluster, name: str, remedy: str) -> Object:
    """The job of this name, or an error that says where else to look."""
    found = cluster.rayjob(name)
    if found is None:
        raise ClusterError(
            f"no job {name} in namespace {cluster.namespace!r} of {cluster.context!r}: not submitted yet, or finished "
            f"and cleaned up; {remedy}"
        )
    return found
