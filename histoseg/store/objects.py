"""Objects under a URL: `file:///folder` or `s3://bucket/prefix`.

S3 follows the usual environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION.
A put is atomic in both: a reader sees the old object or the new one, never a part.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, runtime_checkable
from urllib.parse import unquote

from histoseg.errors import ConfigError, StorageError, StoreRefusedError
from histoseg.store.endpoint import place
from histoseg.store.s3_client import make_client
from histoseg.store.s3_errors import translated

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import LifecycleRuleOutputTypeDef

MULTIPART_BYTES = 64 * 2**20  # Above this, a put goes up in parts, several at a time.


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for an S3 server that is down or slow.

    Attributes:
        attempts: How often a request is sent, with pauses in between of up to 0.25, 0.5, 1, 2, 4, 8, 16, then 20 s;
            AWS_MAX_ATTEMPTS takes precedence.
        read_timeout_s: How long to wait for each answer.
    """

    attempts: int = 9  # Half a minute in all on average: the address may just be mistyped.
    read_timeout_s: float = 60.0


CONFLICT_PAUSES = 5  # 3 s in all
LONGEST_PAUSE_S = 10.0  # Between attempts to read a truncated body
USUAL = Patience()
PATIENT = Patience(attempts=18)  # Two minutes: for jobs that have already computed much
BRISK = Patience(attempts=2, read_timeout_s=5.0)  # For requests that are repeated soon anyway


@runtime_checkable
class Store(Protocol):
    """Objects by key. Keys are relative, with `/` between parts."""

    url: str

    def get(self, key: str) -> bytes:
        """The object's bytes; StorageError if there is no such object."""

    def get_range(self, key: str, offset: int, num_bytes: int) -> bytes:
        """That part of the object."""

    def download(self, key: str, path: Path) -> None:
        """Copy the object to a file, which appears only when it is complete."""

    def put(self, key: str, body: bytes | Path) -> None:
        """Write the object, replacing an earlier one."""

    def put_if_absent(self, key: str, body: bytes) -> bool:
        """Write the object unless there is one already; returns whether it was written."""

    def size(self, key: str) -> int | None:
        """The object's bytes, or None if there is no such object."""

    def list(self, prefix: str = "") -> list[str]:
        """The keys below a prefix, sorted."""

    def delete(self, key: str) -> None:
        """Remove the object, if it is there."""


def connect(url: str, patience: Patience = USUAL) -> Store:
    """The store behind a URL. Nothing is contacted yet."""
    scheme, _, rest = url.partition("://")
    if scheme == "file" and rest.startswith("/"):
        return FileStore(Path(unquote(rest)))
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3" and bucket:
        return S3Store(bucket, prefix.strip("/"), patience)
    raise ConfigError(f"store {url!r}: write file:///absolute/folder or s3://bucket/prefix")


class FileStore:
    """Objects as files below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = root.absolute().as_uri()

    def path(self, key: str) -> Path:
        """Where the object lies; StorageError if the key would leave the store."""
        path = self.root / key
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise StorageError(f"{self.url}: key {key!r} leaves the store")
        return path

    def get(self, key: str) -> bytes:
        with self._reading(key) as file:
            return file.read()

    def get_range(self, key: str, offset: int, num_bytes: int) -> bytes:
        with self._reading(key) as file:
            file.seek(offset)
            return file.read(num_bytes)

    def download(self, key: str, path: Path) -> None:
        with self._reading(key) as file, whole_file(path) as part, part.open("wb") as copy:
            while chunk := file.read(2**20):
                copy.write(chunk)

    def put(self, key: str, body: bytes | Path) -> None:
        with whole_file(self.path(key)) as part:
            _fill(part, body)

    def put_if_absent(self, key: str, body: bytes) -> bool:
        path = self.path(key)
        try:
            with tempfile.TemporaryDirectory(dir=_made(path.parent), prefix=".new-") as folder:
                part = Path(folder) / "part"
                _fill(part, body)
                try:
                    os.link(part, path)
                except FileExistsError:
                    return False
                return True
        except OSError as error:
            raise _failure("write", path, error) from error

    def size(self, key: str) -> int | None:
        path = self.path(key)
        try:
            return path.stat().st_size if path.is_file() else None
        except OSError as error:
            raise _failure("read", path, error) from error

    def list(self, prefix: str = "") -> list[str]:
        found = (Path(folder) / name for folder, _, names in os.walk(self.root) for name in names)
        keys = (path.relative_to(self.root) for path in found)
        visible = (key.as_posix() for key in keys if not any(part.startswith(".new-") for part in key.parts))
        return sorted(key for key in visible if key.startswith(prefix))

    def delete(self, key: str) -> None:
        path = self.path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _failure("delete", path, error) from error

    @contextmanager
    def _reading(self, key: str) -> Iterator[BinaryIO]:
        path = self.path(key)
        try:
            with path.open("rb") as file:
                yield file
        except FileNotFoundError:
            raise StorageError(f"{self.url} has no object {key!r}") from None
        except OSError as error:
            raise _failure("read", path, error) from error


class S3Store:
    """Objects in a bucket, below a prefix. Safe to pickle: the client is made where it is used."""

    def __init__(self, bucket: str, prefix: str, patience: Patience = USUAL) -> None:
        self.bucket = bucket
        self.patience = patience
        self.prefix = f"{prefix}/" if prefix else ""
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")

    def __reduce__(self) -> tuple[type["S3Store"], tuple[str, str, Patience]]:
        return S3Store, (self.bucket, self.prefix.rstrip("/"), self.patience)

    @cached_property
    def _client(self) -> "S3Client":
        return make_client(self.url, self.patience.attempts, self.patience.read_timeout_s)

    def get(self, key: str) -> bytes:
        return self._read(key, lambda: self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"])

    def get_range(self, key: str, offset: int, num_bytes: int) -> bytes:
        span, full_key = f"bytes={offset}-{offset + num_bytes - 1}", self.prefix + key
        return self._read(key, lambda: self._client.get_object(Bucket=self.bucket, Key=full_key, Range=span)["Body"])

    def download(self, key: str, path: Path) -> None:
        with self._translated_errors(key), whole_file(path) as part:
            self._client.download_file(self.bucket, self.prefix + key, str(part))

    def put(self, key: str, body: bytes | Path) -> None:
        from boto3.s3.transfer import TransferConfig

        with self._translated_errors(key):
            if isinstance(body, Path):
                config = TransferConfig(multipart_threshold=MULTIPART_BYTES, multipart_chunksize=MULTIPART_BYTES // 4)
                self._client.upload_file(str(body), self.bucket, self.prefix + key, Config=config)
            else:
                self._client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=body)

    def put_if_absent(self, key: str, body: bytes) -> bool:
        from botocore.exceptions import ClientError

        with self._translated_errors(key):
            pauses = 0
            while True:
                try:
                    self._client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=body, IfNoneMatch="*")
                except ClientError as error:
                    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                    if status == 412:  # The object exists.
                        return False
                    # 409: another request writes or deletes the object right now; perhaps both fail, so try again.
                    if status != 409 or pauses == CONFLICT_PAUSES:
                        raise
                else:
                    return True
                time.sleep(2**pauses / 10)
                pauses += 1

    def size(self, key: str) -> int | None:
        from botocore.exceptions import ClientError

        with self._translated_errors(key):
            try:
                return self._client.head_object(Bucket=self.bucket, Key=self.prefix + key)["ContentLength"]
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return None
                raise

    def list(self, prefix: str = "") -> list[str]:
        with self._translated_errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            return sorted(item["Key"].removeprefix(self.prefix) for page in pages for item in page.get("Contents", []))

    def delete(self, key: str) -> None:
        with self._translated_errors(key):
            self._client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def keeps_versions(self) -> bool:
        """Whether the bucket keeps what is replaced or deleted."""
        with self._translated_errors("?versioning"):
            return self._client.get_bucket_versioning(Bucket=self.bucket).get("Status") == "Enabled"

    def lifecycle_rules(self) -> "Sequence[LifecycleRuleOutputTypeDef]":
        """The bucket's rules on what is removed by time."""
        from botocore.exceptions import ClientError

        with self._translated_errors("?lifecycle"):
            try:
                return self._client.get_bucket_lifecycle_configuration(Bucket=self.bucket)["Rules"]
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
                    return []
                raise

    def _read(self, key: str, ask: Callable[[], "StreamingBody"]) -> bytes:
        """A whole body, requested again if it was truncated: botocore repeats requests, but not reading bodies."""
        from botocore import exceptions

        cut = (
            exceptions.ResponseStreamingError,
            exceptions.IncompleteReadError,
            exceptions.ReadTimeoutError,
            exceptions.ConnectionClosedError,
        )
        with self._translated_errors(key):
            cuts = 0
            while True:
                body = ask()
                try:
                    return body.read()
                except cut:
                    cuts += 1
                    if cuts == self.patience.attempts:
                        raise
                time.sleep(min(2**cuts / 10, LONGEST_PAUSE_S))

    @contextmanager
    def _translated_errors(self, key: str) -> Iterator[None]:
        """Turn errors of boto3 into one line that says what to check."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, Boto3Error, ClientError) as error:
            raise translated(error, place(self.url), key) from error


def _failure(what: str, path: Path, error: OSError, more: str = "") -> StorageError:
    """The error of a file system as one line."""
    # The latter two mean that a file lies where a folder must be.
    for_good = isinstance(error, PermissionError | NotADirectoryError | FileExistsError)
    kind = StoreRefusedError if for_good else StorageError
    return kind(f"cannot {what} {path}: {error.strerror or error}{more}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` if nothing fails."""
    try:
        with tempfile.TemporaryDirectory(dir=_made(path.parent), prefix=".new-") as folder:
            part = Path(folder) / "part"
            yield part
            part.replace(path)
    except OSError as error:
        raise _failure("write", path, error, "; nothing was left half-written") from error


def _fill(part: Path, body: bytes | Path) -> None:
    with part.open("wb") as file:
        if isinstance(body, Path):
            with body.open("rb") as source:
                while chunk := source.read(2**20):
                    file.write(chunk)
        else:
            file.write(body)
        file.flush()
        os.fsync(file.fileno())
