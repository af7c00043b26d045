"""The one thing of a kubelet that tests need: the logs of containers, which the API server asks it for."""

import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

NODE = "node-1"


@dataclass
class Log:
    """A container's log.

    Attributes:
        breaks: After how many lines the proxy cuts each connection in turn, in the middle of the next line.
        over: Whether the container has ended; otherwise the connection stays open and silent.
        instead: What the kubelet says in place of the log, in a line without a time.
    """

    lines: list[tuple[str, str]]
    breaks: list[int] = field(default_factory=list)
    over: bool = True
    instead: str = ""


class Kubelet(ThreadingHTTPServer):
    """Serves /containerLogs/<namespace>/<pod>/<container>; `logs` is by pod."""

    daemon_threads = True

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.logs: dict[str, Log] = {}
        self.is_closing = False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def node(self) -> dict:
        """The Node on which this kubelet runs; its status is a subresource."""
        endpoints = {"kubeletEndpoint": {"Port": self.server_port}}
        status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": endpoints}
        return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "status": status}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, but not a reader that went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Kubelet

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        log = self.server.logs.get(parts.path.split("/")[3])
        if log is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self._write(log, options)

    def _write(self, log: Log, options: dict[str, str]) -> None:
        if log.instead:
            self.wfile.write(log.instead.encode())
            return
        written = len(log.lines) - len(recent(log.lines, int(options.get("sinceSeconds", 0))))
        with_times = options.get("timestamps") == "true"
        while not self.server.is_closing:
            for stamp, text in log.lines[written:]:
                self.wfile.write(f"{stamp} {text}\n".encode() if with_times else f"{text}\n".encode())
                self.wfile.flush()
                written += 1
            if log.over or options.get("follow") != "true":
                return
            time.sleep(0.01)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running(certificate: Path, key: Path) -> Iterator[Kubelet]:
    """A kubelet that runs."""
    with Kubelet(certificate, key) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.is_closing = True
        server.shutdown()
        thread.join()


def recent(lines: list[tuple[str, str]], seconds: int) -> list[tuple[str, str]]:
    """Those of the last seconds before the newest; the stamps here differ only in their minutes and seconds."""
    if not seconds or not lines:
        return lines
    now = _seconds(lines[-1][0])
    return [line for line in lines if _seconds(line[0]) >= now - seconds]


def _seconds(stamp: str) -> int:
    hours, minutes, seconds = stamp[11:19].split(":")
    return 3600 * int(hours) + 60 * int(minutes) + int(float(seconds.rstrip("Z")))


def stamped(*texts: str, first: int = 0) -> list[tuple[str, str]]:
    """Lines a second apart."""
    return [(f"2025-01-01T00:{(first + i) // 60:02}:{(first + i) % 60:02}.5Z", text) for i, text in enumerate(texts)]
