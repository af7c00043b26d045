"""podman, as far as a test needs it: a network, pods on it, commands in them."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BASE = "localhost/histoseg-base:bookworm"


def environment() -> dict[str, str]:
    """Ours, and the settings that podman needs on a machine without systemd."""
    config = {} if Path("/run/systemd/system").exists() else {"CONTAINERS_CONF": str(HERE / "containers.conf")}
    return config | os.environ


def podman(*words: str, timeout_s: float = 120, check: bool = True) -> str:
    """Stdout of a command."""
    command = ["podman", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=timeout_s, check=False)
    if check and done.returncode:
        raise AssertionError(f"podman {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def build(target: str, image: str, version: str, wheels: str) -> None:
    """The image as dockerfiles/Dockerfile has it, on a base made of Debian packages; what is unchanged is kept."""
    if not podman("images", "--quiet", BASE):
        subprocess.run([ROOT / "dockerfiles" / "offline-base.sh", BASE], env=environment(), check=True, timeout=1200)
    words = ["build", "--pull=never", "--network=host", "--build-arg", f"BASE={BASE}"]
    words += ["--build-context", f"wheels={wheels}"] if wheels else ["--build-arg", "TORCH=cpu"]
    words += ["--build-arg", f"VERSION={version}", "--build-arg", "COMMIT=test", "--target", target, "--tag", image]
    podman(*words, "--file", str(ROOT / "dockerfiles" / "Dockerfile"), str(ROOT), timeout_s=1200)


@dataclass
class Cluster:
    """Pods on a network of their own. `close` removes all of it.

    Attributes:
        services: Names and the addresses that a pod of that name is to get.
    """

    name: str
    subnet: str
    folder: Path
    services: Mapping[str, str]
    pods: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        podman("network", "create", "--disable-dns", "--subnet", self.subnet, self.name)

    def start(self, pod: Mapping[str, Any], ip: str = "") -> str:
        """Run a pod; returns the name of its container."""
        name = pod["metadata"]["name"]
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(dict(pod)))
        self.pods.append(name)
        podman("kube", "play", "--network", self.name, *(["--ip", ip] if ip else []), str(path))
        return f"{name}-{pod['spec']['containers'][0]['name']}"

    def lose(self, name: str) -> None:
        """A pod is gone without a word, as with its machine."""
        podman("pod", "rm", "--force", "--time", "0", name)

    def close(self) -> None:
        """Remove the pods, their folders and the network."""
        for name in self.pods:
            with suppress(AssertionError):  # It was lost before.
                self.lose(name)
            for path in Path("/dev/shm").glob(f"{name}-*"):
                shutil.rmtree(path)
        podman("network", "rm", "--force", self.name)
