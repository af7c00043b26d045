"""The pods that a RayJob makes, and having the API server check them before anything is created.

With dryRun=All it checks an object as for its creation (schema, admission webhooks, Pod Security, quotas, missing
accounts) and stores nothing. KubeRay makes a job's pods only after the RayJob is there, and reports a refused pod long
after that; so the pods are checked here as well, if the user may create pods.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from histoseg.kube.api import Cluster
from histoseg.kube.chart_values import HEAD, JOB, SUBMITTER, group_value, with_value
from histoseg.kube.objects import Object, PodSpec, read
from histoseg.kube.rayjob import num_pods
from histoseg.kube.refusals import RefusedError


@dataclass(frozen=True, kw_only=True)
class JobPods:
    """Equal pods of a job.

    Attributes:
        group: "head", "submitter", or the name of a worker group.
        count: How many there may be at a time.
    """

    group: str
    count: int = 1
    is_worker: bool = False
    template: Object

    @property
    def where(self) -> str:
        """Where they are found, for errors."""
        return f"pods of {self.group} in the job template"

    @property
    def spec(self) -> PodSpec:
        """The fields of their spec that are read here."""
        return read(PodSpec, self.template["spec"], self.where)


def job_pods(job: Object) -> list[JobPods]:
    """The pods of a RayJob when all its workers are there; the head's with the autoscaler that KubeRay adds."""
    cluster = job["spec"]["rayClusterSpec"]
    autoscaling = bool(cluster.get("enableInTreeAutoscaling"))
    head = cluster["headGroupSpec"]["template"]
    submitter = job["spec"].get("submitterPodTemplate")
    return [
        JobPods(group=HEAD, template=_with_autoscaler(head, cluster) if autoscaling else head),
        *(
            JobPods(
                group=group["groupName"],
                count=num_pods(group, autoscaling),
                is_worker=True,
                template=group["template"],
            )
            for group in cluster["workerGroupSpecs"]
        ),
        *([JobPods(group=SUBMITTER, template=submitter)] if submitter else []),
    ]


def _with_autoscaler(head: Object, cluster: Object) -> Object:
    """The head's pod with the container of the autoscaler, as KubeRay's BuildAutoscalerContainer makes it."""
    options, containers = cluster.get("autoscalerOptions") or {}, head["spec"]["containers"]
    fields = {key: options[key] for key in ("resources", "securityContext", "volumeMounts") if key in options}
    added = {"name": "autoscaler", "image": containers[0].get("image"), **fields}
    return {**head, "spec": {**head["spec"], "containers": [*containers, added]}}


def require_accepted(cluster: Cluster, job: Object, overrides: Mapping[str, Object]) -> bool:
    """Refuse a RayJob that the API server would refuse; returns whether its pods were checked as well.

    `overrides` are those of the release's settings, so that the refusal can name the value behind it.
    """
    about = JOB
    try:
        cluster.try_rayjob(job)
        for pods in job_pods(job):
            about = group_value(pods.group) if pods.is_worker else pods.group
            if not cluster.try_pod(_pod(job, pods)):
                return False
    except RefusedError as error:
        raise with_value(error, about, job, overrides) from None
    return True


def _pod(job: Object, pods: JobPods) -> Object:
    """A pod of the job, before KubeRay adds its own environment and probes."""
    metadata = {**(pods.template.get("metadata") or {}), "generateName": f"{job['metadata']['name']}-{pods.group}-"}
    spec = {"restartPolicy": "Always", **pods.template["spec"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
