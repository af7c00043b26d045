"""The jobs of a namespace: their state, where their results lie, and how to cancel them."""

from histoseg.errors import ClusterError
from histoseg.kube.api import Cluster
from histoseg.kube.objects import Object
from histoseg.kube.rayjob import JOB, RESULTS
from histoseg.kube.state import details, is_going, results_url, table


def status(cluster: Cluster, name: str = "") -> str:
    """The state of a job in a few lines; without a name, a table of all jobs of the namespace."""
    if not name:
        jobs = cluster.rayjobs(JOB)
        return table(jobs) if jobs else f"no jobs in namespace {cluster.namespace!r} of {cluster.context!r}"
    return details(cluster, _find(cluster, name, "look for its results with RESULTS=1"))


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
