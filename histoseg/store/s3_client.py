"""The client of an S3 service: made from the environment, with our own decision on which requests are sent again.

boto3's own retries are switched off. Its retry quota is one for all threads of a client and is not refilled by
failures: a file that goes up in parts uses it up within seconds of an outage, and from then on no request is repeated.
"""

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histoseg.errors import ConfigError, StoreSetupError
from histoseg.runs.request import without_password
from histoseg.store.endpoint import (
    CHECKSUMS,
    addressing_style,
    checksums,
    endpoint_url,
    endpoint_variable,
    place,
    region,
)
from histoseg.store.s3_errors import (
    REDIRECTING,
    Response,
    bucket_region,
    lasting_failure,
    lasting_refusal,
    plain_http_answer,
)

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.model import OperationModel
    from mypy_boto3_s3.client import S3Client

    Answered = tuple[AWSResponse, Response]  # As it came, and as boto3 reads it

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 20.0
PASSING_STATUSES = (429, 500, 502, 503, 504)
PASSING_CODES = (
    "InternalError",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
)


def make_client(url: str, attempts: int, read_timeout_s: float) -> "S3Client":
    """A client for the store of that URL, which sends a request up to `attempts` times.

    Raises:
        ConfigError: If a variable has a value that cannot be used.
    """
    import boto3
    from botocore.config import Config

    style = addressing_style()
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=10,
        read_timeout=read_timeout_s,
        max_pool_connections=32,
        s3={"addressing_style": style} if style else None,
        request_checksum_calculation=checksums(CHECKSUMS[0]),
        response_checksum_validation=checksums(CHECKSUMS[1]),
    )
    # A new session: boto3's shared one would keep the credentials that were set when it was first used.
    try:
        client = boto3.session.Session().client("s3", region_name=region(), config=config)
    except ValueError as error:  # An endpoint such as host:8333
        text = without_password(f"{url}: {error}")
        raise ConfigError(f"{text}; write http://host:port in {endpoint_variable()}") from None
    after = _AfterAnswer(url=url, attempts=_attempts(attempts))
    # First, since boto3's own handler follows a redirect without a region into itself without end.
    client.meta.events.register_first("needs-retry.s3", after.pause)  # type: ignore[arg-type]  # the stubs allow only None
    return client


def _attempts(usual: int) -> int:
    told = os.environ.get("AWS_MAX_ATTEMPTS", "")
    return int(told) if told.isdecimal() else usual


@dataclass(frozen=True, kw_only=True)
class _AfterAnswer:
    """What boto3 calls when an answer has come, or none."""

    url: str
    attempts: int

    def pause(
        self,
        response: "Answered | None",
        attempts: int,
        caught_exception: Exception | None,
        operation: "OperationModel",
        **_: object,
    ) -> float | None:
        """Seconds until the request is sent again; None if it is not.

        Raises:
            StoreSetupError: If the same answer would come again.
        """
        if text := self._lasting(response, caught_exception, operation.name):
            raise StoreSetupError(without_password(f"{place(self.url)}: {text}")) from None
        if attempts >= self.attempts or not _may_pass(response, caught_exception):
            return None
        return random.random() * min(FIRST_PAUSE_S * 2.0 ** (attempts - 1), LONGEST_PAUSE_S)  # noqa: S311 # spreads requests

    def _lasting(self, response: "Answered | None", caught: Exception | None, operation: str) -> str:
        if response is None:
            return lasting_failure(caught) if caught is not None else ""
        raw, parsed = response
        if raw.status_code == 400 and (text := plain_http_answer(raw.content)):
            return text
        # boto3 asks again in the region that AWS names, or that HeadBucket finds there.
        is_redirect = raw.status_code in REDIRECTING
        if is_redirect and (bucket_region(parsed) or not (endpoint_url() or operation == "HeadBucket")):
            return ""
        if is_redirect:
            return lasting_refusal(parsed)
        # boto3 takes a web page for an empty answer to some requests, and makes it a status 500 for others.
        own: Response = {"ResponseMetadata": {"HTTPStatusCode": raw.raw.status, "HTTPHeaders": raw.headers}}
        return lasting_refusal(own) if raw.raw.status == 200 else ""


def _may_pass(response: "Answered | None", caught: Exception | None) -> bool:
    """Whether the same request may succeed a little later."""
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError

    if response is None:
        return isinstance(caught, NoConnection | HTTPClientError)
    _, parsed = response
    status = parsed["ResponseMetadata"]["HTTPStatusCode"]
    return status in PASSING_STATUSES or parsed.get("Error", {}).get("Code") in PASSING_CODES
