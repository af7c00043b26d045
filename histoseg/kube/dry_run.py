"""Having the API server check a job before anything is created.

With dryRun=All it checks an object as for its creation (schema, admission webhooks, Pod Security, quotas, missing
accounts) and stores nothing. KubeRay makes a job's pods only after the RayJob is there, and reports a refused pod long
after that; so the pods are checked here as well, if the user may create pods.
"""

from histoseg.kube.api import Cluster
from histoseg.kube.job_pods import JobPods, job_pods
from histoseg.kube.objects import Object


def require_accepted(cluster: Cluster, job: Object) -> bool:
    """Refuse a RayJob that the API server would refuse; returns whether its pods were checked as well."""
    cluster.try_rayjob(job)
    return all(cluster.try_pod(_pod(job, pods)) for pods in job_pods(job))


def _pod(job: Object, pods: JobPods) -> Object:
    """A pod of the job, before KubeRay adds its own environment and probes."""
    metadata = {**(pods.template.get("metadata") or {}), "generateName": f"{job['metadata']['name']}-{pods.group}-"}
    spec = {"restartPolicy": "Always", **pods.template["spec"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
