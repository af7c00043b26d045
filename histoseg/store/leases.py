"""Leases in the store, so that of two attempts at the same runs only one ever writes.

A lease is a chain of numbered objects, `leases/<name>/<number>.json`. The process that puts the next number holds the
lease: the store accepts each number once. The number is the holder's fencing token. The holder beats: it rewrites its
object again and again. A process that waits for the lease watches the newest object, and takes the next number once the
holder has released it or has not beaten for `ttl_s` by the watcher's own clock, so no two clocks need to agree; at once
where the holder is known to have ended, or is an earlier attempt of the same RayJob (`histoseg.store.holders`). Later
writes of a former holder are refused by its own `FencedStore`, because its number is no longer the highest. (Chubby's
sequencers and the fencing tokens of Kleppmann 2017, Designing Data-Intensive Applications, ch. 8, are the same idea.)

A lease can change hands in the moment between the check and the write. A write in that moment does no harm: it is a
checkpoint as good as that of the new holder, or a record, which is put only if absent.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from histoseg.errors import LeaseError, StorageError, StoreRefusedError
from histoseg.store.conditional import require_conditional_puts
from histoseg.store.holders import Holder
from histoseg.store.keys import lease_folder, lease_key
from histoseg.store.objects import Store

logger = logging.getLogger(__name__)

TTL_S = 30.0  # Longer than a garbage collection or a slow put, shorter than a person would wait to look.
BEATS_PER_TTL = 5
PATIENCE_S = 600.0  # How long a failing store is asked again: a process that waits for a lease keeps GPUs waiting.


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The lease's name, and a number that is higher than those of all holders before."""

    name: str
    number: int


@contextmanager
def leased(store: Store, name: str, holder: Holder, ttl_s: float = TTL_S) -> Iterator[Lease]:
    """Hold the lease of a name within the context, after waiting for another holder if there is one.

    All attempts share the store; its timeouts must be short, or a slow answer costs the lease. A holder takes over its
    own lease at once, also one that it replaces (see `Holder.replaces`), and any without a beat for `ttl_s` seconds.

    Raises:
        LeaseError: If the store refuses, or fails for `PATIENCE_S`: trying again would not help.
        ConfigError: If the store ignores that a number may be put only once.
    """
    lease = _acquire(store, name, holder, ttl_s)
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(store, lease, holder, ttl_s / BEATS_PER_TTL, done), daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        done.set()
        beating.join()
        _release(store, lease, holder)


def _acquire(store: Store, name: str, holder: Holder, ttl_s: float) -> Lease:
    seen = (-1, b"")  # The highest number, and what its object held, which changes with each beat
    since, failing_since = time.monotonic(), None
    while True:
        try:
            require_conditional_puts(store)
            number = newest(store, name)
            body = store.get(lease_key(name, number)) if number else b""
            silent_s = time.monotonic() - since if seen == (number, body) else 0.0
            if _may_take(name, holder, _parse(body), silent_s, ttl_s):
                following = Lease(name=name, number=number + 1)
                if store.put_if_absent(lease_key(name, following.number), _body(holder)):
                    return following
            elif seen[0] != number:
                _log_wait(store, Lease(name=name, number=number), _parse(body), ttl_s)
            if seen != (number, body):
                seen, since, failing_since = (number, body), time.monotonic(), None
        except StorageError as error:  # The holder could not beat either, so its silence does not count.
            since = time.monotonic()
            failing_since = failing_since or since
            if isinstance(error, StoreRefusedError) or since - failing_since >= PATIENCE_S:
                raise LeaseError(
                    f"{store.url}/{lease_folder(name)}: cannot acquire the lease: {error}; `histoseg doctor` checks "
                    "access rights; correct them, then submit again"
                ) from error
            logger.warning("lease %s: the store failed, trying again: %s", name, error)
        time.sleep(ttl_s / BEATS_PER_TTL / 2)


def _may_take(name: str, holder: Holder, former: Holder | None, silent_s: float, ttl_s: float) -> bool:
    """Whether a lease is free; None stands for a lease without a former holder that could be read."""
    if former is None or former.released or former.owner == holder.owner:
        return True
    reason = holder.replaces(former) or (f"which has not renewed it for {ttl_s:.0f} s" if silent_s >= ttl_s else "")
    if reason:
        logger.warning("lease %s: taking it over from %s, %s", name, former, reason)
    return bool(reason)


def _log_wait(store: Store, lease: Lease, former: Holder | None, ttl_s: float) -> None:
    until = time.strftime("%H:%M:%S", time.localtime(time.time() + ttl_s))
    key = f"{store.url}/{lease_key(lease.name, lease.number)}"
    text = "lease %s: held by %s; waiting until %s is released, or, if it is not renewed meanwhile, until %s"
    logger.info(text, lease.name, former, key, until)


def newest(store: Store, name: str) -> int:
    """The highest number of a lease, which is its holder's; 0 if it was never held."""
    names = (key.rpartition("/")[2].removesuffix(".json") for key in store.list(lease_folder(name)))
    return max((int(number) for number in names if number.isdigit()), default=0)


def number_attempt(store: Store, submission: str) -> int:
    """A number for this attempt of a submission, higher than those of all attempts before.

    Raises:
        ConfigError: If the store ignores that a number may be put only once.
    """
    require_conditional_puts(store)
    number = newest(store, submission) + 1
    while not store.put_if_absent(lease_key(submission, number), b"{}"):
        number += 1
    return number


def _parse(body: bytes) -> Holder | None:
    """The content of a lease's object; None if it cannot be read."""
    try:
        return Holder.model_validate_json(body)
    except ValidationError:
        return None


def _body(holder: Holder, beat: int = 0, *, released: bool = False) -> bytes:
    return holder.model_copy(update={"beat": beat, "released": released}).model_dump_json().encode()


def _beat(store: Store, lease: Lease, holder: Holder, every_s: float, done: threading.Event) -> None:
    beat = 0
    while not done.wait(every_s):
        beat += 1
        try:
            store.put(lease_key(lease.name, lease.number), _body(holder, beat))
        except StorageError as error:
            logger.warning("lease %s: could not be renewed: %s", lease.name, error)


def _release(store: Store, lease: Lease, holder: Holder) -> None:
    """Free the lease at once. The object of the highest number stays: no number may be given twice."""
    try:
        store.put(lease_key(lease.name, lease.number), _body(holder, -1, released=True))
        for number in range(1, lease.number):
            store.delete(lease_key(lease.name, number))
    except StorageError as error:
        logger.warning("lease %s: could not be released: %s; it expires by itself", lease.name, error)


class FencedStore:
    """A store that refuses to write once the lease has passed to another holder."""

    def __init__(self, inner: Store, lease: Lease) -> None:
        self.inner = inner
        self.lease = lease
        self.url = inner.url
        self.get, self.get_range, self.download = inner.get, inner.get_range, inner.download
        self.size, self.list = inner.size, inner.list

    def put(self, key: str, body: bytes | Path) -> None:
        self._require_lease(key)
        self.inner.put(key, body)

    def put_if_absent(self, key: str, body: bytes) -> bool:
        self._require_lease(key)
        return self.inner.put_if_absent(key, body)

    def delete(self, key: str) -> None:
        self._require_lease(key)
        self.inner.delete(key)

    def _require_lease(self, key: str) -> None:
        number = newest(self.inner, self.lease.name)
        if number != self.lease.number:
            raise LeaseError(
                f"{key} was not written: attempt {number} at {self.lease.name} has taken over from attempt "
                f"{self.lease.number}; nothing is lost: repeat the command when attempt {number} has finished"
            )
