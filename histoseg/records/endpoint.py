"""The HTTP server of the exporter: /metrics for Prometheus, /healthz for a supervisor that restarts it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from socketserver import ThreadingTCPServer
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, MetricsHandler

from histoseg.errors import ConfigError


class _Handler(MetricsHandler):
    timeout = 30  # Seconds after which a silent client is disconnected
    is_hung: Callable[[], bool]

    def do_GET(self) -> None:  # noqa: N802 - the name by which http.server finds it
        path = urlsplit(self.path).path
        if path == "/metrics":
            super().do_GET()
            return
        status, body = HTTPStatus.NOT_FOUND, "choose /metrics or /healthz"
        if path == "/healthz":
            status, body = HTTPStatus.OK, "ok"
            if self.is_hung():
                status, body = HTTPStatus.SERVICE_UNAVAILABLE, "reading has stopped; restart this process"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(f"{body}\n".encode())


@contextmanager
def listening(metrics: CollectorRegistry, is_hung: Callable[[], bool], host: str, port: int) -> Iterator[int]:
    """Serve metrics in the background while the context lasts; yields the port, a free one for port 0.

    `is_hung` says whether /healthz is to ask for a restart.
    """
    hangs = staticmethod(is_hung)

    class Handler(_Handler):
        registry = metrics
        is_hung = hangs

    class Server(ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        allow_reuse_address = True
        daemon_threads = True

    try:
        server = Server((host, port), Handler)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; choose --host or --port") from error
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
