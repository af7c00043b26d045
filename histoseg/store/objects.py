"""Objects under a URL: `file:///folder` or `s3://bucket/prefix`. The only code that knows S3.

S3 follows the usual environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION.
A put is atomic in both: a reader sees the old object or the new one, never a part.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, runtime_checkable
from urllib.parse import unquote

from histoseg.errors import ConfigError, StorageError, StoreRefusedError

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.exceptions import ClientError
    from botocore.response import StreamingBody
    from mypy_boto3_s3.client import S3Client

MULTIPART_BYTES = 64 * 2**20  # Above this, a put goes up in parts, several at a time.


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for an S3 server that is down or slow.

    Attributes:
        attempts: How often a request is sent; botocore waits up to 1, 2, 4, 8, 16 s, then up to 20 s each in between.
        read_timeout_s: How long to wait for each answer.
    """

    attempts: int = 8  # Half a minute in all on average: the address may just be mistyped.
    read_timeout_s: float = 60.0


CONFLICT_PAUSES = 5  # 3 s in all
LONGEST_PAUSE_S = 10.0  # Between attempts to read a truncated body
INVALID_HEADER = "Invalid header value"  # Of Python's http.client, before the whole header
REFUSING = (401, 403, 501)  # Statuses of requests that would be refused again
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
        with self._reading(key) as file, _whole_file(path) as part, part.open("wb") as copy:
            while chunk := file.read(2**20):
                copy.write(chunk)

    def put(self, key: str, body: bytes | Path) -> None:
        with _whole_file(self.path(key)) as part:
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
        import boto3
        from botocore.config import Config

        # A self-hosted server seldom has a wildcard DNS name, so with an endpoint the bucket goes into the path.
        style: Literal["path", "auto"] = "path" if endpoint_url() else "auto"
        config = Config(
            retries={"mode": "standard", "total_max_attempts": self.patience.attempts},
            connect_timeout=10,
            read_timeout=self.patience.read_timeout_s,
            max_pool_connections=32,
            s3={"addressing_style": style},
        )
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        # A new session: boto3's shared one would keep the credentials that were set when it was first used.
        try:
            client = boto3.session.Session().client("s3", region_name=region, config=config)
        except ValueError as error:  # An endpoint such as host:8333
            raise ConfigError(f"{self.url}: {error}; write http://host:port in {_endpoint_variable()}") from None
        client.meta.events.register("after-call.s3", self._require_s3)
        return client

    def _require_s3(self, http_response: "AWSResponse", **_: object) -> None:
        """Refuse a web page with status 200, which boto3 would take for an empty answer."""
        headers = http_response.headers
        is_page = headers.get("content-type", "").startswith("text/html") and "x-amz-request-id" not in headers
        if is_page and http_response.status_code == 200:
            raise StoreRefusedError(
                f"{self.url} at {endpoint_url() or 'AWS'}: answers with a web page, as the console of an S3 service"
                f" does; set {_endpoint_variable()} to the address of its API"
            )

    def get(self, key: str) -> bytes:
        return self._read(key, lambda: self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"])

    def get_range(self, key: str, offset: int, num_bytes: int) -> bytes:
        span, full_key = f"bytes={offset}-{offset + num_bytes - 1}", self.prefix + key
        return self._read(key, lambda: self._client.get_object(Bucket=self.bucket, Key=full_key, Range=span)["Body"])

    def download(self, key: str, path: Path) -> None:
        with self._translated_errors(key), _whole_file(path) as part:
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
        from botocore.exceptions import BotoCoreError, ClientError, SSLError

        where = f"{self.url} at {endpoint_url() or 'AWS'}"
        try:
            yield
        except (BotoCoreError, Boto3Error, ClientError) as error:
            answer = error if isinstance(error, ClientError) else error.__context__  # An upload's is wrapped
            if isinstance(answer, ClientError):
                code = answer.response.get("Error", {}).get("Code", "")
                kind = StoreRefusedError if _is_refused(answer, code) else StorageError
                raise kind(f"{where}: {_S3_CODES.get(code, str(answer))} (object {key!r})") from error
            advice = "check AWS_ENDPOINT_URL and the credentials in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
            if INVALID_HEADER in str(error):  # That of a key or a token, which no log may have
                what = "the access key or the session token holds a line break or another character that none has"
                raise StoreRefusedError(f"{where}: {what}; {advice}") from None
            if isinstance(error, SSLError):
                advice = "set AWS_CA_BUNDLE (in pods store.caConfigMap) to the certificate of the server's authority"
            raise StorageError(f"{where}: {error}; {advice}") from error


def endpoint_url() -> str:
    """The address of the S3 server as the environment has it; empty stands for AWS."""
    return os.environ.get(_endpoint_variable(), "")


def _endpoint_variable() -> str:
    """The environment variable with the address of the S3 server."""
    return "AWS_ENDPOINT_URL_S3" if os.environ.get("AWS_ENDPOINT_URL_S3") else "AWS_ENDPOINT_URL"


def _is_refused(answer: "ClientError", code: str) -> bool:
    """Whether the same request would be refused again."""
    status = answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status in REFUSING or code == "NoSuchBucket"


_S3_CODES = {
    "NoSuchKey": "there is no such object",
    "404": "there is no such object or bucket",
    "NoSuchBucket": "there is no such bucket; create it or correct the store's URL",
    "AccessDenied": "access denied; give the access key the right to do this",
    "403": "access denied; give the access key the right to do this",
    "InvalidAccessKeyId": "the access key is unknown; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
}


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
def _whole_file(path: Path) -> Iterator[Path]:
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
