"""One line of `histoseg doctor`, and the lines about a store."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from histoseg.errors import HistosegError, StoreRefusedError
from histoseg.store.objects import BRISK, connect

NEEDS_RIGHT = "correct the URL, or get this right: for the key on a bucket, for this user on a folder"
NEEDS_STORE = (
    "no right helps; take a store with conditional puts (If-None-Match), such as AWS, SeaweedFS, Ceph or MinIO"
)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line: what was looked at, what was found, and what to do if it is not as it should be."""

    what: str
    ok: bool
    found: str
    advice: str = ""


def store_checks(url: str) -> Iterator[Check]:
    """Put, read, list and delete an object of our own, which does not stay; the first failure ends it."""
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
    try:
        for name, attempt in steps.items():
            advice = NEEDS_STORE if name == "put only if absent" else NEEDS_RIGHT
            try:
                ok, found = attempt(), url
            except StoreRefusedError as error:
                ok, found = False, str(error)
            except HistosegError as error:  # It says what to do
                ok, found, advice = False, str(error), ""
            yield Check(what=f"store: {name}", ok=ok, found=found, advice=advice)
            if not ok:
                return
    finally:
        with suppress(HistosegError):
            connect(url, BRISK).delete(key)
