"""The HTTP server of the viewer: it checks who asks, and sends what `Routes` answers."""

import logging
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from histoseg.errors import ConfigError
from histoseg.viewer.access import Access
from histoseg.viewer.answers import Answer, refuse
from histoseg.viewer.routes import Routes

logger = logging.getLogger(__name__)

KEEP_S = 3600
# Everything comes from this server; nothing is sent anywhere else, even if a slide's name contained a script.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFETY = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "histoseg", ""
    disable_nagle_algorithm = True  # A tile's header and body are two writes, which Nagle's algorithm would part.
    timeout = 60  # Seconds after which a silent connection is closed
    routes: Routes
    access: Access

    def do_GET(self) -> None:
        if reason := self.access.refusal(self.path, self.headers):
            status = HTTPStatus.FORBIDDEN if self.access.token is None else HTTPStatus.UNAUTHORIZED
            self._send(refuse(status, reason))
        elif self.access.token is not None and self.access.token_in(self.path):
            self._set_cookie()
        else:
            self._send(self.routes.answer(self.path))

    def do_HEAD(self) -> None:
        self.do_GET()

    def _set_cookie(self) -> None:
        """Keep the token in a cookie, and lead to the page without it in the address."""
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", "/")
        cookie = f"{self.access.cookie}={self.access.token}; HttpOnly; SameSite=Strict; Path=/"
        self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Length", "0")
        self._end()

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        kept = answer.keep and answer.status == HTTPStatus.OK
        self.send_header("Cache-Control", f"private, max-age={KEEP_S}, immutable" if kept else "no-store")
        self._end()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _end(self) -> None:
        for name, value in SAFETY.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses, as another method, in the same form."""
        self.close_connection = True
        self._send(refuse(HTTPStatus(code), explain or message or HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        logger.debug("%s %s", self.address_string(), format % args)


@contextmanager
def serving(routes: Routes, host: str, port: int, token: str | None) -> Iterator[int]:
    """Serve in the background while the context lasts; yields the port, a free one for port 0."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True
        request_queue_size = 64

        def server_bind(self) -> None:  # HTTPServer's asks for the name of this machine, which can take seconds.
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = host, int(self.server_address[1])

        def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - http.server's names
            logger.debug("connection lost", exc_info=True)  # A browser that leaves a page drops its requests.

    try:
        server = Server((host, port), _Handler)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; choose --host or --port") from error
    with server:
        access = Access(token=token, cookie=f"histoseg-{server.server_port}")
        server.RequestHandlerClass = type("Handler", (_Handler,), {"routes": routes, "access": access})
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
