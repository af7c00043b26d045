"""This machine, its processes and this code: cores that may be used, ids, which versions and which commit run."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: "<quota> <period>" in microseconds, or "max <period>"
PROC = Path("/proc")  # Linux only
MEMORY = Path("/proc/meminfo")
CGROUP_MEMORY = Path("/sys/fs/cgroup")  # memory.max: bytes, or "max"; memory.current: bytes in use
CODE = ("histoseg", "ray_jobs")
PACKAGES = ("histoseg", "torch", "ray", "numpy", "opencv-python-headless", "albumentations")


def available_cpus() -> int:
    """How many cores this process may keep busy: at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CGROUP_CPU.read_text().split()
    except (OSError, ValueError):
        return affinity
    return affinity if quota == "max" else max(1, min(affinity, int(quota) // int(period)))


def machine_id() -> str:
    """The machine's name, on Linux with its start and the namespace in which process numbers count."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def process_id() -> str:
    """This process's number and its start, which no other process of this machine ever has together."""
    return f"{os.getpid()} {_start_of(os.getpid())}"


def is_running(process: str) -> bool:
    """Whether a process of this machine, named by its `process_id`, still runs."""
    number, _, start = process.partition(" ")
    return start == _start_of(int(number))


def _start_of(number: int) -> str:
    """When a process was started; empty if there is none of this number, or it has ended and was not waited for."""
    if not PROC.exists():
        words = ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(number)]
        state, *start = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split() or ["Z"]
        return "" if state.startswith("Z") else " ".join(start)
    try:
        stat = (PROC / str(number) / "stat").read_text().rpartition(")")[2].split()  # proc(5): from field 3 on
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if stat[0] in "ZX" else stat[19]  # Field 22: clock ticks since the machine's start


def available_memory() -> int | None:
    """Bytes that this process can still take without swapping; None where the system does not say."""
    limits = [limit for limit in (_free_memory(), _free_in_container()) if limit is not None]
    return min(limits, default=None)


def _free_memory() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        return None


def _free_in_container() -> int | None:
    """What the container's limit leaves; pages of files that were read can be given up, so they count as free."""
    try:
        limit = int((CGROUP_MEMORY / "memory.max").read_text())
        used = int((CGROUP_MEMORY / "memory.current").read_text())
        counts = dict(line.split() for line in (CGROUP_MEMORY / "memory.stat").read_text().splitlines())
        return limit - used + int(counts.get("file", 0))
    except (OSError, ValueError):
        return None


def git_commit() -> str:
    """The commit of the running code, with `+changes` if a file of it is new or differs.

    Code that no repository tracks, as in an image, has its commit in HISTOSEG_COMMIT; "unknown" if there is neither.
    """
    here = Path(__file__)
    try:
        _git(
            here.parent, "ls-files", "--error-unmatch", here.name
        )  # Otherwise the code only lies inside another repository.
        commit = _git(here.parent, "rev-parse", "HEAD")
        changed = _git(here.parents[1], "status", "--porcelain", "--untracked-files=all", "--", *CODE)
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("HISTOSEG_COMMIT", "unknown")
    return commit + ("+changes" if changed else "")


def versions() -> dict[str, str]:
    """The versions that can change a number."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
