"""What is done to a release before it is published, in this order, and what must be seen, within which time.

A scenario takes the site, leaves it as it found it (but for the store, where each has a part of its own), and raises
AssertionError with what was not seen, or MissingError with what the cluster lacks. Limits are seconds of a cluster that
has the images already; PATIENCE is a factor of all of them.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster.site import LONG, STORE_KEY, MissingError, Site, Submission

START_S = 300  # For a job's pods to start, and for it to train
BACK_S = 180  # For a pod that was lost to be replaced
END_S = 900  # For a job to end
SAID_S = 240  # For what is wrong to be said
GONE_S = 40  # For a job that was cancelled to be gone, with all of its pods
CHANGE_RIGHTS = ("create", "delete", "patch")


def install(site: Site) -> None:
    """The release is there: the store runs, and `make submit` finds the settings."""
    site.install()
    site.within(60, "the store is ready", lambda: all(is_ready(pod) for pod in site.get("pods", "-l", site.selector)))
    shown = site.ask("install", "--dry-run")
    assert shown.code == 0, shown.output
    assert "kind: RayJob" in shown.output, shown.output
    site.start_ledger()


def helm_test(site: Site) -> None:
    """`helm test` writes, reads and deletes an object with the release's key."""
    shown = site.helm("test", site.release, "--logs", "--timeout", f"{300 * site.patience:.0f}s")
    assert re.search(r"Phase:\s+Succeeded", shown), shown


def smoke(site: Site) -> None:
    """A small job records every cell at its first attempt, leaves a page, and its Ray cluster goes."""
    site.submit("smoke").finish(END_S)
    assert site.require_records("smoke").attempts == [1, 1]
    site.within(120, "the Ray cluster of the job that ended is gone", lambda: not site.get("rayclusters"))
    site.within(120, "its pods are gone", lambda: not site.pods("head") and not site.pods("worker"))


def repeat(site: Site) -> None:
    """The same command attaches to a running job; after its end it starts nothing; after a cancel it runs no cell."""
    first = site.submit("repeat")
    site.within(START_S, "the job is there", site.job)
    second = site.submit("repeat")
    first.finish(END_S), second.finish(60)
    before, uid = site.require_records("repeat"), job_uid(site)
    site.submit("repeat").finish(90)
    assert job_uid(site) == uid, "a job that has finished was replaced"
    cancel_job(site, "repeat")
    again = site.submit("repeat").finish(END_S)
    assert "recorded: " not in again, again
    assert site.require_records("repeat").records == before.records


def head_deleted(site: Site) -> None:
    """The head's pod is deleted amid training: another one starts, and the trainings go on from their checkpoints."""
    with disturbed(site, "head-deleted") as job:
        (head,) = site.pods("head")
        delete_pod(site, head)
        site.within(BACK_S, "another head is ready", lambda: has_other(site, "head", head))
        assert "resumed at step" in job.finish(END_S), job.output


def worker_deleted(site: Site) -> None:
    """The same for a worker; the job itself goes on."""
    with disturbed(site, "worker-deleted") as job:
        uid, worker = job_uid(site), site.pods("worker")[0]
        delete_pod(site, worker)
        site.within(BACK_S, "another worker is ready", lambda: has_other(site, "worker", worker))
        assert "resumed at step" in job.finish(END_S), job.output
        assert job_uid(site) == uid, "a lost worker ended the job"


def drain(site: Site) -> None:
    """The worker's node is drained of our workers alone; they save, leave, and go on on another node."""
    require_drain(site)
    with disturbed(site, "drain") as job:
        worker = site.pods("worker")[0]
        node, limit = worker["spec"]["nodeName"], f"--timeout={180 * site.patience:.0f}s"
        site.cordoned.append(node)
        only = f"--pod-selector={site.selector},ray.io/node-type=worker"
        site.kubectl("drain", node, only, "--ignore-daemonsets", "--delete-emptydir-data", "--force", limit)
        site.within(BACK_S, "another worker is ready", lambda: has_other(site, "worker", worker))
        assert all(pod["spec"]["nodeName"] != node for pod in site.pods("worker")), f"a worker was put on {node} again"
        assert "resumed at step" in job.finish(END_S), job.output
    site.uncordon()


def quota(site: Site) -> None:
    """A quota leaves room for one more pod: that is said, and the job starts by itself when the quota is raised."""
    if not site.may("create", "resourcequotas"):
        raise MissingError("the right to create resourcequotas")
    hard = len(site.get("pods", "--field-selector=status.phase!=Succeeded,status.phase!=Failed")) + 1
    site.kubectl("create", "quota", "few-pods", f"--hard=pods={hard}")
    try:
        site.within(60, "the quota is counted", lambda: site.get("quota", "few-pods")[0].get("status", {}).get("used"))
        job = site.submit("quota")
        job.shows(r"few-pods", SAID_S)
        assert "few-pods" in site.ask("quota", "--status").output
    finally:
        site.kubectl("delete", "quota", "few-pods")
    job.finish(END_S)
    assert site.require_records("quota").attempts == [1, 1]


def missing_secret(site: Site) -> None:
    """The Secret with the store's key is missing: that is said, and the job starts by itself when it is there."""
    site.kubectl("delete", "secret", STORE_KEY)
    try:
        job = site.submit("missing-secret")
        job.shows(rf"{STORE_KEY}\W.* not found", SAID_S)
        assert STORE_KEY in site.ask("missing-secret", "--status").output
    finally:
        site.put_store_key()
    job.finish(END_S)
    assert site.require_records("missing-secret").attempts == [1, 1]


def wrong_image(site: Site) -> None:
    """An image that is not there: it is named, and the job can be cancelled."""
    site.install("images.train.tag=no-such-tag", "images.train.digest=")
    try:
        job = site.submit("wrong-image")
        job.shows(r":no-such-tag.*(ErrImagePull|ImagePullBackOff|ErrImageNeverPull)", SAID_S)
        assert ":no-such-tag" in site.ask("wrong-image", "--status").output
        cancel_job(site, "wrong-image")
    finally:
        site.install()
    assert not site.store("wrong-image").records


def stranger(site: Site) -> None:
    """An account without our Role sees and changes nothing; one with it works with jobs, and reads no Secret."""
    researcher, other = site.kubeconfig_of("researcher"), site.kubeconfig_of("stranger")
    site.submit("stranger").finish(END_S)
    kinds = ("rayjobs", "rayclusters", "pods", "secrets", "configmaps", "events")
    found = {kind: site.kubectl("get", kind, check=False, kubeconfig=other) for kind in kinds}
    seen = sorted(kind for kind, said in found.items() if "orbidden" not in said)
    assert not seen, f"a stranger may read {', '.join(seen)}: {found}"
    allowed = [(verb, kind) for kind in ("rayjobs", "pods") for verb in CHANGE_RIGHTS if can(site, other, verb, kind)]
    assert not allowed, f"a stranger may {allowed}"
    refused = site.ask("", "--status", kubeconfig=other)
    assert (refused.code, "rayjobs" in refused.output) == (1, True), refused
    listed = site.ask("", "--status", kubeconfig=researcher)
    assert (listed.code, name_of(site) in listed.output) == (0, True), listed
    for verb, kind in (("get", "secrets"), ("create", "pods"), ("create", "pods/exec"), ("patch", "rayjobs")):
        assert not can(site, researcher, verb, kind), f"a researcher may {verb} {kind}"
    site.require_records("stranger")


def cancel(site: Site) -> None:
    """A job in the midst of training is cancelled: it is gone in seconds, and the same command goes on from there."""
    with disturbed(site, "cancel"):
        cancel_job(site, "cancel")
        again = site.submit("cancel", "--set", LONG)
        assert "resumed at step" in again.finish(END_S), again.output


def upgrade(site: Site) -> None:
    """The release is upgraded while a job trains, which goes on undisturbed; new jobs get the new settings."""
    job = site.submit("upgrade", "--set", LONG)
    await_training(site, job, "upgrade")
    uid = job_uid(site)
    site.install("job.backoffLimit=2")
    assert "backoffLimit: 2" in site.ask("upgrade", "--set", "optim.steps=7", "--dry-run").output
    job.finish(END_S)
    assert job_uid(site) == uid, "the upgrade replaced a running job"
    assert site.require_records("upgrade").attempts == [1, 1]
    site.install()


def autoscaling(site: Site) -> None:
    """A group without a worker gets one when there is work."""
    group = "workerGroups[0].replicas=0,workerGroups[0].minReplicas=0,workerGroups[0].maxReplicas=1"
    site.install("autoscaling.enabled=true,autoscaling.idleTimeoutSeconds=60", group)
    try:
        job = site.submit("autoscaling", "--set", LONG)
        site.within(START_S, "a worker was added", lambda: site.pods("worker"))
        job.finish(END_S)
        assert site.require_records("autoscaling").attempts == [1, 1]
    finally:
        site.install()


def uninstall(site: Site) -> None:
    """Removed as documented while a job runs; then nothing of the release is left but what was there before."""
    job = site.submit("uninstall", "--set", LONG)
    await_training(site, job, "uninstall")
    site.kubectl("delete", "pod", "ledger")
    site.kubectl("delete", "rayjobs", "--selector", site.selector, f"--timeout={GONE_S * site.patience:.0f}s")
    site.helm("uninstall", site.release, "--wait", "--timeout", f"{300 * site.patience:.0f}s")
    site.kubectl("delete", "pvc", "--selector", site.selector, "--wait=false")
    left = lambda: f"nothing of the release is left; there is {', '.join(leftovers(site))}"  # noqa: E731
    site.within(90, left, lambda: not leftovers(site))


SCENARIOS: tuple[Callable[[Site], None], ...] = (
    install,
    helm_test,
    smoke,
    repeat,
    head_deleted,
    worker_deleted,
    drain,
    quota,
    missing_secret,
    wrong_image,
    stranger,
    cancel,
    upgrade,
    autoscaling,
    uninstall,
)


@contextmanager
def disturbed(site: Site, prefix: str) -> Iterator[Submission]:
    """A job in the midst of training, for what is done to it; then its records, of which some are a later attempt's."""
    job = site.submit(prefix, "--set", LONG)
    await_training(site, job, prefix)
    yield job
    attempts = site.require_records(prefix).attempts
    assert max(attempts) > 1, f"no cell is of a later attempt, so nothing was disturbed: {attempts}"


def await_training(site: Site, job: Submission, prefix: str) -> None:
    """Wait until the job trains and has a checkpoint to go on from."""
    job.shows(r"step \d+/\d+", START_S)
    site.within(START_S, "there is a checkpoint", lambda: site.store(prefix).checkpoints)
    assert not site.store(prefix).pages, "the job was over before it could be disturbed; raise LONG"


def cancel_job(site: Site, prefix: str) -> None:
    """Cancel a scenario's job, and wait until it is gone with all that KubeRay made for it."""
    words = ["--set", LONG] if prefix == "cancel" else []
    done = site.ask(prefix, *words, "--cancel")
    assert done.code == 0, done.output
    site.within(GONE_S, "the cancelled job's pods are gone", lambda: not site.get("pods", "-l", "ray.io/node-type"))
    site.within(GONE_S, "the cancelled job is gone", lambda: not site.get("rayjobs,rayclusters"))


def delete_pod(site: Site, pod: dict[str, Any]) -> None:
    """Delete a pod without notice, as with its machine."""
    site.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")


def has_other(site: Site, node_type: str, old: dict[str, Any]) -> bool:
    found = [pod for pod in site.pods(node_type) if pod["metadata"]["uid"] != old["metadata"]["uid"]]
    return any(is_ready(pod) for pod in found)


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


def job_uid(site: Site) -> str:
    job = site.job()
    assert job is not None, "the job is gone"
    return str(job["metadata"]["uid"])


def name_of(site: Site) -> str:
    job = site.job()
    assert job is not None, "the job is gone"
    return str(job["metadata"]["name"])


def can(site: Site, kubeconfig: Any, verb: str, kind: str) -> bool:
    said = site.kubectl("auth", "can-i", verb, kind, check=False, kubeconfig=kubeconfig)
    return said.strip().splitlines()[-1:] == ["yes"]


def require_drain(site: Site) -> None:
    """Two nodes that take pods, and the rights to drain one."""
    wanted = {"nodes": "patch", "pods/eviction": "create"}
    if lacking := [f"{verb} {kind}" for kind, verb in wanted.items() if not site.may(verb, kind)]:
        raise MissingError(f"the right to {' and to '.join(lacking)}")
    nodes = [node for node in site.get("nodes") if takes_pods(node["spec"])]
    if len(nodes) < 2:
        raise MissingError(f"a second node that takes pods; there is {len(nodes)}")


def takes_pods(spec: dict[str, Any]) -> bool:
    return not spec.get("unschedulable") and not spec.get("taints")


OURS = {("Secret", STORE_KEY), ("ServiceAccount", "researcher"), ("ServiceAccount", "stranger")}
EVERYWHERE = {
    ("ServiceAccount", "default"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "openshift-service-ca.crt"),
}


def leftovers(site: Site) -> list[str]:
    """The namespace's objects that neither the site has made nor every namespace has."""
    listed = site.kubectl("api-resources", "--namespaced", "--verbs=list,delete", "--output=name").split()
    kinds = ",".join(kind for kind in listed if not kind.startswith("events"))
    found = json.loads(site.kubectl("get", kinds, "--output=json", "--ignore-not-found") or '{"items": []}')["items"]
    names = {(each["kind"], each["metadata"]["name"]) for each in found}
    return sorted(" ".join(name) for name in names - OURS - EVERYWHERE)
