"""What a bucket keeps although nothing needs it: parts of interrupted uploads, and old versions of leases."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from histoseg.doctor.check import Check
from histoseg.errors import StorageError
from histoseg.store.keys import LEASES
from histoseg.store.objects import S3Store

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import LifecycleRuleOutputTypeDef

RULES = "docs/operations.md, *Lifecycle rules*, has one"


def bucket_notes(store: S3Store) -> Iterator[Check]:
    """Notes for the person who pays for the bucket; none of them keeps a job from running."""
    yield _note("store: interrupted uploads", lambda: _uploads(store))
    yield _note("store: old versions", lambda: _versions(store))


def _note(what: str, look: Callable[[], str]) -> Check:
    try:
        return Check(what=what, ok=True, found=look())
    except StorageError as error:
        return Check(what=what, ok=True, found=f"not checked, which needs rights that jobs do not: {error}")


def _uploads(store: S3Store) -> str:
    if any("AbortIncompleteMultipartUpload" in rule for rule in _applying(store, "")):
        return "a lifecycle rule removes their parts"
    return f"no lifecycle rule removes their parts; {RULES}"


def _versions(store: S3Store) -> str:
    if not store.keeps_versions():
        return "the bucket keeps none"
    if any("NoncurrentVersionExpiration" in rule for rule in _applying(store, LEASES)):
        return f"the bucket keeps them, and a lifecycle rule removes those of {LEASES}"
    return f"the bucket keeps one for each renewal of a lease, every 6 s, and no lifecycle rule removes them; {RULES}"


def _applying(store: S3Store, folder: str) -> "list[LifecycleRuleOutputTypeDef]":
    """The rules in force for every object below a folder of the store."""
    place = f"{store.prefix}{folder}"
    return [rule for rule in store.lifecycle_rules() if rule["Status"] == "Enabled" and place.startswith(_prefix(rule))]


def _prefix(rule: "LifecycleRuleOutputTypeDef") -> str:
    chosen = rule.get("Filter", {})
    return rule.get("Prefix") or chosen.get("Prefix") or chosen.get("And", {}).get("Prefix") or ""
