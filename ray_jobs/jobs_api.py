"""An experiment on an existing Ray, through its jobs API: `RAY_ADDRESS=http://host:8265 make submit EXP=table1`.

The token, if the Ray asks for one, is taken from RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as Ray's own tools do. The
store's credentials must be in the environment of Ray's nodes: a job's own environment is shown on the dashboard.
"""

import asyncio
import hashlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from histoseg.errors import ClusterError
from histoseg.machine import git_commit, versions
from histoseg.runs.follow import JobState, Notices, OutageError, Pace, Show, cause_of, follow
from histoseg.runs.job import entrypoint, job_name
from histoseg.runs.request import Request, without_password
from histoseg.store.keys import results_folder
from histoseg.store.objects import Store, connect

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

PACE = Pace(poll_s=2.0, outage_s=120.0)  # Of a head that restarts; one that is gone does not come back.
PACKAGES = ("histoseg", "ray_jobs")
BROKEN_KEY = "the token holds a line break or another character that none has; check RAY_AUTH_TOKEN"
REPEAT = "CANCEL=1 and then the same command run what has no record in the store now"
ACTIVE = ("PENDING", "RUNNING", "SUCCEEDED")
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class RayJobs:
    """The jobs of a Ray."""

    address: str  # The dashboard's URL
    ship: bool = False  # Whether jobs bring this code along
    pace: Pace = PACE

    @property
    def public_address(self) -> str:
        """The address without a password."""
        return without_password(self.address)

    def addressed(self, request: Request) -> Request:
        """The request as this Ray gets it, with the job's name.

        Ray does not say which image its nodes run, so the name depends on the code that is sent, or on the version.
        """
        known = request.for_cluster("")
        return replace(known, name=job_name(known, shipped_code() if self.ship else versions()["histoseg"]))

    def dry_run(self, request: Request, command: str) -> str:
        return json.dumps(self.manifest(request, command), indent=2)

    def results(self, request: Request | None, name: str) -> tuple[Store, str]:
        """The store in which a job leaves its results, and their folder there; Ray forgets both."""
        if request is None:
            raise ClusterError(f"name the experiment of job {name}, for the folder of its results: EXP=table1")
        return connect(request.store), results_folder(request.experiment, name)

    def manifest(self, request: Request, command: str) -> dict[str, Any]:
        """What is submitted for a request that `addressed` completed."""
        environment = {"env_vars": {"HISTOSEG_COMMIT": git_commit()}, "py_modules": _folders()} if self.ship else {}
        return {
            "submission_id": request.name,
            "entrypoint": entrypoint(request),
            "metadata": {"experiment": request.experiment, "scale": request.scale, "command": command},
            "runtime_env": environment,
        }

    def submit(self, request: Request, command: str, show: Show) -> None:
        manifest, name = self.manifest(request, command), request.name
        client = self.client()
        state = self._create(client, manifest, show)
        if state == "SUCCEEDED":
            show(f"{name}: has finished already; RESULTS=1 fetches its table; {REPEAT}")
            return
        show(f"{name}: is {state.lower()} already" if state else f"{name}: submitted to {self.public_address}")
        follow(FollowedSubmission(self, client, name), command, show, self.pace)

    def status(self, name: str) -> str:
        if (info := self.find(self.client(), name)) is None:
            return f"{name}: not submitted to {self.public_address}"
        since = time.strftime("%H:%M:%S", time.localtime((info.start_time or 0) / 1000))
        return f"{name}: {info.status.value.lower()}, started {since}; {cause_of(info.message or '')}".rstrip("; ")

    def cancel(self, name: str) -> str:
        """Stop a job, or delete one that has ended; returns what happened. Repeating it does no harm."""
        client = self.client()
        state = self._state(client, name)
        if not state:
            return f"{name}: does not exist; nothing to cancel"
        if state in ENDED:
            self.ask(lambda: client.delete_job(name))
            return f"{name}: had {state.lower()}; forgotten, its results stay in the store"
        self.ask(lambda: client.stop_job(name))
        return f"{name}: cancelled; what it finished stays in the store"

    def find(self, client: "JobSubmissionClient", name: str) -> "JobDetails | None":
        """What Ray knows of a job (its JobDetails), None if it has no job of this name."""
        jobs = self.ask(client.list_jobs)
        return next((info for info in jobs if info.submission_id == name), None)

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Ray's answer.

        Raises:
            ClusterError: With one line that says why there is none, and what to do.
        """
        from ray.exceptions import RayError

        try:
            return question()
        except (RayError, RuntimeError, ValueError, OSError) as error:
            if "header value" in str(error):  # The client shows the whole header then, which no log may have.
                raise ClusterError(f"{self.public_address}: {BROKEN_KEY}") from None
            raise ClusterError(without_password(f"{self.address}: {_advice(str(error))}")) from error

    def client(self) -> "JobSubmissionClient":
        """Ray's own client, connected."""
        if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.pop("RAY_ADDRESS", None)  # It would override the argument.
        from ray.job_submission import JobSubmissionClient

        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # It logs every connection.
        return self.ask(lambda: JobSubmissionClient(self.address))

    def _create(self, client: "JobSubmissionClient", manifest: dict[str, Any], show: Show) -> str:
        """Create the job unless it exists; returns the state it was found in, or "" if it was created just now."""
        name = manifest["submission_id"]
        state = self._state(client, name)
        for _ in range(4):  # Another user may submit the same at this moment.
            if state in ACTIVE:
                return state
            try:
                if not state:
                    self.ask(lambda: client.submit_job(**manifest))
                    return ""
                show(f"{name}: an earlier attempt has {state.lower()}; it is submitted again, and goes on from there")
                self.ask(lambda: client.delete_job(name))
                state = ""
            except ClusterError:
                before, state = state, self._state(client, name)
                if state == before:
                    raise
        raise ClusterError(f"{name}: another user submits and deletes it at this moment; repeat the command")

    def _state(self, client: "JobSubmissionClient", name: str) -> str:
        info = self.find(client, name)
        return "" if info is None else str(info.status.value)


class ForgottenError(OutageError):
    """Ray does not know the job any more."""


class FollowedSubmission:
    """A job of a Ray as `histoseg.runs.follow` follows it."""

    def __init__(self, ray: RayJobs, client: "JobSubmissionClient", name: str) -> None:
        self.name = name
        self._ray, self._client = ray, client
        self._num_shown = 0  # Every connection brings the log's lines from the first on.

    def look(self, notices: Notices) -> JobState:  # noqa: ARG002 # the protocol's
        """The job's state now; a head that restarts may not know it yet."""
        try:
            info = self._ray.find(self._client, self.name)
        except ClusterError as error:
            raise OutageError(str(error)) from error
        if info is None:
            raise ForgottenError(f"{self._ray.public_address} knows no job {self.name} any more")
        state = str(info.status.value)
        has_failed = state in ENDED and state != "SUCCEEDED"
        text = f"{state.lower()}: {cause_of(info.message or '')}".rstrip(": ") if has_failed else state.lower()
        return JobState(text=text, is_over=state in ENDED, has_succeeded=state == "SUCCEEDED")

    def new_lines(self, state: JobState) -> Iterator[str]:
        """The log's new lines; of a job that is over, the log is had whole."""
        if state.is_over:
            log = self._ray.ask(lambda: self._client.get_job_logs(self.name))
            yield from self._unread([log if log.endswith("\n") else f"{log}\n"] if log else [])
        else:
            yield from self._unread(self._chunks())

    def _unread(self, chunks: Iterable[str]) -> Iterator[str]:
        """The lines that were not shown yet; an unfinished one is left to the next connection."""
        number, rest = 0, ""
        for chunk in chunks:
            *lines, rest = (rest + chunk).split("\n")
            for line in lines:
                number += 1
                if number > self._num_shown:
                    self._num_shown = number
                    yield line

    def _chunks(self) -> Iterator[str]:
        """What a connection brings until it ends or falls silent."""
        import aiohttp

        stream: AsyncIterator[str] = self._client.tail_job_logs(self.name)
        has_begun = False
        with asyncio.Runner() as runner:
            while True:
                try:
                    chunk = runner.run(_next(stream, self._ray.pace.silence_s))
                except TimeoutError:
                    return
                except (RuntimeError, OSError, aiohttp.ClientError) as error:
                    if has_begun:
                        return
                    raise ClusterError(without_password(str(error)) or type(error).__name__) from error
                if chunk is None:
                    return
                has_begun = True
                yield chunk


async def _next(stream: AsyncIterator[str], silence_s: float) -> str | None:
    """The next part of a log, None at its end."""
    return await asyncio.wait_for(anext(stream, None), silence_s)


def _advice(text: str) -> str:
    """What to do about an error of Ray's client, in one line."""
    lines = [line.strip(" .") for line in text.splitlines() if line.strip(" .")] or ["no answer"]
    first = lines[0]
    if first.startswith("Authentication failed"):
        return "it does not know this token; check RAY_AUTH_TOKEN"
    if first.startswith("Authentication required"):
        return "it asks for a token: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to the file that holds it"
    if first.startswith("Request failed with status code"):
        return f"{lines[-1]}; repeat the command"  # The last line of a traceback there, or all that was said
    return f"{first}; RAY_ADDRESS must be the dashboard's address, http://host:8265"


def _folders() -> list[str]:
    root = Path(__file__).parents[1]
    return [str(root / package) for package in PACKAGES]


def shipped_code() -> str:
    """A hash of the code that would be sent."""
    files = sorted(path for folder in _folders() for path in Path(folder).rglob("*.py"))
    root = Path(__file__).parents[1]
    hashes = [[str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
