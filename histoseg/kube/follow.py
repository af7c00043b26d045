"""A RayJob as `histoseg.runs.follow` follows it."""

import time
from collections.abc import Iterator
from dataclasses import replace

from histoseg.errors import ClusterError
from histoseg.kube.api import Cluster
from histoseg.kube.log import PodLog
from histoseg.kube.obstacles import find_reasons
from histoseg.kube.refusals import RefusedError, UnreachableError
from histoseg.kube.state import ATTEMPT, SUBMITTER, describe, has_succeeded, is_going, is_terminal
from histoseg.runs.follow import JobState, Notices, OutageError, Reason

REFUSED_S = 300.0  # How long a user who had the right is asked again; an API server reads roles within seconds


class FollowedRayJob:
    """A RayJob: its state, what it waits for, and the log of its submitter."""

    def __init__(self, cluster: Cluster, name: str, command: str, silence_s: float) -> None:
        self.name = name
        self._cluster, self._command = cluster, command
        self._impatient = replace(cluster, patience_s=0.0)  # The follower waits instead, where it can say so.
        self._log = PodLog(silence_s)
        self._refused_since_s: float | None = None
        self._reasons: tuple[Reason, ...] = ()  # As they were when they could be seen last

    def look(self, notices: Notices) -> JobState:
        """The RayJob's state now."""
        try:
            found = self._impatient.rayjob(self.name)
        except UnreachableError as error:
            raise OutageError(str(error), error.retry_after_s) from error
        except RefusedError as error:
            raise self._as_outage(error) from error
        self._refused_since_s = None
        if found is None or is_going(found):
            raise ClusterError(
                f"{self.name}: was deleted while it was followed; `{self._command}` submits it again, and what it "
                f"finished lies in the store"
            )
        state = JobState(text=describe(found), is_over=is_terminal(found), has_succeeded=has_succeeded(found))
        with notices.tolerating("see what it waits for"):
            self._reasons = tuple(find_reasons(self._impatient, found))
        return replace(state, reasons=self._reasons)

    def _as_outage(self, error: RefusedError) -> ClusterError:
        """The error for a refusal: an outage, if the user had the right and lacks it only since a while."""
        now_s = time.monotonic()
        self._refused_since_s = self._refused_since_s or now_s
        if not error.was_allowed or now_s - self._refused_since_s > REFUSED_S:
            return error
        why = "this was allowed before, and an API server that has just started has to read the roles first"
        return OutageError(f"{error}; {why}, so it is asked again for {REFUSED_S / 60:g} minutes", kind="refused")

    def new_lines(self, state: JobState) -> Iterator[str]:
        """The new lines of the newest submitter pod."""
        # Of a job that is over there is nothing else to see, and its last lines are its results.
        cluster = self._cluster if state.is_over else self._impatient
        pods = cluster.pods(f"{SUBMITTER}={self.name}")
        for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))[-1:]:
            metadata = pod["metadata"]
            attempt = (metadata.get("labels") or {}).get(ATTEMPT, "")
            yield from self._log.new_lines(cluster, metadata["name"], pod["spec"]["containers"][0]["name"], attempt)
