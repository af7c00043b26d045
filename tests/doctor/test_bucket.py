"""What doctor says about the upkeep of a bucket, against a real service."""

import json
import re
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from histoseg.doctor.store import store_checks
from histoseg.store.objects import connect
from ray_jobs.local_store import local_store

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with local_store(tmp_path_factory.mktemp("s3")) as server:
        yield f"{server.url}/histoseg"  # The prefix of the document's example


@pytest.fixture(scope="module")
def documented():
    """The rules that the document gives."""
    return json.loads(re.search(r"```json\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)[1])


def notes(url):
    checks = {check.what: check for check in store_checks(url)}
    assert all(check.ok for check in checks.values())
    return checks["store: interrupted uploads"].found, checks["store: old versions"].found


def test_a_new_bucket_keeps_parts_but_no_versions(url):
    uploads, versions = notes(url)
    assert uploads.startswith("no lifecycle rule")
    assert versions == "the bucket keeps none"


def test_the_documented_rules_are_accepted_and_enough(url, documented):
    store = connect(url)
    store._client.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"})
    assert "no lifecycle rule" in notes(url)[1]
    store._client.put_bucket_lifecycle_configuration(Bucket=store.bucket, LifecycleConfiguration=documented)
    assert [("no lifecycle" in each, "a lifecycle rule removes" in each) for each in notes(url)] == [(False, True)] * 2
    assert "no lifecycle rule" in notes(f"s3://{store.bucket}/elsewhere")[0]


def test_rules_that_may_not_be_read_are_no_failure(url, monkeypatch):
    denied = ClientError(
        {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetBucketVersioning"
    )

    def refuse(**_):
        raise denied

    store = connect(url)
    monkeypatch.setattr(store._client, "get_bucket_versioning", refuse)
    monkeypatch.setattr("histoseg.doctor.store.connect", lambda *_: store)
    uploads, versions = notes(url)
    assert versions.startswith("not checked")
    assert "access denied" in versions
    assert not uploads.startswith("not checked")
