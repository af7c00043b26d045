"""A Prometheus of one's own for a test: on a free port of this machine, its data in a folder, gone afterwards."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

NEEDS_PROMETHEUS = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed: Debian's package prometheus has it"
)
SCRAPE_EVERY_S = 2
READY_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query, each with `metric` and `value`."""
        return self._ask("query", query=expression)["result"]

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped, each with `health` and `lastError`."""
        return self._ask("targets")["activeTargets"]

    def wait_for(self, expression: str, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """The series of a query as soon as there are any; [] if there are none in time."""
        deadline = time.monotonic() + timeout_s
        while not (found := self.query(expression)) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def _ask(self, path: str, **words: str) -> Any:
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(words)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{words}: {error.read().decode()}") from error


@contextmanager
def prometheus(
    targets: Mapping[str, Sequence[str]], folder: Path, labels: Mapping[str, str] | None = None
) -> Iterator[Prometheus]:
    """A server that scrapes host:port addresses, given by job; `labels` are what a PodMonitor would add to each."""
    scrapes = [
        {"job_name": job, "static_configs": [{"targets": list(addresses), "labels": dict(labels or {})}]}
        for job, addresses in targets.items()
    ]
    every = f"{SCRAPE_EVERY_S}s"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": every}, "scrape_configs": scrapes}))
    url = f"http://127.0.0.1:{_free_port()}"
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen([*command, f"--web.listen-address={url[7:]}"], stdout=log, stderr=log, cwd=folder)
        try:
            _wait_until_ready(url, server, folder / "prometheus.log")
            yield Prometheus(url)
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_until_ready(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"prometheus did not come up: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])
