"""An experiment on a Ray that is there, through its jobs API: `RAY_ADDRESS=http://host:8265 make submit EXP=table1`.

The token, if the Ray asks for one, is taken from RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as Ray's own tools do. The
store's credentials must be in the environment of Ray's nodes: a job's own environment is shown on the dashboard.
"""

import asyncio
import hashlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoseg.errors import ClusterError
from histoseg.machine import git_commit, versions
from histoseg.runs.job import Job
from ray_jobs.options import without_password

logger = logging.getLogger("histoseg.runs.job")

LOOK_EVERY_S = 2.0
PATIENCE_S = 120.0  # For a dashboard that does not answer while a job is followed; the head may be restarting.
SILENCE_S = 30.0  # Of a log, after which its connection is made anew: one that broke on the way may never tell.
PACKAGES = ("histoseg", "ray_jobs")
ANEW = "CANCEL=1 and then the same command run what has no record in the store now"
THERE = ("PENDING", "RUNNING", "SUCCEEDED")
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True, kw_only=True)
class RemoteRay:
    """A Ray's jobs API.

    Attributes:
        address: The dashboard's URL.
        ship: Whether jobs bring this code along.
    """

    address: str
    ship: bool = False

    def name(self, job: Job) -> str:
        """The job's name here: of its image nobody tells, so of the code that is sent, or of the version."""
        return job.name(shipped_code() if self.ship else versions()["histoseg"])

    def manifest(self, job: Job, command: str) -> dict[str, Any]:
        """What is submitted."""
        name = self.name(job)
        environment = {"env_vars": {"HISTOSEG_COMMIT": git_commit()}, "py_modules": _folders()} if self.ship else {}
        return {
            "submission_id": name,
            "entrypoint": job.entrypoint(name, {}),
            "metadata": {"experiment": job.experiment, "scale": job.scale, "command": command},
            "runtime_env": environment,
        }

    def submit(self, job: Job, command: str, show: Callable[[str], None]) -> str:
        """Submit a job, or attach to the one that is there, and follow it to its end; returns its name.

        Raises:
            ClusterError: If the Ray cannot be reached, refuses, or the job fails.
        """
        manifest = self.manifest(job, command)
        name: str = manifest["submission_id"]
        client = self._client()
        found = self._ensure(client, manifest, show)
        if found == "SUCCEEDED":
            show(f"job {name}: has finished already; RESULTS=1 fetches its table; {ANEW}")
            return name
        if found:
            show(f"job {name}: is {found.lower()} already; following it")
        else:
            show(f"job {name}: submitted to {without_password(self.address)}")
        try:
            self._follow(client, name, show)
        except KeyboardInterrupt:
            show(f"job {name}: left running; `{command}` follows it again, `{command} CANCEL=1` ends it")
            raise
        return name

    def status(self, name: str) -> str:
        """One line on how a job stands."""
        client = self._client()
        if not self._state(client, name):
            return f"job {name}: not submitted to {without_password(self.address)}"
        info = _asking(self.address, lambda: client.get_job_info(name))
        since = time.strftime("%H:%M:%S", time.localtime((info.start_time or 0) / 1000))
        return f"job {name}: {info.status.lower()}, started {since}; {info.message or ''}".rstrip("; ")

    def cancel(self, name: str) -> str:
        """Stop a job, or forget one that has ended; returns a line that says what happened. Repeating it is safe."""
        client = self._client()
        state = self._state(client, name)
        if not state:
            return f"job {name}: is not there; nothing to cancel"
        if state in ENDED:
            _asking(self.address, lambda: client.delete_job(name))
            return f"job {name}: had {state.lower()}; forgotten, its results stay in the store"
        _asking(self.address, lambda: client.stop_job(name))
        return f"job {name}: cancelled; what it finished stays in the store"

    def _client(self) -> Any:
        if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.pop("RAY_ADDRESS", None)  # It would override the argument.
        from ray.job_submission import JobSubmissionClient

        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # It tells of every connection.
        return _asking(self.address, lambda: JobSubmissionClient(self.address))

    def _ensure(self, client: Any, manifest: Mapping[str, Any], show: Callable[[str], None]) -> str:
        """See that the job is there; returns the state it was found in, or "" if it was submitted just now."""
        name = manifest["submission_id"]
        state = self._state(client, name)
        for _ in range(4):  # Somebody else may submit the same at this moment.
            if state in THERE:
                return state
            try:
                if not state:
                    _asking(self.address, lambda: client.submit_job(**manifest))
                    return ""
                earlier = f"an earlier attempt has {state.lower()}"
                show(f"job {name}: {earlier}; it is submitted again, and goes on where that was")
                _asking(self.address, lambda: client.delete_job(name))
                state = ""
            except ClusterError:
                before, state = state, self._state(client, name)
                if state == before:
                    raise
        raise ClusterError(f"job {name}: somebody else submits and deletes it at this moment; repeat the command")

    def _state(self, client: Any, name: str) -> str:
        """What Ray says of a job, or "" if it has none of this name."""
        jobs = _asking(self.address, client.list_jobs)
        return next((str(info.status.value) for info in jobs if info.submission_id == name), "")

    def _follow(self, client: Any, name: str, show: Callable[[str], None]) -> None:
        """Show the job's log until it ends."""
        log = _Log(client, name, show)
        state = self._await_end(client, name, log)
        try:
            log.complete(_asking(self.address, lambda: client.get_job_logs(name)))
        except ClusterError as error:
            show(f"job {name}: the end of its log cannot be had: {error}")
        if state != "SUCCEEDED":
            info = _asking(self.address, lambda: client.get_job_info(name))
            raise ClusterError(f"job {name} has {state.lower()}: {_cause(info.message or 'see its log above')}")

    def _await_end(self, client: Any, name: str, log: "_Log") -> str:
        """The state in which the job has ended; until then, its log is shown as it comes."""
        away_since: float | None = None
        while True:
            if log.follow():
                away_since = None
            try:
                state, why = self._state(client, name), "it knows no such job any more"
            except ClusterError as error:
                state, why = "", str(error)
            if state in ENDED:
                return state
            away_since = None if state else away_since or time.monotonic()
            if away_since and time.monotonic() - away_since > PATIENCE_S:
                where = without_password(self.address)
                raise ClusterError(f"{where}: job {name} is lost: {why}; repeat the command")
            time.sleep(LOOK_EVERY_S)


class _Log:
    """A job's log, of which every connection brings all from its beginning, and each part is shown once."""

    def __init__(self, client: Any, name: str, show: Callable[[str], None]) -> None:
        self._client, self._name, self._show = client, name, show
        self._num_shown, self._position = 0, 0  # Characters: shown in all, and brought by this connection
        self._trouble_is_told = False

    def follow(self) -> bool:
        """Show what is new until the log ends or the connection does; whether anything was."""
        before, self._position = self._num_shown, 0
        trouble = asyncio.run(self._read())
        if trouble and not self._trouble_is_told:
            self._show(f"job {self._name}: its log cannot be had, trying again: {trouble}")
        self._trouble_is_told = bool(trouble)
        return self._num_shown > before

    def complete(self, log: str) -> None:
        """Show what is new of the whole log."""
        self._position = 0
        self._take(log)

    async def _read(self) -> str:
        """Show what a connection brings until it ends; returns why it brought nothing, or ""."""
        import aiohttp

        stream: AsyncIterator[str] = self._client.tail_job_logs(self._name)
        async with aclosing(stream) as chunks:  # type: ignore[type-var]  # Ray promises less than it gives
            while True:
                try:
                    chunk = await asyncio.wait_for(anext(chunks), SILENCE_S)
                except (StopAsyncIteration, TimeoutError):
                    return ""
                except (RuntimeError, OSError, aiohttp.ClientError) as error:
                    return "" if self._position else without_password(str(error)) or type(error).__name__
                self._take(chunk)

    def _take(self, chunk: str) -> None:
        """Show what is new of the next part."""
        fresh = chunk[max(0, self._num_shown - self._position) :]
        self._position += len(chunk)
        self._num_shown = max(self._num_shown, self._position)
        if fresh:
            self._show(fresh.rstrip("\n"))


def _asking(address: str, ask: Callable[[], Any]) -> Any:
    """What Ray answers, or one line that says why it does not."""
    from ray.exceptions import RayError

    try:
        return ask()
    except (RayError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(without_password(f"{address}: {_advice(str(error))}")) from error


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


def _cause(message: str) -> str:
    """Why a job failed: what the driver said last if it could, else what Ray says of its end."""
    lines = message.strip().splitlines()
    if lines[-1].startswith("histoseg: "):
        return lines[-1].removeprefix("histoseg: ")
    return lines[0].partition(", last available logs")[0]


def _folders() -> list[str]:
    root = Path(__file__).parents[1]
    return [str(root / package) for package in PACKAGES]


def shipped_code() -> str:
    """A hash of the code that would be sent."""
    files = sorted(path for folder in _folders() for path in Path(folder).rglob("*.py"))
    root = Path(__file__).parents[1]
    hashes = [[str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
