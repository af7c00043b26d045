"""Checks of an object store: whether it can be used, and which of an experiment's data it holds."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

from histoseg.doctor.bucket import bucket_notes
from histoseg.doctor.check import Check
from histoseg.errors import HistosegError, StoreRefusedError, StoreSetupError
from histoseg.pipeline.plan import make_plan
from histoseg.store.conditional import NEEDS_STORE, keeps_existing
from histoseg.store.keys import trial_key
from histoseg.store.objects import BRISK, S3Store, Store, connect

NEEDS_RIGHT = "correct the URL, or get this right: for the key on a bucket, for this user on a folder"


def store_checks(url: str) -> Iterator[Check]:
    """Put, read, list and delete a test object; the first failure ends the checks, and the object is removed."""
    key = trial_key(uuid.uuid4().hex)
    try:
        store = connect(url)
    except HistosegError as error:
        yield Check(what="store", ok=False, found=str(error), advice="correct the URL")
        return
    try:
        for name, attempt in _steps(store, key).items():
            check = _try(name, attempt, url)
            yield check
            if not check.ok:
                return
        if isinstance(store, S3Store):
            yield from bucket_notes(store)
    finally:
        with suppress(HistosegError):
            connect(url, BRISK).delete(key)


def experiment_check(url: str, experiment: str, scale: str) -> Check:
    """Which of an experiment's runs the store's sources allow."""
    what = f"experiment {experiment} ({scale})"
    try:
        plan = make_plan(experiment, connect(url), scale, 1, [])
    except HistosegError as error:
        return Check(what=what, ok=False, found=str(error))
    absent = f"; not prepared: {', '.join(plan.absent)}" if plan.absent else ""
    return Check(what=what, ok=True, found=f"{len(plan.runs)} runs of {', '.join(plan.sources)}{absent}")


def _steps(store: Store, key: str) -> dict[str, Callable[[], bool]]:
    """Each returns whether it worked; they build on each other."""
    body = b"histoseg"

    def put() -> bool:
        store.put(key, body)
        return True

    def delete() -> bool:
        store.delete(key)
        return store.size(key) is None

    return {
        "put": put,
        "get": lambda: store.get(key) == body,
        "put only if absent": lambda: keeps_existing(store, key),
        "list": lambda: key in store.list(trial_key("")),
        "delete": delete,
    }


def _try(name: str, attempt: Callable[[], bool], url: str) -> Check:
    advice = NEEDS_STORE if name == "put only if absent" else NEEDS_RIGHT
    try:
        ok, found = attempt(), url
    except StoreSetupError as error:
        ok, found, advice = False, str(error), ""
    except StoreRefusedError as error:
        ok, found = False, str(error)
    except HistosegError as error:  # Its text contains the remedy
        ok, found, advice = False, str(error), ""
    return Check(what=f"store: {name}", ok=ok, found=found, advice=advice)
