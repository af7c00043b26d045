import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.kube.conftest import kubeconfig, server  # noqa: F401 # fixtures of the tests of histoseg.kube

TOKEN = "very-secret"


class Dashboard(BaseHTTPRequestHandler):
    """Answers as Ray 2.60's dashboard does with a token: 401 without one, 403 with a wrong one."""

    mode, healthy, seen = "token", True, []

    def do_GET(self):
        given = self.headers.get("Authorization")
        self.seen.append((self.path, given))
        allowed = self.mode == "disabled" or given == f"Bearer {TOKEN}"
        status = 200 if allowed else 403 if given else 401
        if self.path == "/api/gcs_healthz":
            status = 200 if self.healthy else 503
        if self.mode == "redirect":
            status = 302
        self.send_response(status)
        self.send_header("Location", "http://elsewhere.example/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def dashboard(monkeypatch):
    monkeypatch.setattr(Dashboard, "seen", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Dashboard) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


@pytest.fixture
def api(server):  # noqa: F811 # a fixture
    """An API server with a release of the chart, and all that it needs."""
    from tests.doctor.release import config_map, node_with, with_nodes
    from tests.kube.lab import CONFIG_MAPS

    server.put(CONFIG_MAPS, "histoseg-settings", config_map())
    server.put("v1/secrets", "lab-store", {"data": dict.fromkeys(("access", "secret"), "aHVzaA==")})
    with_nodes(server, node_with("a", 1), node_with("b", 4))
    return server
