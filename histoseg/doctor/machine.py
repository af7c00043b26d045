"""Checks of this machine: whether it can run an experiment by itself."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from histoseg.doctor.check import Check
from histoseg.machine import available_cpus, versions

NEEDED_DISK_BYTES = 4 * 2**30
NEEDED_MEMORY_BYTES = 8 * 2**30


def machine_checks() -> Iterator[Check]:
    """Every check of this machine, as it is made."""
    found = versions()
    yield Check(what="Python", ok=sys.version_info >= (3, 11), found=found["python"], advice="use Python 3.11 or newer")
    for package in ("torch", "ray"):
        advice = "run `make setup`, or install histoseg[train]"
        yield Check(what=package, ok=package in found, found=found.get(package, "not installed"), advice=advice)
    yield Check(what="cores", ok=True, found=str(available_cpus()))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Check(
        what="memory",
        ok=memory >= NEEDED_MEMORY_BYTES,
        found=f"{memory / 2**30:.1f} GiB",
        advice="a run on one machine takes up to 8 GiB",
    )
    free = shutil.disk_usage(Path.cwd()).free
    yield Check(
        what="disk",
        ok=free >= NEEDED_DISK_BYTES,
        found=f"{free / 2**30:.1f} GiB free in {Path.cwd()}",
        advice=f"free {NEEDED_DISK_BYTES // 2**30} GiB, or work in another folder",
    )
    if "torch" in found:
        yield _accelerator()


def _accelerator() -> Check:
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none; training runs on the CPU"
    return Check(what="GPU", ok=True, found=name)
