"""A job on a cluster, followed to its end: its state, its log, and outages in between.

The state is asked for every few seconds instead of watched: only the newest one counts, and there is no stream that can
break, go stale or lose its place. The log is a stream; each cluster's reader continues one that broke.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from histoseg.errors import ClusterError

Show = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long things may take, in seconds.

    Attributes:
        poll_s: Between two looks at the job.
        silence_s: Without a line, after which the log's connection is replaced: one that broke on the way may never
            say so.
        outage_s: In which the job cannot be seen, after which following ends (the job does not).
        deletion_s: From the deletion of an old job until a new one of its name can be created.
    """

    poll_s: float = 5.0
    silence_s: float = 30.0
    outage_s: float = 900.0
    deletion_s: float = 600.0


@dataclass(frozen=True, kw_only=True)
class Reason:
    """What is in a job's way, or happened to it.

    Attributes:
        kind: Stays the same while the same thing is in the way, even if the words of the text change.
        text: One line with a remedy.
    """

    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class JobState:
    """The state of a job."""

    text: str  # For people, in a few words
    is_over: bool = False  # Whether nothing more will happen
    has_succeeded: bool = False
    reasons: tuple[Reason, ...] = ()  # Why it does not run yet, or what happened to its pods, as far as is known


OUTAGES = ("outage", "refused")  # No answer; a refusal that may pass


class OutageError(ClusterError):
    """The job cannot be seen now, and perhaps again later.

    Attributes:
        kind: One of OUTAGES; each is said once until the job is seen again.
    """

    def __init__(self, text: str, retry_after_s: float = 0.0, kind: str = "outage") -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s
        self.kind = kind


class FailedJobError(ClusterError):
    """The job has ended, and not with success."""


class Notices:
    """Lines about a job, shown only when they change."""

    def __init__(self, job: str, show: Show) -> None:
        self._job, self._show = job, show
        self._kinds: dict[str, str] = {}  # The kind of the newest line of each topic
        self._reasons: set[str] = set()  # The kinds of those that hold now

    def say(self, topic: str, text: str, kind: str = "") -> None:
        """Show a line unless the topic's newest one was of the same kind; "" ends the topic."""
        kind = kind or text
        if kind != self._kinds.get(topic, ""):
            self._kinds[topic] = kind
            if text:
                self._show(f"{self._job}: {text}")

    def say_new(self, reasons: Iterable[Reason]) -> None:
        """Show those of the reasons that hold now which did not hold at the last look."""
        found = {reason.kind: reason.text for reason in reasons}
        for kind in [kind for kind in found if kind not in self._reasons]:
            self._show(f"{self._job}: {found[kind]}")
        self._reasons = set(found)

    @contextmanager
    def tolerating(self, action: str) -> Iterator[None]:
        """Say once that an action fails, and go on: the job can be followed without it."""
        try:
            yield
        except ClusterError as error:
            self.say(action, f"cannot {action}: {error}", action)
        else:
            self.say(action, "")


@runtime_checkable
class FollowedJob(Protocol):
    """A job of one kind of cluster."""

    name: str

    def look(self, notices: Notices) -> JobState:
        """The job's state now.

        Raises:
            OutageError: If the cluster does not answer.
            ClusterError: If the job is gone for good.
        """

    def new_lines(self, state: JobState) -> Iterator[str]:
        """The lines of the log that were not shown yet, as they come, until the log or the connection ends."""


def follow(job: FollowedJob, command: str, show: Show, pace: Pace, sleep: Callable[[float], None] = time.sleep) -> None:
    """Show a job's log, and what changes about it, until it has succeeded.

    The job must have been submitted. `command` follows it again, and with CANCEL=1 behind it ends it.

    Raises:
        FailedJobError: If the job fails.
        ClusterError: If it disappears, or cannot be seen for too long.
    """
    try:
        _Follower(job, command, show, pace).run(sleep)
    except KeyboardInterrupt:
        show(f"{job.name}: left running; `{command}` follows it again, `{command} CANCEL=1` ends it")
        raise


def cause_of(message: str) -> str:
    """Why a job failed, in one line: the driver's last words if it ended with an error of ours, else what Ray says.

    Ray's message ends with the last lines of the driver's log, which are mostly its table. "" if there is none.
    """
    lines = message.strip().splitlines() or [""]
    ours = [line for line in lines if line.startswith("histoseg: ")]
    if ours:
        return ours[-1].removeprefix("histoseg: ")
    said, has_log, _ = lines[0].partition(", last available logs")
    if not has_log:
        return " ".join(lines)
    is_error = re.match(r"[\w.]*(Error|Exception|Interrupt|Exit)\b", lines[-1])
    return f"{said}: {lines[-1]}" if is_error else said


class _Follower:
    def __init__(self, job: FollowedJob, command: str, show: Show, pace: Pace) -> None:
        self._job, self._command, self._show, self._pace = job, command, show, pace
        self._notices = Notices(job.name, show)
        self._state = JobState(text="")
        self._looked_s = time.monotonic()
        self._away_since_s: float | None = None
        self._has_log = False

    def run(self, sleep: Callable[[float], None]) -> None:
        while True:
            pause_s = self._pace.poll_s
            try:
                self._look()
                num_lines = self._show_new_lines()
            except OutageError as error:
                self._bear(error)
                pause_s = max(pause_s, error.retry_after_s)
            else:
                if self._state.is_over and not num_lines:  # A log that has just ended may have been cut off.
                    return self._require_success()
            sleep(pause_s)

    def _look(self) -> None:
        """Ask for the state and show what is new; once the job is over, it stays so."""
        if self._state.is_over:
            return
        self._state = self._job.look(self._notices)
        self._looked_s, self._away_since_s = time.monotonic(), None
        for kind in OUTAGES:
            self._notices.say(kind, "")
        self._notices.say("state", self._state.text)
        self._notices.say_new(self._state.reasons)

    def _show_new_lines(self) -> int:
        """Show the log's new lines until it ends, looking at the job now and then; returns their number."""
        num_lines = 0
        for line in self._new_lines():
            num_lines += 1
            self._has_log = True
            self._show(line)
            if time.monotonic() - self._looked_s >= self._pace.poll_s:
                self._look()
        return num_lines

    def _new_lines(self) -> Iterator[str]:
        with self._notices.tolerating("read its log"):
            yield from self._job.new_lines(self._state)

    def _bear(self, error: OutageError) -> None:
        """Go on without the cluster for a while."""
        now_s = time.monotonic()
        if self._away_since_s is None:
            self._away_since_s = now_s
        if (away_s := now_s - self._away_since_s) > self._pace.outage_s:
            raise ClusterError(
                f"{error}; following ends after {away_s:.0f} s of this, but {self._job.name} may go on, and "
                f"`{self._command}` follows it again"
            ) from error
        self._notices.say(error.kind, f"cannot be seen now, trying again: {error}", error.kind)

    def _require_success(self) -> None:
        if not self._state.has_succeeded:
            more = "; its log above says more" if self._has_log else ""
            raise FailedJobError(
                f"{self._job.name}: {self._state.text}{more}; `{self._command}` tries again what is not finished"
            )
