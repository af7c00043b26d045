"""Servers for tests: one that gives a fixed answer, and a SeaweedFS that has all that ours for one machine has not."""

import base64
import json
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ray_jobs import local_store

DOMAIN = "store.localhost"
ROLE = "arn:aws:iam::role/lab"


@dataclass
class Canned:
    """A server, and the requests that it has got: method, path, headers."""

    url: str
    seen: list = field(default_factory=list)

    @property
    def environment(self):
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


@contextmanager
def canned(status, headers=(), body=b""):
    """A server that gives every request the same answer."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            served.seen.append((self.command, self.path, dict(self.headers)))
            self.send_response(status)
            for name, value in dict(headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        served = Canned(url=f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield served
        server.shutdown()


def certificate(folder, name, *names, days=10):
    """A certificate signed by itself, for these names; returns its path, beside which its key is."""
    made = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt", "-subj", f"/CN={name}"]
    made += ["-addext", "subjectAltName=" + ",".join(names), "-days", str(days), "-nodes"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run(["openssl", "req", "-x509", *curve, *made], check=True, capture_output=True)
    return folder / f"{name}.crt"


@dataclass(frozen=True)
class Weed:
    """A SeaweedFS at [::1], with a plain and an encrypted port; its bucket is `histoseg`."""

    port: int
    tls_port: int
    certificate: Path
    key: str
    secret: str

    @property
    def environment(self):
        return {
            "AWS_ENDPOINT_URL": f"http://[::1]:{self.port}",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }


@contextmanager
def weed(folder):
    """It serves buckets as paths and as names below DOMAIN, and gives temporary keys for ROLE."""
    (folder / "objects").mkdir()
    ports, tls_port = local_store._free_ports(), local_store._free_ports()["s3.port"]
    key, secret = local_store._credentials(folder / "s3.json")
    crt = certificate(folder, "weed", "IP:::1", f"DNS:*.{DOMAIN}", f"DNS:{DOMAIN}")
    (folder / "iam.json").write_text(json.dumps(roles()))
    more = ["-s3.ip.bind=::1", f"-s3.port.https={tls_port}", f"-s3.cert.file={crt}", f"-s3.key.file={folder}/weed.key"]
    more += [f"-s3.domainName={DOMAIN}", f"-s3.iam.config={folder}/iam.json"]
    served = Weed(ports["s3.port"], tls_port, crt, key, secret)
    client = local_store._client({**served.environment, "AWS_REGION": "us-east-1"})
    command = [*local_store._command(folder, ports), *more]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            deadline = time.monotonic() + 60
            while not local_store._is_writable(client, "histoseg"):
                assert server.poll() is None, (folder / "log").read_text(errors="replace")[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield served
        finally:
            server.kill()


def roles():
    """SeaweedFS' settings by which anyone who has a key may ask for a temporary one."""
    grant = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole"]}
    signing = {"issuer": "test", "signingKey": base64.b64encode(b"k" * 32).decode()}
    return {
        "sts": {"tokenDuration": "1h", "maxSessionLength": "12h", **signing},
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{"name": "all", "document": {"Version": "2012-10-17", "Statement": [grant]}}],
        "roles": [
            {
                "roleName": "lab",
                "roleArn": ROLE,
                "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
                "attachedPolicies": ["all"],
            }
        ],
    }
