"""Requests to a viewer that runs, exactly as written: a path is neither quoted nor shortened."""

import http.client
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from histoseg.viewer.routes import Routes
from histoseg.viewer.server import serving


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The one line that every refusal has."""
        assert self.status >= 400
        assert self.headers["Content-Type"] == "application/json"
        text = self.json["error"]
        assert "\n" not in text
        return text


@dataclass(frozen=True, kw_only=True)
class Client:
    port: int
    host: str = "127.0.0.1"

    def ask(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            return Reply(status=answer.status, headers=dict(answer.getheaders()), body=answer.read())
        finally:
            connection.close()

    def of(self, slide, what, **headers):
        return self.ask(f"/api/slides/{quote(slide)}/v/{what}", **headers)


@contextmanager
def viewing(store, *, slides=None, token=None):
    """A viewer of a store, in this process."""
    routes = Routes(store, slides)
    with serving(routes, "127.0.0.1", 0, token) as port:
        yield Client(port=port)
    routes.close()


@contextmanager
def command(*words):
    """The running command and the address in its last line; it ends without an error."""
    line = [sys.executable, "-m", "histoseg.cli", "view", *map(str, words)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            printed = []
            while not printed or not printed[-1].startswith("http"):
                printed.append(process.stdout.readline())
                assert printed[-1], process.stderr.read()
            yield printed, process
        finally:
            process.kill()
