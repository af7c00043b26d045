"""What can be done with a job on a cluster: submit and follow, look, cancel, or only show what would be sent.

A job's state is asked for every few seconds instead of watched: only the newest state counts, one small GET has it,
and there is no stream that can drop, go stale or lose its place. The log is a stream (`tail`).
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import yaml

from histoseg.errors import ClusterError
from histoseg.kube.api import READ_S, Cluster
from histoseg.kube.dry_run import require_accepted
from histoseg.kube.objects import Object
from histoseg.kube.rayjob import COMMAND, JOB, RESULTS, images, manifest
from histoseg.kube.refusals import RefusedError, UnreachableError
from histoseg.kube.settings import Settings
from histoseg.kube.state import (
    ATTEMPT,
    SUBMITTER,
    describe,
    details,
    find_pending_reason,
    has_succeeded,
    is_going,
    is_terminal,
    results_url,
    table,
)
from histoseg.kube.tail import Tail
from histoseg.runs.job import Job

Show = Callable[[str], object]
MEANS = re.compile(r" --(workers|capacity) \S+")  # What changes no result of an entrypoint


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long things may take, in seconds.

    Attributes:
        poll_s: Between two looks at the job.
        silence_s: Of the log, after which its connection is made anew.
        deletion_s: Of an old job, until a new one of its name can be made.
        outage_s: Of the API server, after which following ends (the job does not).
    """

    poll_s: float = 5.0
    silence_s: float = READ_S
    deletion_s: float = 600.0
    outage_s: float = 900.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A job that succeeded.

    Attributes:
        created: Whether this command created it; otherwise it was there.
        results: Where in the store its results lie.
    """

    name: str
    created: bool
    results: str


def dry_run(job: Job, settings: Settings, command: str) -> str:
    """The RayJob that would be created, as YAML.

    Raises:
        ClusterError: If it could never run.
    """
    text: str = yaml.safe_dump(manifest(job, settings, command), sort_keys=False, width=120)
    return text


def submit(
    cluster: Cluster, job: Job, settings: Settings, command: str, show: Show = print, pace: Pace | None = None
) -> Outcome:
    """Create the job unless it is there, and follow it to its end.

    Args:
        cluster: With the release's namespace.
        job: What is asked for.
        settings: Of the release.
        command: That does the same again; with STATUS=1 or CANCEL=1 behind it, it looks or cancels.
        show: Where lines go.
        pace: For tests.

    Raises:
        ClusterError: If it cannot be created, or failed. What was finished lies in the store.
    """
    pace = pace or Pace()
    made = manifest(job, settings, command)
    name, results = made["metadata"]["name"], made["metadata"]["annotations"][RESULTS]
    created = _ensure(cluster, made, show, pace)
    if created:
        show(f"{name}: created in namespace {cluster.namespace} of {cluster.context}; its results go to {results}")
    try:
        _Follower(cluster, name, command, show, pace).follow()
    except KeyboardInterrupt:
        show(f"{name}: left running; `{command}` follows it again, `{command} CANCEL=1` ends it")
        raise
    except RefusedError as error:
        raise ClusterError(f"{error}; {name} goes on all the same, and `{command}` follows it again") from error
    show(f"{name}: finished; results: {results} (`{command} RESULTS=1` copies them here)")
    return Outcome(name=name, created=created, results=results)


def status(cluster: Cluster, name: str = "") -> str:
    """How a job stands, in a few lines; without a name, a table of all jobs of the namespace.

    Raises:
        ClusterError: If there is no such job.
    """
    if not name:
        jobs = cluster.rayjobs(JOB)
        return table(jobs) if jobs else f"no jobs in namespace {cluster.namespace!r} of {cluster.context!r}"
    return details(cluster, _there(cluster, name, "look for its results with RESULTS=1"))


def results_of(cluster: Cluster, name: str) -> str:
    """Where in the store the results of a job of this name lie, whatever release or image it was submitted with.

    Raises:
        ClusterError: If there is no such job, or it was not made by histoseg.
    """
    found = _there(cluster, name, f"what it left lies in the release's store, at results/<experiment>/{name}")
    url = results_url(found)
    if not url:
        raise ClusterError(
            f"the RayJob {name} does not say where its results lie (no annotation {RESULTS}), so it was not made by "
            f"histoseg; STATUS=1 lists the jobs that were"
        )
    return url


def cancel(cluster: Cluster, name: str, show: Show = print) -> None:
    """Delete a job, with its Ray cluster and pods; once more does no harm."""
    found = cluster.rayjob(name)
    if found is None:
        show(f"{name}: is not there; nothing to cancel")
    elif is_going(found):
        show(f"{name}: is being deleted already")
    else:
        _require_ours(found)
        cluster.delete_rayjob(name, found["metadata"]["uid"])
        show(f"{name}: cancelled; its Ray cluster and pods go with it, what it finished stays in the store")


def _there(cluster: Cluster, name: str, remedy: str) -> Object:
    """The job of this name, or an error that says where else to look."""
    found = cluster.rayjob(name)
    if found is None:
        raise ClusterError(
            f"no job {name} in namespace {cluster.namespace!r} of {cluster.context!r}: not submitted yet, or finished "
            f"and cleaned up; {remedy}"
        )
    return found


def _ensure(cluster: Cluster, made: Mapping[str, Any], show: Show, pace: Pace) -> bool:
    """See that the job is there; whether it was created just now."""
    name = made["metadata"]["name"]
    for _ in range(3):  # Somebody else may submit the same at this moment
        found = cluster.rayjob(name)
        if found is None:
            require_accepted(cluster, made)
            if cluster.create_rayjob(made):
                return True
            continue
        if is_going(found):
            show(f"{name}: an earlier one is being deleted; waiting until it is gone")
        elif is_terminal(found) and not has_succeeded(found):
            _require_ours(found)
            show(f"{name}: an earlier one {describe(found)}; submitting anew, what it finished lies in the store")
            _delete(cluster, found)
        else:
            _require_ours(found)
            _require_same(found, made, name)
            show(f"{name}: is there already ({describe(found)}); attached to it{_aside(found, made)}")
            return False
        try:
            _await_deletion(cluster, found, pace)
        except KeyboardInterrupt:
            command = made["metadata"]["annotations"][COMMAND]
            show(f"{name}: the earlier one is deleted, and no new one is created yet; `{command}` creates it")
            raise
    raise ClusterError(f"{name}: somebody else creates and deletes it at this moment; repeat the command")


def _delete(cluster: Cluster, found: Object) -> None:
    """Delete this very object; if there is another one of its name by now, that is left to the next look."""
    try:
        cluster.delete_rayjob(found["metadata"]["name"], found["metadata"]["uid"])
    except RefusedError as error:
        if error.status != HTTPStatus.CONFLICT:
            raise


def _await_deletion(cluster: Cluster, old: Object, pace: Pace) -> None:
    """Wait until an object, and with it all that belongs to it, is gone."""
    name, begin = old["metadata"]["name"], time.monotonic()
    while (found := cluster.rayjob(name)) is not None and found["metadata"]["uid"] == old["metadata"]["uid"]:
        if time.monotonic() - begin > pace.deletion_s:
            raise ClusterError(
                f"{name}: is still being deleted after {pace.deletion_s:g} s; see that the KubeRay operator runs, "
                f"which must let it go, and that no node with its pods is lost; then repeat the command"
            )
        cluster.sleep(pace.poll_s)


def _require_ours(found: Object) -> None:
    """Refuse to touch what somebody made by other means."""
    name = found["metadata"]["name"]
    if (found["metadata"].get("labels") or {}).get(JOB) != name:
        raise ClusterError(f"the RayJob {name} was not made by histoseg (no label {JOB}); delete or rename it yourself")


def _aside(found: Object, made: Mapping[str, Any]) -> str:
    """What else to know about a job that is there already."""
    if is_terminal(found):  # It ran on what the store held then, which is not in its name
        command = made["metadata"]["annotations"][COMMAND]
        return f"; `{command} CANCEL=1`, then the same command, runs what has no record in the store now"
    is_equal = found["spec"].get("entrypoint") == made["spec"]["entrypoint"]
    return "" if is_equal else ", which goes on with the workers that it was submitted with"


def _task(entrypoint: str) -> str:
    """An entrypoint without the means by which it does its work."""
    return MEANS.sub("", entrypoint)


def _require_same(found: Object, made: Mapping[str, Any], name: str) -> None:
    """Refuse to take a live job for one that runs something else; by what means it does is its own affair."""
    if is_terminal(found):  # It runs nothing any more; what was asked of it is in its name
        return
    pairs = {
        "entrypoint": (_task(found["spec"].get("entrypoint") or ""), _task(made["spec"]["entrypoint"])),
        "image": (", ".join(sorted(images(found))), ", ".join(sorted(images(made)))),
    }
    for what, (there, wanted) in pairs.items():
        if there != wanted:
            raise ClusterError(
                f"{name}: is there already with another {what}: {there}, not {wanted}; wait until it has ended, or "
                f"cancel it with CANCEL=1"
            )


class _Follower:
    """One who follows a job: says what changes, passes on the log."""

    def __init__(self, cluster: Cluster, name: str, command: str, show: Show, pace: Pace) -> None:
        self._patient = cluster
        self._cluster = replace(cluster, patience_s=0.0)  # It is waited here instead, where all can be said
        self._name, self._command, self._show, self._pace = name, command, show, pace
        self._tail = Tail(pace.silence_s)
        self._job: Object = {}
        self._looked_s = time.monotonic()
        self._said: dict[str, str] = {}  # The last words on each matter

    def follow(self) -> None:
        """Follow until the job has succeeded.

        Raises:
            ClusterError: If it fails or disappears, or cannot be seen for too long.
        """
        while True:
            pause_s = self._pace.poll_s
            try:
                self._look()
                num_lines = self._pass_on_log()
                if is_terminal(self._job) and not num_lines:  # A log that has just ended may have been cut off
                    return self._judge()
            except UnreachableError as error:
                self._bear(error, time.monotonic() - self._looked_s)
                pause_s = max(pause_s, error.retry_after_s)
            self._cluster.sleep(pause_s)

    def _look(self) -> None:
        """See how the job stands, and say what is new; once it is over, it stays so."""
        if is_terminal(self._job):
            return
        found = self._cluster.rayjob(self._name)
        self._looked_s = time.monotonic()
        self._say("outage", "")
        if found is None or is_going(found):
            raise ClusterError(
                f"{self._name}: was deleted while it was followed; `{self._command}` submits it again, and what it "
                f"finished lies in the store"
            )
        self._job = found
        self._say("state", f"{self._name}: {describe(found)}")
        if not is_terminal(found):
            with self._tolerated("see what it waits for"):
                reason = find_pending_reason(self._cluster, found)
                self._say("pending", f"{self._name}: {reason.text}" if reason else "", reason.kind if reason else "")

    def _pass_on_log(self) -> int:
        """Show the submitter's new lines until its log ends, looking at the job now and then; returns their number."""
        num_lines = 0
        for line in self._new_lines():
            num_lines += 1
            self._show(line)
            if time.monotonic() - self._looked_s >= self._pace.poll_s:
                self._look()
        return num_lines

    def _new_lines(self) -> Iterator[str]:
        """The submitter's new lines, as far as they can be had."""
        # Of a job that is over there is nothing else to see, and its last lines are its results.
        cluster = self._patient if is_terminal(self._job) else self._cluster
        with self._tolerated("read its log"):
            pods = cluster.pods(f"{SUBMITTER}={self._name}")
            for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))[-1:]:
                metadata = pod["metadata"]
                attempt = (metadata.get("labels") or {}).get(ATTEMPT, "")
                yield from self._tail.read(cluster, metadata["name"], pod["spec"]["containers"][0]["name"], attempt)

    def _judge(self) -> None:
        if not has_succeeded(self._job):
            raise ClusterError(
                f"{self._name}: {describe(self._job)}; its log above says more, and `{self._command}` tries again what "
                f"is not finished"
            )

    def _bear(self, error: UnreachableError, away_s: float) -> None:
        """Go on without the API server for a while."""
        if away_s > self._pace.outage_s:
            raise ClusterError(
                f"{error}; following ends after {away_s:.0f} s of this, but {self._name} goes on, and "
                f"`{self._command}` follows it again"
            ) from error
        self._say("outage", f"{self._name}: goes on, but cannot be seen, trying again: {error}", "outage")

    @contextmanager
    def _tolerated(self, what: str) -> Iterator[None]:
        """Without what is only nice to have, the job is followed all the same."""
        try:
            yield
        except (RefusedError, UnreachableError) as error:
            self._say(what, f"{self._name}: cannot {what}: {error}", what)
        else:
            self._say(what, "")

    def _say(self, matter: str, line: str, kind: str = "") -> None:
        """Show a line unless the last one on this matter was of the same kind; "" ends the matter."""
        kind = kind or line
        if kind != self._said.get(matter, ""):
            self._said[matter] = kind
            if line:
                self._show(line)
