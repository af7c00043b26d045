"""What is in a job's way, or happened to its pods, from all objects around its RayJob."""

from collections.abc import Sequence

from histoseg.kube import pending_reasons, pod_deaths
from histoseg.kube.api import Cluster
from histoseg.kube.objects import Object, Pod, RayJob, read
from histoseg.kube.pending_reasons import UNSCHEDULABLE
from histoseg.kube.queue_reasons import from_kueue
from histoseg.kube.rayjob import JOB
from histoseg.kube.reasons import PodReason, grouped
from histoseg.kube.refusals import RefusedError
from histoseg.kube.state import SUBMITTER, has_succeeded, is_terminal, rayjob
from histoseg.runs.follow import Reason

QUEUE = "kueue.x-k8s.io/queue-name"
RAY_CLUSTER = "ray.io/cluster"  # KubeRay's label of all pods of a Ray cluster


def find_reasons(cluster: Cluster, found: Object) -> list[Reason]:
    """Why a job does not run, and what its pods died of, most telling first; empty if all is well or nothing known."""
    job = rayjob(found)
    if has_succeeded(found) or job.deleted:
        return []
    if job.suspend and not is_terminal(found):
        return [_why_suspended(cluster, job)]
    pods = _pods(cluster, job)
    events = cluster.pod_events() if job.ray_cluster else []
    gone = [event for event in events if event.about not in {pod.name for pod in pods}]
    deaths = [
        *pod_deaths.from_pods(pods),
        *(pod_deaths.from_events(gone, job.ray_cluster, job.created) if job.ray_cluster else ()),
    ]
    if is_terminal(found):
        return grouped(deaths)
    dead = {death.pod for death in deaths}
    hanging = pending_reasons.from_pods([pod for pod in pods if pod.name not in dead])
    known = dead | {reason.pod for reason in hanging}
    others = [pod for pod in pods if pod.phase == "Pending" and pod.name not in known]
    hanging += pending_reasons.from_pod_events(events, others, job.created)
    waiting = [*grouped(hanging), *_of_others(cluster, job.name, hanging)]
    return [*grouped(deaths), *(waiting or _of_job(cluster, job))]


def _pods(cluster: Cluster, job: RayJob) -> list[Pod]:
    selectors = [f"{RAY_CLUSTER}={job.ray_cluster}"] if job.ray_cluster else []
    listed = [pod for selector in (*selectors, f"{SUBMITTER}={job.name}") for pod in cluster.pods(selector)]
    return [read(Pod, pod, f"a pod of {job.name}") for pod in listed]


def _of_job(cluster: Cluster, job: RayJob) -> list[Reason]:
    """Why KubeRay makes no pods."""
    refused = pending_reasons.from_ray_cluster(job.cluster_conditions)
    if refused or job.deployment_status == "Running":
        return [refused] if refused else []
    names = [job.name, *([job.ray_cluster] if job.ray_cluster else [])]
    events = [event for name in names for event in cluster.events(name)]
    reason = pending_reasons.from_events(events, job.created)
    return [reason] if reason else []


def _of_others(cluster: Cluster, name: str, hanging: Sequence[PodReason]) -> list[Reason]:
    """Which finished jobs still have the nodes that this one's pods want: Kueue gives their quota away at once."""
    if all(reason.kind != UNSCHEDULABLE for reason in hanging):
        return []
    ended = [job for each in cluster.rayjobs(JOB) if is_terminal(each) and (job := rayjob(each)).name != name]
    held = _clusters_with_pods(cluster.pods(RAY_CLUSTER)) if ended else set()
    holders = sorted((each for each in ended if each.ray_cluster in held), key=lambda each: each.ended)
    return [_still_there(holders)] if holders else []


def _clusters_with_pods(pods: Sequence[Object]) -> set[str]:
    return {pod["metadata"]["labels"][RAY_CLUSTER] for pod in pods}


def _still_there(holders: Sequence[RayJob]) -> Reason:
    names = ", ".join(job.name for job in holders)
    ttl_s = max(job.ttl_s for job in holders)
    text = (
        f"the pods of {names} are still there, which ended at {holders[-1].ended}: they go {ttl_s} s after the end "
        f"(job.ttlSecondsAfterFinished) and make room then"
    )
    return Reason(kind=f"held by {names}", text=text)


def _why_suspended(cluster: Cluster, job: RayJob) -> Reason:
    queue = job.labels.get(QUEUE)
    if not queue:
        return Reason(kind="suspended", text="spec.suspend was set by hand; set it to false to go on")
    try:
        return from_kueue(cluster.workloads(job.uid), queue, cluster.local_queue(queue))
    except RefusedError as error:
        return Reason(kind="queue", text=f"waits in Kueue's queue {queue!r}; why is unknown: {error}")
