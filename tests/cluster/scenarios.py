"""What is done to a release before it is published, in this order, and what must be seen, within which time.

A scenario takes the lab, leaves it as it found it (but for the store, where each has a part of its own), and raises
AssertionError with what was not seen, or MissingError with what the cluster lacks. Limits are seconds of a cluster that
has the images already; PATIENCE is a factor of all of them.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster.lab import LONG, STORE_KEY, Lab, MissingError, Submission

START_S = 300  # For a job's pods to start, and for it to train
BACK_S = 180  # For a pod that was lost to be replaced
END_S = 900  # For a job to end
SAID_S = 240  # For what is wrong to be said
GONE_S = 40  # For a job that was cancelled to be gone, with all of its pods
CHANGE_RIGHTS = ("create", "delete", "patch")


def install(lab: Lab) -> None:
    """The release is there: the store runs, and `make submit` finds the settings."""
    lab.install()
    lab.within(60, "the store is ready", lambda: all(is_ready(pod) for pod in lab.get("pods", "-l", lab.selector)))
    shown = lab.ask("install", "--dry-run")
    assert shown.code == 0, shown.output
    assert "kind: RayJob" in shown.output, shown.output
    lab.start_ledger()


def helm_test(lab: Lab) -> None:
    """`helm test` writes, reads and deletes an object with the release's key."""
    shown = lab.helm("test", lab.release, "--logs", "--timeout", f"{300 * lab.patience:.0f}s")
    assert re.search(r"Phase:\s+Succeeded", shown), shown


def smoke(lab: Lab) -> None:
    """A small job records every cell at its first attempt, leaves a page, and its Ray cluster goes."""
    lab.submit("smoke").finish(END_S)
    assert lab.require_records("smoke").attempts == [1, 1]
    lab.within(120, "the Ray cluster of the job that ended is gone", lambda: not lab.get("rayclusters"))
    lab.within(120, "its pods are gone", lambda: not lab.pods("head") and not lab.pods("worker"))


def repeat(lab: Lab) -> None:
    """The same command attaches to a running job; after its end it starts nothing; after a cancel it runs no cell."""
    first = lab.submit("repeat")
    lab.within(START_S, "the job is there", lab.job)
    second = lab.submit("repeat")
    first.finish(END_S), second.finish(60)
    before, uid = lab.require_records("repeat"), job_uid(lab)
    lab.submit("repeat").finish(90)
    assert job_uid(lab) == uid, "a job that has finished was replaced"
    cancel_job(lab, "repeat")
    again = lab.submit("repeat").finish(END_S)
    assert "recorded: " not in again, again
    assert lab.require_records("repeat").records == before.records


def head_deleted(lab: Lab) -> None:
    """The head's pod is deleted amid training: another one starts, and the trainings go on from their checkpoints."""
    with disturbed(lab, "head-deleted") as job:
        (head,) = lab.pods("head")
        delete_pod(lab, head)
        lab.within(BACK_S, "another head is ready", lambda: has_other(lab, "head", head))
        assert "resumed at step" in job.finish(END_S), job.output


def worker_deleted(lab: Lab) -> None:
    """The same for a worker; the job itself goes on."""
    with disturbed(lab, "worker-deleted") as job:
        uid, worker = job_uid(lab), lab.pods("worker")[0]
        delete_pod(lab, worker)
        lab.within(BACK_S, "another worker is ready", lambda: has_other(lab, "worker", worker))
        assert "resumed at step" in job.finish(END_S), job.output
        assert job_uid(lab) == uid, "a lost worker ended the job"


def drain(lab: Lab) -> None:
    """The worker's node is drained of our workers alone; they save, leave, and go on on another node."""
    require_drain(lab)
    with disturbed(lab, "drain") as job:
        worker = lab.pods("worker")[0]
        node, limit = worker["spec"]["nodeName"], f"--timeout={180 * lab.patience:.0f}s"
        lab.cordoned.append(node)
        only = f"--pod-selector={lab.selector},ray.io/node-type=worker"
        lab.kubectl("drain", node, only, "--ignore-daemonsets", "--delete-emptydir-data", "--force", limit)
        lab.within(BACK_S, "another worker is ready", lambda: has_other(lab, "worker", worker))
        assert all(pod["spec"]["nodeName"] != node for pod in lab.pods("worker")), f"a worker was put on {node} again"
        assert "resumed at step" in job.finish(END_S), job.output
    lab.uncordon()


def quota(lab: Lab) -> None:
    """A quota leaves room for one more pod: that is said, and the job starts by itself when the quota is raised."""
    if not lab.may("create", "resourcequotas"):
        raise MissingError("the right to create resourcequotas")
    hard = len(lab.get("pods")) + 1
    lab.kubectl("create", "quota", "few-pods", f"--hard=pods={hard}")
    try:
        lab.within(60, "the quota is counted", lambda: lab.get("quota", "few-pods")[0].get("status", {}).get("used"))
        job = lab.submit("quota")
        job.shows(r"few-pods", SAID_S)
        assert "few-pods" in lab.ask("quota", "--status").output
    finally:
        lab.kubectl("delete", "quota", "few-pods")
    job.finish(END_S)
    assert lab.require_records("quota").attempts == [1, 1]


def missing_secret(lab: Lab) -> None:
    """The Secret with the store's key is missing: that is said, and the job starts by itself when it is there."""
    lab.kubectl("delete", "secret", STORE_KEY)
    try:
        job = lab.submit("missing-secret")
        job.shows(rf"{STORE_KEY}\W.* not found", SAID_S)
        assert STORE_KEY in lab.ask("missing-secret", "--status").output
    finally:
        lab.put_store_key()
    job.finish(END_S)
    assert lab.require_records("missing-secret").attempts == [1, 1]


def wrong_image(lab: Lab) -> None:
    """An image that is not there: it is named, and the job can be cancelled."""
    lab.install("images.train.tag=no-such-tag")
    try:
        job = lab.submit("wrong-image")
        job.shows(r":no-such-tag.*(ErrImagePull|ImagePullBackOff|ErrImageNeverPull)", SAID_S)
        assert ":no-such-tag" in lab.ask("wrong-image", "--status").output
        cancel_job(lab, "wrong-image")
    finally:
        lab.install()
    assert not lab.store("wrong-image").records


def stranger(lab: Lab) -> None:
    """An account without our Role sees and changes nothing; one with it works with jobs, and reads no Secret."""
    researcher, other = lab.kubeconfig_of("researcher"), lab.kubeconfig_of("stranger")
    lab.submit("stranger").finish(END_S)
    kinds = ("rayjobs", "rayclusters", "pods", "secrets", "configmaps", "events")
    found = {kind: lab.kubectl("get", kind, check=False, kubeconfig=other) for kind in kinds}
    seen = sorted(kind for kind, said in found.items() if "orbidden" not in said)
    assert not seen, f"a stranger may read {', '.join(seen)}: {found}"
    allowed = [(verb, kind) for kind in ("rayjobs", "pods") for verb in CHANGE_RIGHTS if can(lab, other, verb, kind)]
    assert not allowed, f"a stranger may {allowed}"
    refused = lab.ask("", "--status", kubeconfig=other)
    assert (refused.code, "rayjobs" in refused.output) == (1, True), refused
    listed = lab.ask("", "--status", kubeconfig=researcher)
    assert (listed.code, name_of(lab) in listed.output) == (0, True), listed
    for verb, kind in (("get", "secrets"), ("create", "pods"), ("create", "pods/exec"), ("patch", "rayjobs")):
        assert not can(lab, researcher, verb, kind), f"a researcher may {verb} {kind}"
    lab.require_records("stranger")


def cancel(lab: Lab) -> None:
    """A job in the midst of training is cancelled: it is gone in seconds, and the same command goes on from there."""
    with disturbed(lab, "cancel"):
        cancel_job(lab, "cancel")
        again = lab.submit("cancel", "--set", LONG)
        assert "resumed at step" in again.finish(END_S), again.output


def upgrade(lab: Lab) -> None:
    """The release is upgraded while a job trains, which goes on undisturbed; new jobs get the new settings."""
    job = lab.submit("upgrade", "--set", LONG)
    await_training(lab, job, "upgrade")
    uid = job_uid(lab)
    lab.install("job.backoffLimit=2")
    assert "backoffLimit: 2" in lab.ask("upgrade", "--set", "optim.steps=7", "--dry-run").output
    job.finish(END_S)
    assert job_uid(lab) == uid, "the upgrade replaced a running job"
    assert lab.require_records("upgrade").attempts == [1, 1]
    lab.install()


def autoscaling(lab: Lab) -> None:
    """A group without a worker gets one when there is work."""
    group = "workerGroups[0].replicas=0,workerGroups[0].minReplicas=0,workerGroups[0].maxReplicas=1"
    lab.install("autoscaling.enabled=true,autoscaling.idleTimeoutSeconds=60", group)
    try:
        job = lab.submit("autoscaling", "--set", LONG)
        lab.within(START_S, "a worker was added", lambda: lab.pods("worker"))
        job.finish(END_S)
        assert lab.require_records("autoscaling").attempts == [1, 1]
    finally:
        lab.install()


def uninstall(lab: Lab) -> None:
    """Removed as documented, with a job still running; then nothing of the release is left but what was there before."""
    job = lab.submit("uninstall", "--set", LONG)
    await_training(lab, job, "uninstall")
    lab.kubectl("delete", "pod", "ledger")
    lab.kubectl("delete", "rayjobs", "--selector", lab.selector, f"--timeout={GONE_S * lab.patience:.0f}s")
    lab.helm("uninstall", lab.release, "--wait", "--timeout", f"{300 * lab.patience:.0f}s")
    lab.kubectl("delete", "pvc", "--selector", lab.selector, "--wait=false")
    left = lambda: f"nothing of the release is left; there is {', '.join(leftovers(lab))}"  # noqa: E731
    lab.within(90, left, lambda: not leftovers(lab))


SCENARIOS: tuple[Callable[[Lab], None], ...] = (
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
def disturbed(lab: Lab, prefix: str) -> Iterator[Submission]:
    """A job in the midst of training, for what is done to it; then its records, of which some are a later attempt's."""
    job = lab.submit(prefix, "--set", LONG)
    await_training(lab, job, prefix)
    yield job
    attempts = lab.require_records(prefix).attempts
    assert max(attempts) > 1, f"no cell is of a later attempt, so nothing was disturbed: {attempts}"


def await_training(lab: Lab, job: Submission, prefix: str) -> None:
    """Wait until the job trains and has a checkpoint to go on from."""
    job.shows(r"step \d+/\d+", START_S)
    lab.within(START_S, "there is a checkpoint", lambda: lab.store(prefix).checkpoints)
    assert not lab.store(prefix).pages, "the job was over before it could be disturbed; raise LONG"


def cancel_job(lab: Lab, prefix: str) -> None:
    """Cancel a scenario's job, and wait until it is gone with all that KubeRay made for it."""
    words = ["--set", LONG] if prefix == "cancel" else []
    done = lab.ask(prefix, *words, "--cancel")
    assert done.code == 0, done.output
    lab.within(GONE_S, "the cancelled job's pods are gone", lambda: not lab.get("pods", "-l", "ray.io/node-type"))
    lab.within(GONE_S, "the cancelled job is gone", lambda: not lab.get("rayjobs,rayclusters"))


def delete_pod(lab: Lab, pod: dict[str, Any]) -> None:
    """Delete a pod without notice, as with its machine."""
    lab.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")


def has_other(lab: Lab, node_type: str, old: dict[str, Any]) -> bool:
    found = [pod for pod in lab.pods(node_type) if pod["metadata"]["uid"] != old["metadata"]["uid"]]
    return any(is_ready(pod) for pod in found)


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


def job_uid(lab: Lab) -> str:
    job = lab.job()
    assert job is not None, "the job is gone"
    return str(job["metadata"]["uid"])


def name_of(lab: Lab) -> str:
    job = lab.job()
    assert job is not None, "the job is gone"
    return str(job["metadata"]["name"])


def can(lab: Lab, kubeconfig: Any, verb: str, kind: str) -> bool:
    said = lab.kubectl("auth", "can-i", verb, kind, check=False, kubeconfig=kubeconfig)
    return said.strip().splitlines()[-1:] == ["yes"]


def require_drain(lab: Lab) -> None:
    """Two nodes that take pods, and the rights to drain one."""
    wanted = {"nodes": "patch", "pods/eviction": "create"}
    if lacking := [f"{verb} {kind}" for kind, verb in wanted.items() if not lab.may(verb, kind)]:
        raise MissingError(f"the right to {' and to '.join(lacking)}")
    nodes = [node for node in lab.get("nodes") if takes_pods(node["spec"])]
    if len(nodes) < 2:
        raise MissingError(f"a second node that takes pods; there is {len(nodes)}")


def takes_pods(spec: dict[str, Any]) -> bool:
    return not spec.get("unschedulable") and not spec.get("taints")


OURS = {("Secret", STORE_KEY), ("ServiceAccount", "researcher"), ("ServiceAccount", "stranger")}
EVERYWHERE = {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt"), ("ConfigMap", "openshift-service-ca.crt")}


def leftovers(lab: Lab) -> list[str]:
    """The namespace's objects that neither the lab has made nor every namespace has."""
    listed = lab.kubectl("api-resources", "--namespaced", "--verbs=list,delete", "--output=name").split()
    kinds = ",".join(kind for kind in listed if not kind.startswith("events"))
    found = json.loads(lab.kubectl("get", kinds, "--output=json", "--ignore-not-found") or '{"items": []}')["items"]
    names = {(each["kind"], each["metadata"]["name"]) for each in found}
    return sorted(" ".join(name) for name in names - OURS - EVERYWHERE)
