"""Which code, in which versions, on which device computed a result."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("histoseg", "torch", "ray", "numpy", "opencv-python-headless", "albumentations")


def git_commit() -> str:
    """The commit of the running code, with `+changes` if files differ from it.

    An image without a git folder carries its commit in HISTOSEG_COMMIT; "unknown" if there is neither.
    """
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
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
