"""The state of a RayJob as text."""

from histoseg.kube.objects import Object, RayJob, read
from histoseg.kube.rayjob import RESULTS
from histoseg.kube.refusals import one_line
from histoseg.runs.follow import cause_of

TERMINAL = ("Complete", "Failed", "ValidationFailed")  # The last values of jobDeploymentStatus (KubeRay 1.7)
SUBMITTER = "batch.kubernetes.io/job-name"  # KubeRay's submitter is a Job of the RayJob's name
ATTEMPT = "batch.kubernetes.io/controller-uid"  # That Job's uid; KubeRay creates another Job for another attempt


def describe(found: Object) -> str:
    """A RayJob's state in a few words."""
    job = rayjob(found)
    if job.deleted:
        return "being deleted"
    why = "".join(
        f": {one_line(text)}" for text in (job.reason, cause_of(job.message)) if text
    )  # Such as `: AppFailed: …`
    if job.deployment_status == "Complete":
        return "succeeded" if has_succeeded(found) else f"ended as {job.job_status}{why}"
    words = {
        "": "suspended" if job.suspend else "waits for KubeRay",
        "Initializing": f"starting{_attempt(job)}, workers: {workers(job)}",
        "Waiting": "waits to be run",
        "Running": f"running, workers: {workers(job)}",
        "Retrying": f"failed and is tried again{why}",
        "Failed": f"failed{why}",
        "ValidationFailed": f"refused by KubeRay{why}",
        "Suspending": "being suspended",
        "Suspended": "suspended",
    }
    return words.get(job.deployment_status, f"{job.deployment_status}{why}")


def results_url(found: Object) -> str:
    """The store URL of its results, as noted when it was submitted; "" if there is no such note."""
    return rayjob(found).annotations.get(RESULTS, "")


def is_terminal(found: Object) -> bool:
    """Whether its state is final."""
    return rayjob(found).deployment_status in TERMINAL


def has_succeeded(found: Object) -> bool:
    """Whether it has ended with success."""
    job = rayjob(found)
    return (job.deployment_status, job.job_status) == ("Complete", "SUCCEEDED")


def is_going(found: Object) -> bool:
    """Whether it is being deleted."""
    return bool(rayjob(found).deleted)


def rayjob(found: Object) -> RayJob:
    """The fields of a RayJob that are read here."""
    return read(RayJob, found, "RayJob")


def _attempt(job: RayJob) -> str:
    """KubeRay tries each failure again, also a job whose pods did not start in time; each attempt has its own time."""
    return f" again (attempt {job.failures + 1} of {job.retries + 1})" if job.failures else ""


def since(job: RayJob) -> str:
    """The time of its last known change."""
    return job.ended or job.started or job.created or "?"


def workers(job: RayJob) -> str:
    """How many of its workers are ready."""
    return f"{job.ready_workers} of {job.desired_workers} ready"
