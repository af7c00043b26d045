"""A request submitted to a release of the chart: the RayJob is created unless it exists, and followed to its end."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus

import yaml

from histoseg.errors import ClusterError
from histoseg.kube.api import Cluster
from histoseg.kube.follow import FollowedRayJob
from histoseg.kube.job_pods import require_accepted
from histoseg.kube.jobs import require_ours
from histoseg.kube.objects import Object
from histoseg.kube.rayjob import COMMAND, RESULTS, images, manifest
from histoseg.kube.refusals import RefusedError
from histoseg.kube.settings import Settings
from histoseg.kube.state import describe, has_succeeded, is_going, is_terminal
from histoseg.runs.follow import Pace, Show, follow
from histoseg.runs.job import request_of, result_fields
from histoseg.runs.request import Request


def dry_run(request: Request, settings: Settings, command: str) -> str:
    """The RayJob that would be created, as YAML."""
    text: str = yaml.safe_dump(manifest(request, settings, command), sort_keys=False, width=120)
    return text


def submit(
    cluster: Cluster, request: Request, settings: Settings, command: str, show: Show = print, pace: Pace | None = None
) -> str:
    """Create the job unless it exists, and follow it to its end; returns where in the store its results lie.

    The request is as `histoseg.kube.rayjob.addressed` completes it. The command does the same again; with STATUS=1 or
    CANCEL=1 behind it, it looks or cancels. What a job that failed has finished lies in the store.
    """
    pace = pace or Pace()
    made = manifest(replace(request, submission=uuid.uuid4().hex[:12]), settings, command)
    name, results = made["metadata"]["name"], made["metadata"]["annotations"][RESULTS]
    if _create(cluster, made, settings.overrides, show, pace):
        show(f"{name}: created in namespace {cluster.namespace} of {cluster.context}; its results go to {results}")
    try:
        follow(FollowedRayJob(cluster, name, command, pace.silence_s), command, show, pace, cluster.sleep)
    except RefusedError as error:
        raise ClusterError(f"{error}; {name} goes on all the same, and `{command}` follows it again") from error
    show(f"{name}: finished; results: {results} (`{command} RESULTS=1` copies them here)")
    return str(results)


def _create(cluster: Cluster, made: Object, overrides: Mapping[str, Object], show: Show, pace: Pace) -> bool:
    """Create the job unless it exists; returns whether it was created. One that failed is replaced."""
    name = made["metadata"]["name"]
    for _ in range(3):  # Another user may submit the same at this moment.
        found = cluster.rayjob(name)
        if found is None:
            require_accepted(cluster, made, overrides)
            if cluster.create_rayjob(made):
                return True
        elif is_going(found):
            show(f"{name}: an earlier one is being deleted; waiting until it is gone")
            _await_deletion(cluster, found, made, show, pace)
        elif is_terminal(found) and not has_succeeded(found):
            require_ours(found)
            show(f"{name}: an earlier one {describe(found)}; submitting it again, what it finished lies in the store")
            _delete(cluster, found)
            _await_deletion(cluster, found, made, show, pace)
        else:
            require_ours(found)
            _require_same(found, made)
            show(f"{name}: exists already ({describe(found)}); attached to it{_difference(found, made)}")
            return False
    raise ClusterError(f"{name}: another user creates and deletes it at this moment; repeat the command")


def _delete(cluster: Cluster, found: Object) -> None:
    """Delete this very object; another one of its name is left to the next look."""
    try:
        cluster.delete_rayjob(found["metadata"]["name"], found["metadata"]["uid"])
    except RefusedError as error:
        if error.status != HTTPStatus.CONFLICT:
            raise


def _await_deletion(cluster: Cluster, old: Object, made: Object, show: Show, pace: Pace) -> None:
    """Wait until an object, and with it all that belongs to it, is gone."""
    name, begin = old["metadata"]["name"], time.monotonic()
    try:
        while (found := cluster.rayjob(name)) is not None and found["metadata"]["uid"] == old["metadata"]["uid"]:
            if time.monotonic() - begin > pace.deletion_s:
                raise ClusterError(
                    f"{name}: is still being deleted after {pace.deletion_s:g} s; see that the KubeRay operator runs, "
                    f"which must let it go, and that no node with its pods is lost; then repeat the command"
                )
            cluster.sleep(pace.poll_s)
    except KeyboardInterrupt:
        command = made["metadata"]["annotations"][COMMAND]
        show(f"{name}: the earlier one is deleted, and no new one is created yet; `{command}` creates it")
        raise


def _difference(found: Object, made: Object) -> str:
    """What else to know about a job that exists already."""
    if is_terminal(found):  # It ran on what the store held then, which is not in its name.
        command = made["metadata"]["annotations"][COMMAND]
        return f"; `{command} CANCEL=1`, then the same command, runs what has no record in the store now"
    is_equal = _asked(found) == _asked(made)
    return "" if is_equal else ", which goes on with the workers and listeners that it was submitted with"


def _asked(job: Object) -> Request | str:
    """What a RayJob runs, whichever submission it is; the command line itself if that is not of ours."""
    entrypoint = str(job["spec"].get("entrypoint") or "")
    request = request_of(entrypoint)
    return replace(request, submission="") if request else entrypoint


def _require_same(found: Object, made: Object) -> None:
    """Refuse to attach to a live job that runs something else; its workers and listeners change no result."""
    if is_terminal(found):  # It runs nothing any more, and its name says what was asked of it.
        return
    entrypoints = [str(each["spec"].get("entrypoint") or "") for each in (found, made)]
    used = [", ".join(sorted(images(each))) for each in (found, made)]
    name = made["metadata"]["name"]
    asked = [result_fields(request) if (request := request_of(each)) else each for each in entrypoints]
    if asked[0] != asked[1]:
        raise _other_job(name, "entrypoint", *entrypoints)
    if used[0] != used[1]:
        raise _other_job(name, "image", *used)


def _other_job(name: str, what: str, found: str, wanted: str) -> ClusterError:
    return ClusterError(
        f"{name}: exists already with another {what}: {found}, not {wanted}; wait until it has ended, or cancel it "
        f"with CANCEL=1"
    )
