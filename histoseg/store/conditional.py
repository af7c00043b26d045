"""Whether a store keeps the promise that records and leases rest on: a put only if there is no such object.

Some S3 services accept the condition (`If-None-Match: *`) and ignore it. There, two attempts would both hold a lease,
and the later would replace the record of the earlier.
"""

import uuid

from histoseg.errors import ConfigError
from histoseg.store.endpoint import endpoint_url, place
from histoseg.store.keys import trial_key
from histoseg.store.objects import Store

NEEDS_STORE = (
    "no right helps; take a store with conditional puts (If-None-Match), such as AWS, SeaweedFS, Ceph or MinIO"
)
_tested: set[tuple[str, str]] = set()  # URLs of stores, each with the address of the server behind it


def keeps_existing(store: Store, key: str) -> bool:
    """Whether a put only if absent leaves an object as it was put before; the object stays there."""
    store.put(key, b"first")
    return not store.put_if_absent(key, b"second") and store.get(key) == b"first"


def require_conditional_puts(store: Store) -> None:
    """Refuse a store that replaces an object that is put only if absent; tried once per store and process.

    Raises:
        ConfigError: With the reason and the remedy.
    """
    where = (store.url, endpoint_url())
    if where in _tested:
        return
    key = trial_key(uuid.uuid4().hex)
    try:
        is_kept = keeps_existing(store, key)
    finally:
        store.delete(key)
    if not is_kept:
        at = place(store.url) if store.url.startswith("s3:") else store.url
        raise ConfigError(
            f"{at}: a put only if absent replaced an existing object, so two jobs could both write the same "
            f"results: {NEEDS_STORE}"
        )
    _tested.add(where)
