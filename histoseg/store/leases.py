"""Who works on what: a lease in the store, so that of two attempts at the same cells only one ever writes.

A lease is a chain of numbered objects, `leases/<name>/<number>.json`. Whoever puts the next number, which the store
lets only one do, holds it; the number is the holder's fencing token. The holder beats: it rewrites its object again and
again. Whoever wants the lease watches the newest object, and takes the next number once the holder has released it or
has not beaten for `ttl_s`, by the watcher's own clock, so that no two clocks need agree. Whatever a former holder then
tries to write is refused by its own `FencedStore`, for its number is no longer the highest. (Chubby's sequencers and
the fencing tokens of Kleppmann 2017, Designing Data-Intensive Applications, ch. 8, are the same idea.)

Between asking and writing lies a moment in which a lease can change hands. What may be written in it is a checkpoint,
as good as that of whoever took over, or a record, which is put only if there is none.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from histoseg.errors import LeaseError, StorageError, StoreRefusedError
from histoseg.store.objects import Store

logger = logging.getLogger(__name__)

TTL_S = 30.0  # Longer than a garbage collection or a slow put, shorter than anyone would wait to look.
BEATS_PER_TTL = 5
PATIENCE_S = 600.0  # For a store that only fails; whoever wants a lease keeps GPUs waiting.


@dataclass(frozen=True, kw_only=True)
class Lease:
    """What its holder has: the lease's name, and the number that is higher than those of all holders before."""

    name: str
    number: int


@contextmanager
def leased(store: Store, name: str, owner: str, ttl_s: float = TTL_S) -> Iterator[Lease]:
    """The lease of a name, waited for if somebody else holds it, and kept while this lasts.

    Args:
        store: Where all who might want it look; a brisk one, so that no slow answer costs the lease.
        name: What is leased.
        owner: Who asks. The same owner takes its own lease over at once.
        ttl_s: Seconds without a beat after which a holder counts as gone.

    Raises:
        LeaseError: If the store refuses, or only fails for `PATIENCE_S`. It is no StorageError: to try again is of no
            use.
    """
    lease = _acquire(store, name, owner, ttl_s)
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(store, lease, owner, ttl_s / BEATS_PER_TTL, done), daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        done.set()
        beating.join()
        _release(store, lease, owner)


def _acquire(store: Store, name: str, owner: str, ttl_s: float) -> Lease:
    seen: tuple[int, bytes] | None = None
    since, failing_since = time.monotonic(), None
    while True:
        try:
            number = newest(store, name)
            body = store.get(_key(name, number)) if number else b""
            following = Lease(name=name, number=number + 1)
            if seen != (number, body):
                holder = _read(body)
                if _is_free(holder, owner) and _put(store, following, owner):
                    return following
                if seen is None or seen[0] != number:
                    logger.info("lease %s: held by %s; waiting", name, holder.get("owner", "nobody"))
                seen, since, failing_since = (number, body), time.monotonic(), None
            elif time.monotonic() - since >= ttl_s:
                logger.warning("lease %s: no sign of life for %.0f s; taking it over", name, ttl_s)
                if _put(store, following, owner):
                    return following
                seen = None
        except StorageError as error:  # Nobody could beat meanwhile, so nobody is gone because of it.
            since = time.monotonic()
            failing_since = failing_since or since
            if isinstance(error, StoreRefusedError) or since - failing_since >= PATIENCE_S:
                raise LeaseError(
                    f"{store.url}/leases/{name}/: no lease can be had: {error}; `histoseg doctor` checks what the key "
                    f"may do there; mend that, then submit again"
                ) from error
            logger.warning("lease %s: the store fails, asking again: %s", name, error)
        time.sleep(ttl_s / BEATS_PER_TTL / 2)


def _is_free(holder: dict[str, object], owner: str) -> bool:
    return not holder or bool(holder.get("released")) or holder.get("owner") == owner


def newest(store: Store, name: str) -> int:
    """The highest number of a lease, which its holder has; 0 if nobody ever held it."""
    names = (key.rpartition("/")[2].removesuffix(".json") for key in store.list(f"leases/{name}/"))
    return max((int(number) for number in names if number.isdigit()), default=0)


def _key(name: str, number: int) -> str:
    return f"leases/{name}/{number:06d}.json"


def _read(body: bytes) -> dict[str, object]:
    """What a lease's object says; an object that is none, or is not whole, says nothing."""
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _body(owner: str, beat: int, *, released: bool = False) -> bytes:
    return json.dumps({"owner": owner, "beat": beat, "released": released}).encode()


def _put(store: Store, lease: Lease, owner: str) -> bool:
    return store.put_if_absent(_key(lease.name, lease.number), _body(owner, 0))


def _beat(store: Store, lease: Lease, owner: str, every_s: float, done: threading.Event) -> None:
    beat = 0
    while not done.wait(every_s):
        beat += 1
        try:
            store.put(_key(lease.name, lease.number), _body(owner, beat))
        except StorageError as error:
            logger.warning("lease %s: cannot be kept at the moment: %s", lease.name, error)


def _release(store: Store, lease: Lease, owner: str) -> None:
    """Let the next one have it at once. The highest number stays for ever: no number may be given twice."""
    try:
        store.put(_key(lease.name, lease.number), _body(owner, -1, released=True))
        for number in range(1, lease.number):
            store.delete(_key(lease.name, number))
    except StorageError as error:
        logger.warning("lease %s: not released: %s; it ends by itself", lease.name, error)


class FencedStore:
    """A store that reads like another, and writes only while a lease is held."""

    def __init__(self, inner: Store, lease: Lease) -> None:
        self.inner = inner
        self.lease = lease
        self.url = inner.url

    def get(self, key: str) -> bytes:
        return self.inner.get(key)

    def get_range(self, key: str, offset: int, num_bytes: int) -> bytes:
        return self.inner.get_range(key, offset, num_bytes)

    def download(self, key: str, path: Path) -> None:
        self.inner.download(key, path)

    def size(self, key: str) -> int | None:
        return self.inner.size(key)

    def list(self, prefix: str = "") -> list[str]:
        return self.inner.list(prefix)

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
                f"{self.lease.number}; nothing is lost, repeat the command when that has finished"
            )
