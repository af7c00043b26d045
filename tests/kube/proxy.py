"""A way to an API server that spoils some of its answers and remembers what was asked; all else passes as it is."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import urllib3

HOP = ("connection", "transfer-encoding", "content-length", "host", "authorization", "accept-encoding")


@dataclass
class Fault:
    """What requests of a method whose path ends so get instead of an answer, a number of times.

    Attributes:
        status: 0 means that the connection is cut.
        is_half: Whether only half of the body comes; then the connection is cut, after hang_s.
    """

    method: str
    path_end: str
    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    hang_s: float = 0.0
    is_half: bool = False


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    params: dict[str, str]
    body: bytes
    headers: urllib3.HTTPHeaderDict


class Proxy(ThreadingHTTPServer):
    """In front of a server, as a user of it.

    Attributes:
        cuts: After how many lines of a pod's log the next connection to it is cut, in the middle of a line.
        seen: Called with the path of each GET that found something, before the answer is passed on.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, target: str, pool: urllib3.PoolManager, user: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.pool, self.user = target, pool, user
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.cuts: Callable[[str], int | None] = lambda _path: None
        self.seen: Callable[[str], Any] = lambda _path: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, but not a reader that went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _answer(self) -> None:
        body, parts = self.rfile.read(int(self.headers.get("Content-Length") or 0)), urlsplit(self.path)
        params = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.asked.append(
            Asked(self.command, parts.path, params, body, urllib3.HTTPHeaderDict(self.headers.items()))
        )
        for fault in self.server.faults:
            if fault.times and self.command == fault.method and parts.path.endswith(fault.path_end):
                fault.times -= 1
                self._fail(fault)
                return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        headers |= {"Impersonate-User": self.server.user} if self.server.user else {}
        url = f"{self.server.target}{self.path}"
        response = self.server.pool.request(self.command, url, body=body, headers=headers, preload_content=False)
        try:
            self._pass_on(response, parts.path)
        except (urllib3.exceptions.HTTPError, OSError):
            self.close_connection = True
        finally:
            response.close()

    def _pass_on(self, response: urllib3.BaseHTTPResponse, path: str) -> None:
        if path.endswith("/log") and response.status == 200:
            self._stream(response, self.server.cuts(path))
            return
        body = response.read()
        if self.command == "GET" and response.status == 200:
            self.server.seen(path)
        self._send(response.status, body, {"Content-Type": response.headers.get("Content-Type", "")})

    def _stream(self, response: urllib3.BaseHTTPResponse, cut: int | None) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        num_lines = 0
        for part in response.stream(1 << 16):
            for line in part.splitlines(keepends=True):
                if num_lines == cut:
                    self._chunk(line[: len(line) // 2])
                    self.close_connection = True
                    return
                self._chunk(line)
                num_lines += 1
        self._chunk(b"")

    def _chunk(self, part: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.flush()

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, fault: Fault) -> None:
        body = fault.body.encode()
        if fault.is_half:
            self.send_response(fault.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
        time.sleep(fault.hang_s)
        if fault.is_half or not fault.status:
            self.close_connection = True
        else:
            self._send(fault.status, body, fault.headers)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(target: str, pool: urllib3.PoolManager, user: str) -> Iterator[Proxy]:
    """A proxy that runs."""
    with Proxy(target, pool, user) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()
