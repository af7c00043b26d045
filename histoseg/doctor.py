"""Checks of this machine and a store, before anything is spent."""

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from histoseg.errors import HistosegError
from histoseg.machine import available_cpus
from histoseg.provenance import versions
from histoseg.storage import connect

NEEDED_DISK_BYTES = 4 * 2**30
NEEDED_MEMORY_BYTES = 8 * 2**30


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line: what was looked at, what was found, and what to do if it is not as it should be."""

    what: str
    ok: bool
    found: str
    advice: str = ""


def checks(store: str = "") -> Iterator[Check]:
    """Every check, as it is made."""
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
    if store:
        yield from _store_checks(store)


def _accelerator() -> Check:
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none; training runs on the CPU"
    return Check(what="GPU", ok=True, found=name)


def _store_checks(url: str) -> Iterator[Check]:
    """Put, read, list and delete an object of our own; the first failure ends it."""
    key, body = f"doctor/{uuid.uuid4().hex}", b"histoseg"
    try:
        store = connect(url)
    except HistosegError as error:
        yield Check(what="store", ok=False, found=str(error), advice="correct the URL")
        return

    def put() -> bool:
        store.put(key, body)
        return True

    def delete() -> bool:
        store.delete(key)
        return store.size(key) is None

    steps: dict[str, Callable[[], bool]] = {
        "put": put,
        "get": lambda: store.get(key) == body,
        "put only if absent": lambda: not store.put_if_absent(key, b"other") and store.get(key) == body,
        "list": lambda: key in store.list("doctor/"),
        "delete": delete,
    }
    for name, attempt in steps.items():
        try:
            ok, found = attempt(), url
        except HistosegError as error:
            ok, found = False, str(error)
        yield Check(what=f"store: {name}", ok=ok, found=found, advice="the key needs this right on the bucket")
        if not ok:
            return
