"""A Ray of several nodes on one machine, each of which can be killed as a machine dies: all of it, at once."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
LOCALHOST = "127.0.0.1"

# `ray start`, but on loopback. With the switch below, Ray's servers keep to 127.0.0.1; `ray start` then refuses workers
# because machines of their own could not reach a head there. These can.
START = """
from ray._private import ray_constants, services
ray_constants.ENABLE_RAY_CLUSTER = True
services.get_node_ip_address = lambda address=None: "127.0.0.1"
from ray.scripts.scripts import main
main()
"""
PATIENCE_S = 120


def free_ports(count):
    """That many free ports, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOCALHOST, 0))
        return [each.getsockname()[1] for each in sockets]


class Nodes:
    """The head, and workers by name.

    Attributes:
        environment: What every process of this Ray, and whoever talks to it, has set.
        metrics: The address of each node's metrics, by the node's name.
    """

    def __init__(self, folder, environment):
        self.folder = folder
        self.sockets = tempfile.mkdtemp(prefix="nodes-", dir="/tmp")  # A Unix socket's path has at most 107 characters.
        self.gcs, self.dashboard, self.client = free_ports(3)
        self.token = secrets.token_hex(16)
        self.environment = {
            **os.environ,
            **environment,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # as in an image: its own python
            "PYTHONPATH": environment.get("PYTHONPATH", str(ROOT)),
            "HOME": str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
            "RAY_health_check_period_ms": "1000",  # a dead node is noticed in seconds
            "OMP_NUM_THREADS": "1",
        }
        self.metrics = {}
        self.running = {}
        self.started = []

    @property
    def address(self):
        return f"http://{LOCALHOST}:{self.dashboard}"

    def start_head(self):
        words = ["--head", f"--port={self.gcs}", f"--dashboard-host={LOCALHOST}", f"--dashboard-port={self.dashboard}"]
        words += [f"--ray-client-server-port={self.client}", "--num-cpus=0", "--memory=0"]
        self._start("head", words)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{self.address}/api/gcs_healthz", timeout=5) as answer:
                if answer.status == 200:
                    return
            assert time.monotonic() < deadline, self.log("head")
            time.sleep(0.5)

    def start_worker(self, name, num_cpus=1):
        """Start a worker and wait until it has joined; on a busy machine Ray gives up on itself after 30 s."""
        deadline = time.monotonic() + PATIENCE_S
        while name not in self.ids():
            assert time.monotonic() < deadline, self.log(name)
            if name not in self.running or self.running[name].poll() is not None:
                self._start(name, [f"--address={LOCALHOST}:{self.gcs}", f"--num-cpus={num_cpus}"])
            time.sleep(0.5)

    def run(self, program):
        """A program that may connect to this Ray, as a job on its head does; its output can be read as text."""
        environment = {**self.environment, "RAY_ADDRESS": f"{LOCALHOST}:{self.gcs}"}
        command = [sys.executable, "-c", program]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        return subprocess.Popen(command, env=environment, cwd=self.folder, **streams)

    def metrics_of(self, name):
        """Where a node's metrics are, or will be once it is started."""
        if name not in self.metrics:
            self.metrics[name] = f"{LOCALHOST}:{free_ports(1)[0]}"
        return self.metrics[name]

    def _start(self, name, words):
        agent, grpc = free_ports(2)
        metrics = self.metrics_of(name).rpartition(":")[2]
        words += [f"--node-ip-address={LOCALHOST}", f"--metrics-export-port={metrics}", f"--node-name={name}"]
        words += [f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={grpc}"]
        # A folder of its own, as on a machine of its own; in a shared one every node would pass on every node's log.
        words += [f"--temp-dir={self.sockets}/{len(self.started)}"]
        self.started.append(name)
        words += [f"--object-store-memory={128 * 2**20}", "--block", "--disable-usage-stats"]
        self.folder.mkdir(exist_ok=True, parents=True)
        with (self.folder / f"{name}.log").open("w") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-c", START, "start", *words],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def processes(self, name):
        """All processes of a node."""
        owner = psutil.Process(self.running[name].pid)
        return [*owner.children(recursive=True), owner]

    def kill(self, name):
        """End a node as a machine's power cut would."""
        for process in self.processes(name):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.running.pop(name).wait()

    def ids(self):
        """The id of each living node, by its name, as Ray's own state API has it."""
        request = urllib.request.Request(
            f"{self.address}/nodes?view=summary", headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            summary = json.load(answer)["data"]["summary"]
        return {
            node["raylet"].get("nodeName", ""): node["raylet"]["nodeId"]
            for node in summary
            if node["raylet"].get("state") == "ALIVE"
        }


@contextmanager
def nodes(folder, environment):
    """A Ray with a head that computes nothing, and no workers yet; all its processes are gone afterwards."""
    ray = Nodes(folder, environment)
    try:
        ray.start_head()
        yield ray
    finally:
        for name in [name for name in ray.running if name != "head"] + ["head"]:
            if name in ray.running:
                ray.kill(name)
