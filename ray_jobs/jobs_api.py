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
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoseg.errors import ClusterError
from histoseg.jobs import Job
from histoseg.provenance import git_commit, versions

logger = logging.getLogger("histoseg.jobs")

LOOK_EVERY_S = 2.0
PATIENCE_S = 120.0  # For a dashboard that does not answer while a job is followed; the head may be restarting.
PACKAGES = ("histoseg", "ray_jobs")
ANEW = "CANCEL=1 and then the same command run what has no record in the store now"
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
        state = self._state(client, name)
        if state in ("FAILED", "STOPPED"):
            show(
                f"job {name}: an earlier attempt has {state.lower()}; it is submitted again, and goes on where that was"
            )
            _asking(self.address, lambda: client.delete_job(name))
        if state == "SUCCEEDED":
            show(f"job {name}: has finished already; RESULTS=1 fetches its table; {ANEW}")
            return name
        if state in ("PENDING", "RUNNING"):
            show(f"job {name}: is {state.lower()} already; following it")
        else:
            _asking(self.address, lambda: client.submit_job(**manifest))
            show(f"job {name}: submitted to {self.address}")
        self._follow(client, name, show)
        return name

    def status(self, name: str) -> str:
        """One line on how a job stands."""
        client = self._client()
        if not self._state(client, name):
            return f"job {name}: not submitted to {self.address}"
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

    def _state(self, client: Any, name: str) -> str:
        """What Ray says of a job, or "" if it has none of this name."""
        jobs = _asking(self.address, client.list_jobs)
        return next((str(info.status.value) for info in jobs if info.submission_id == name), "")

    def _follow(self, client: Any, name: str, show: Callable[[str], None]) -> None:
        """Show the job's log until it ends."""
        import aiohttp

        shown, state, seen_at = 0, "", time.monotonic()
        while state not in ENDED:
            try:
                shown = asyncio.run(_tail(client, name, shown, show))
                state = self._state(client, name)
                why = "it knows no such job any more"
            except (ClusterError, RuntimeError, OSError, aiohttp.ClientError) as error:
                state, why = "", str(error)
            if state:
                seen_at = time.monotonic()
            elif time.monotonic() - seen_at > PATIENCE_S:
                raise ClusterError(f"{self.address}: job {name} is lost: {why}; repeat the command")
            time.sleep(0 if state in ENDED else LOOK_EVERY_S)
        if state != "SUCCEEDED":
            info = _asking(self.address, lambda: client.get_job_info(name))
            raise ClusterError(f"job {name} has {state.lower()}: {_cause(info.message or 'see its log above')}")


async def _tail(client: Any, name: str, skip: int, show: Callable[[str], None]) -> int:
    """Show a job's log from its `skip`-th character, until it ends or the connection does; returns how far it came."""
    position = 0
    stream: AsyncIterator[str] = client.tail_job_logs(name)
    async with aclosing(stream) as chunks:  # type: ignore[type-var]  # Ray promises less than it gives
        async for chunk in chunks:
            fresh = chunk[max(0, skip - position) :]
            position += len(chunk)
            if fresh:
                show(fresh.rstrip("\n"))
    return max(position, skip)


def _asking(address: str, ask: Callable[[], Any]) -> Any:
    """What Ray answers, or one line that says why it does not."""
    from ray.exceptions import RayError

    try:
        return ask()
    except (RayError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(f"{address}: {_advice(str(error))}") from error


def _advice(text: str) -> str:
    """What to do about an error of Ray's client, in one line."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no answer")
    if first.startswith("Authentication failed"):
        return "it does not know this token; check RAY_AUTH_TOKEN"
    if first.startswith("Authentication required"):
        return "it asks for a token: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to the file that holds it"
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
