"""The Ray that cells run on: one started for this machine (loopback only, behind a token), or an existing one."""

import importlib.util
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoseg.errors import ClusterError
from ray_jobs.local_store import LOCALHOST, exported
from ray_jobs.logs import show_only_our_lines

OBJECT_STORE_BYTES = 256 * 2**20  # Only configurations and log lines pass through Ray; images never do.
SOCKET_FOLDER_CHARS = 40  # Ray adds about 65 below its folder, and a Unix socket's path has at most 107.

# Settings for any Ray, in the job's process and its workers'; docs/lab-notes.md has the measurements.
SETTINGS = {
    "RAY_DEDUP_LOGS": "0",  # Progress lines differ only in their numbers, which Ray takes for repetition.
    "RAY_COLOR_PREFIX": "0",  # Logs are kept and searched; escape codes are in the way there.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # Tune looks at all errors; Ray prints those that it has not seen yet.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # How late the end of a run is noticed.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # A node that is still to come takes minutes; default 60.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # Records lie in the store; Tune's copies are not read.
    "RAY_AIR_NEW_OUTPUT": "0",  # The newer output of Tune prints a banner whatever its verbosity.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the job; Tune would go on to hand out half a grid.
    "OMP_NUM_THREADS": "1",  # Workers that share cores slow each other down many times over with spinning threads.
    "NO_ALBUMENTATIONS_UPDATE": "1",  # Else every worker asks the internet whether there is a newer release.
}
# Further settings for a Ray that is started here.
ENVIRONMENT = SETTINGS | {
    "RAY_AUTH_MODE": "token",
    # The switch that keeps Ray on 127.0.0.1 on desktops; on Linux it would listen on the machine's address.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # One process less per run; this machine is not reclaimed.
}

# Ray's agents outlive a killed owner for a minute, in which they try to report to it (the 60 s are fixed in Ray's
# publish_error_to_driver). This reads until the owner ends, in any way, and then ends them.
_END_WITH_OWNER = 'cat >/dev/null; sleep 5; kill -9 "$@" 2>/dev/null'


@dataclass(frozen=True, kw_only=True)
class LocalRay:
    """A running Ray: its dashboard, the file with the token that it asks for, and the folder of Ray's own logs."""

    dashboard_url: str
    token_path: Path
    logs: Path


@contextmanager
def local_ray(folder: Path, num_cpus: int | None = None) -> Iterator[LocalRay]:
    """A Ray started for this process, and shut down at the end.

    Args:
        folder: Keeps the token, and if its path is short enough, Ray's session.
        num_cpus: The CPUs that runs may take; None means all of this machine's.

    Raises:
        RuntimeError: If Ray was imported before: it reads its settings at import.
    """
    if "ray" in sys.modules:
        raise RuntimeError("local_ray() must set Ray's environment before anything imports ray")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    token_path = _token(folder)
    with ExitStack() as stack:
        settings = {name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()}
        stack.enter_context(exported({**settings, **_bytecode(folder), "RAY_AUTH_TOKEN_PATH": str(token_path)}))
        session = stack.enter_context(_session_folder(folder))
        import ray

        show_only_our_lines()
        context: Any = ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=True,
            dashboard_host=LOCALHOST,
            object_store_memory=OBJECT_STORE_BYTES,
            logging_level=logging.WARNING,
            _temp_dir=str(session),
        )
        stack.callback(ray.shutdown)
        stack.enter_context(_agents_end_with_owner())
        yield LocalRay(
            dashboard_url=f"http://{context.dashboard_url}",
            token_path=token_path,
            logs=Path(context.address_info["session_dir"]) / "logs",
        )


@contextmanager
def existing_ray() -> Iterator[None]:
    """A connection to the Ray of this machine, for a job that runs on its head."""
    settings = {name: os.environ.setdefault(name, value) for name, value in SETTINGS.items()}
    import ray

    show_only_our_lines()
    try:
        ray.init(address="auto", logging_level=logging.WARNING, runtime_env={"env_vars": settings})
    except (ConnectionError, RuntimeError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise ClusterError(
            f"no Ray can be reached from here: {line}; run this on a cluster's head, as a job"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _token(folder: Path) -> Path:
    """The file with the token, created if it is missing; only its owner may read it."""
    path, part = folder / "ray-token", folder / "ray-token.part"
    if not path.exists():
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_text(secrets.token_hex(32))
        part.replace(path)
    return path


@contextmanager
def _session_folder(folder: Path) -> Iterator[Path]:
    """Where Ray keeps its sockets and logs: in the folder, or in a short one if sockets could not lie so deep."""
    if len(os.fsencode(folder / "ray")) <= SOCKET_FOLDER_CHARS:
        yield folder / "ray"
        return
    short = Path(tempfile.mkdtemp(prefix="histoseg-ray-", dir="/tmp"))  # gettempdir() is too long as well on macOS.
    yield short
    shutil.rmtree(short, ignore_errors=True)  # After an error it stays: Ray's logs may say more.


def _bytecode(folder: Path) -> dict[str, str]:
    """Variables that let worker processes start from compiled modules, if they are not compiled already.

    Every run starts five processes that import Ray; from source each takes three times as long.
    """
    spec = importlib.util.find_spec("ray")
    compiled = spec is not None and spec.origin is not None and Path(importlib.util.cache_from_source(spec.origin))
    if not sys.dont_write_bytecode or (compiled and compiled.exists()):
        return {}
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "pycache")}


@contextmanager
def _agents_end_with_owner() -> Iterator[None]:
    """Have Ray's agents killed some seconds after this process has ended, if it ends while this lasts."""
    import psutil

    pids = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # Short-lived ones come and go meanwhile.
            pids += [str(child.pid)] if "agent" in " ".join(child.cmdline()).lower() else []
    with subprocess.Popen(
        ["/bin/sh", "-c", _END_WITH_OWNER, "sh", *pids],
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as watcher:
        try:
            yield
        finally:
            os.killpg(watcher.pid, 9)  # Before its pipe closes, so that after an ordinary end it kills nothing.
