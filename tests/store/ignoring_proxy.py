"""A real S3 service that accepts conditional puts and ignores the condition: SeaweedFS behind a proxy that drops it.

Requests are signed anew, since the signature covers the header that is dropped.
"""

import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ray_jobs.local_store import exported

DROPPED = ("if-none-match", "authorization", "host", "connection", "x-amz-date", "expect")


@contextmanager
def ignoring_proxy():
    """The server of the environment behind the proxy; `os.environ` points there meanwhile."""
    server_url = os.environ["AWS_ENDPOINT_URL"]
    key = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    pool = urllib3.PoolManager()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kept = {name: value for name, value in self.headers.items() if name.lower() not in DROPPED}
            request = AWSRequest(self.command, server_url + self.path, kept, body)
            S3SigV4Auth(key, "s3", "us-east-1").add_auth(request)
            answer = pool.request(self.command, request.url, body=body, headers=dict(request.headers), redirect=False)
            self.send_response(answer.status)
            lengths = ("content-length", "transfer-encoding", "connection")
            for name, value in answer.headers.items():
                if name.lower() not in lengths:
                    self.send_header(name, value)
            length = answer.headers["Content-Length"] if self.command == "HEAD" else len(answer.data)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(answer.data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        with exported({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}):
            yield
        server.shutdown()
        pool.clear()
