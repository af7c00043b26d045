"""A real kube-apiserver with its etcd on loopback: schemas, admission, rights and quotas as in a cluster.

The two programs are not in this repository. They are taken from the folder that KUBEBUILDER_ASSETS names, or from one
beside the checkout. Nothing else of a cluster runs: no controller and no kubelet.
"""

import ctypes
import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from itertools import count
from pathlib import Path

import pytest
import urllib3
import yaml

from tests.beside import beside
from tests.charts.test_store import free_ports

ASSETS = beside("KUBEBUILDER_ASSETS", "kubebuilder-assets")
CRDS = beside("HISTOSEG_CRDS", "crds")
NAMESPACE = "research"
ADMIN = "/O=system:masters/CN=admin"
# Fields of a path that differ from the kind in lower case with an s
PLURALS = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"}
PLURALS |= {"PriorityClass": "priorityclasses", "RuntimeClass": "runtimeclasses"}
CLUSTER_WIDE = (
    "ClusterQueue",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
    "Node",
    "PriorityClass",
    "RuntimeClass",
)
PR_SET_PDEATHSIG = 1  # linux/prctl.h
READY_S = 180.0  # Seconds on an idle machine


@dataclass(frozen=True)
class Credentials:
    """A client certificate and its key."""

    certificate: Path
    key: Path


class RealApiServer:
    """A server, which starts with `start`.

    Attributes:
        folder: With the certificates of users and of the server.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = free_ports(("api", "etcd", "peer"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._numbers = count(1)
        make_keys(folder)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._ports['api']}"

    def start(self) -> None:
        """Start what does not run, and wait until the server is ready."""
        for name, flags in {"etcd": etcd(self._ports), "kube-apiserver": api_server(self._ports)}.items():
            if name not in self._processes:
                with (self.folder / f"{name}.log").open("ab") as log:
                    command = [ASSETS / name, *flags]
                    said = {"stdout": log, "stderr": log}
                    self._processes[name] = subprocess.Popen(
                        command, cwd=self.folder, preexec_fn=end_with_parent, **said
                    )
        self._wait_until_ready()

    def kill(self) -> None:
        """End the API server as a machine that fails does; what it stored stays in etcd."""
        process = self._processes.pop("kube-apiserver")
        process.kill()
        process.wait()

    def close(self) -> None:
        """End both programs, the API server first."""
        self.pool.clear()
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def namespace(self, **labels: str) -> str:
        """The name of a new namespace with Pod Security's profile `restricted`, as a careful cluster has it."""
        name = f"lab-{next(self._numbers)}"
        self.create_namespace(name, **labels)
        return name

    def create_namespace(self, name: str, **labels: str) -> None:
        """The same with this name."""
        metadata = {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted", **labels}}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        assert self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}) == ""
        assert self.create(account, namespace=name) == ""  # Otherwise a controller's work

    @property
    def authority(self) -> Path:
        return self.folder / "certs" / "apiserver.crt"

    def credentials(self, subject: str) -> Credentials:
        """A user, as /O=group/CN=name."""
        found = Credentials(self.folder / f"{subject[1:].replace('/', '-')}.crt", self.folder / "user.key")
        if not found.certificate.exists():
            openssl(self.folder, "req", "-new", "-key", "user.key", "-out", "user.csr", "-subj", subject)
            signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
            openssl(self.folder, "x509", "-req", "-in", "user.csr", *signer, "-out", found.certificate)
        return found

    def kubeconfig(self, subject: str = ADMIN, namespace: str = NAMESPACE) -> str:
        """A kubeconfig with a context `lab` for a user, as /O=group/CN=name."""
        user = self.credentials(subject)
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        credentials = {"client-certificate": str(user.certificate), "client-key": str(user.key)}
        return yaml.safe_dump(
            {
                "clusters": [{"name": "lab", "cluster": cluster}],
                "users": [{"name": "me", "user": credentials}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me", "namespace": namespace}}],
            }
        )

    def create(self, manifest: dict, *, dry_run: bool = False, namespace: str = NAMESPACE) -> str:
        """Create an object as administrator, or only try; "" if the server accepts it, else what it says."""
        query = "?fieldValidation=Strict&dryRun=All" if dry_run else "?fieldValidation=Strict"
        return self.send("POST", f"{path_of(manifest, namespace)}{query}", manifest)

    def send(self, method: str, path: str, body: dict | bytes | None = None, content: str = "application/json") -> str:
        """A request as administrator; "" if it succeeds, else what the server says."""
        answer = self._ask(method, path, body, content)
        return "" if answer.status < HTTPStatus.BAD_REQUEST else answer.data.decode()

    def get(self, path: str) -> dict:
        """An object, or a list."""
        return self._ask("GET", path).json()

    def post(self, path: str, body: dict) -> dict:
        """What the server makes of an object."""
        return self._ask("POST", path, body).json()

    def _ask(
        self, method: str, path: str, body: dict | bytes | None = None, content: str = "application/json"
    ) -> urllib3.BaseHTTPResponse:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        return self.pool.request(method, f"{self.url}{path}", body=data, headers={"Content-Type": content}, timeout=60)

    @cached_property
    def pool(self) -> urllib3.PoolManager:
        """Connections as administrator."""
        user = self.credentials(ADMIN)
        keys = {"cert_file": str(user.certificate), "key_file": str(user.key)}
        return urllib3.PoolManager(ca_certs=str(self.authority), **keys, retries=False, maxsize=16)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while self._processes["kube-apiserver"].poll() is None and time.monotonic() < deadline:
            try:
                if not self.send("GET", "/readyz"):
                    return
            except (urllib3.exceptions.HTTPError, OSError):
                self.__dict__.pop("pool", None)  # The server makes its certificate when it starts
            time.sleep(0.2)
        log = (self.folder / "kube-apiserver.log").read_text()
        raise AssertionError(f"kube-apiserver did not come up: {log[-2000:]}")


def path_of(manifest: dict, namespace: str) -> str:
    """Where objects of its kind are created."""
    group = manifest["apiVersion"]
    plural = PLURALS.get(manifest["kind"], f"{manifest['kind'].lower()}s")
    scope = "" if manifest["kind"] in CLUSTER_WIDE else namespace
    return f"/{f'apis/{group}' if '/' in group else f'api/{group}'}{f'/namespaces/{scope}' if scope else ''}/{plural}"


def openssl(folder: Path, *words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], cwd=folder, check=True, capture_output=True)


@contextmanager
def running() -> Iterator[RealApiServer]:
    """A server with the CRDs of KubeRay, Kueue and the Prometheus operator, and a namespace; skips without programs."""
    if not (ASSETS / "kube-apiserver").exists():
        pytest.skip(f"no kube-apiserver in {ASSETS}; set KUBEBUILDER_ASSETS to a folder that has it, with etcd")
    if not CRDS.is_dir():
        pytest.skip(
            f"no CRDs in {CRDS}; put KubeRay's, Kueue's and the Prometheus operator's there, or set HISTOSEG_CRDS"
        )
    with tempfile.TemporaryDirectory(prefix="api-server-") as folder, closing(RealApiServer(Path(folder))) as server:
        server.start()
        server.create_namespace(NAMESPACE)
        install(server)
        yield server


def end_with_parent() -> None:
    """A test run that is killed must not leave its servers."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def make_keys(folder: Path) -> None:
    """Of service accounts, of the authority for users, and of all users."""
    openssl(folder, "genrsa", "-out", "accounts.key", "2048")
    openssl(folder, "rsa", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")
    openssl(folder, "genrsa", "-out", "user.key", "2048")
    words = ("-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test", "-days", "2")
    openssl(folder, "req", "-x509", *words)


def etcd(ports: dict[str, int]) -> list[str]:
    client, peer = f"http://127.0.0.1:{ports['etcd']}", f"http://127.0.0.1:{ports['peer']}"
    return [
        "--data-dir=etcd",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def api_server(ports: dict[str, int]) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{ports['etcd']}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={ports['api']}",
        "--cert-dir=certs",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--client-ca-file=ca.crt",
        "--authorization-mode=RBAC",
        f"--service-account-issuer=https://127.0.0.1:{ports['api']}",
        "--service-account-signing-key-file=accounts.key",
        "--service-account-key-file=accounts.pub",
    ]


def install(server: RealApiServer) -> None:
    """The CRDs; the server reads their YAML, which takes Python seconds."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for file in sorted(CRDS.glob("*.yaml")):
        assert server.send("POST", path, file.read_bytes(), "application/yaml") == ""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and not all(is_served(server, each) for each in server.get(path)["items"]):
        time.sleep(0.2)


def is_served(server: RealApiServer, crd: dict) -> bool:
    spec = crd["spec"]
    version = next(each["name"] for each in spec["versions"] if each["served"])
    return not server.send("GET", f"/apis/{spec['group']}/{version}/{spec['names']['plural']}")
