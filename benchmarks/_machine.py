"""The machine that benchmarks ran on, for people."""

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """Where and when: one line."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "opencv-python-headless"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return f"{cpu_model()}, {cores} cores, {platform.system()}, Python {platform.python_version()}, {packages}; {today}"


def cpu_model() -> str:
    """What the processor calls itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
