"""What an S3 service's answer, or its silence, means, and what to do about it.

An answer is what boto3 makes of one: `ResponseMetadata` with the status and the headers, and `Error`, which has every
element of the answer's XML.
"""

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, TypedDict, cast
from urllib.parse import urlsplit

from histoseg.errors import StorageError, StoreRefusedError, StoreSetupError
from histoseg.runs.request import without_password
from histoseg.store.endpoint import (
    CHECKSUMS,
    STYLE,
    addressing_style,
    endpoint_url,
    endpoint_variable,
    proxy_advice,
    sends_checksums,
)

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

REFUSING = (401, 403, 405, 407, 501)  # Statuses of requests that would be refused again
REDIRECTING = (301, 302, 303, 307, 308)
ALLOWED_SKEW_S = 900.0  # Of the two clocks; S3's documentation of RequestTimeTooSkewed
INVALID_HEADER = "Invalid header value"  # Of Python's http.client, before the whole header
CREDENTIALS = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (in pods the Secret of store.existingSecret)"
NEW_TOKEN = "put a new key, secret and AWS_SESSION_TOKEN where this one is (in pods the Secret of store.existingSecret)"  # noqa: S105 # a message
CA_BUNDLE = "AWS_CA_BUNDLE (in pods store.caConfigMap)"
VIRTUAL = f"the service wants the bucket in the host name: set {STYLE}=virtual (in pods store.addressingStyle)"

NO_RIGHT = {
    "AccessDenied": "access denied; give the access key the right to do this",
    "403": "access denied; give the access key the right to do this",
    "NoSuchBucket": "there is no such bucket; create it or correct the store's URL",
    "InvalidAccessKeyId": "the access key is unknown; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
}
SETUP = {
    "ExpiredToken": f"the session token has expired; {NEW_TOKEN}, then submit again",
    "TokenRefreshRequired": f"the session token has expired; {NEW_TOKEN}, then submit again",
    "InvalidToken": f"the session token is not one of this access key; {NEW_TOKEN}",
    "SecondLevelDomainForbidden": VIRTUAL,  # Alibaba Cloud
    "PathStyleDomainForbidden": VIRTUAL,  # Tencent Cloud
}
PASSING = {"NoSuchKey": "there is no such object", "404": "there is no such object or bucket"}
CERTIFICATES = {  # OpenSSL's X509_V_ERR_…
    9: "its certificate is not valid yet: check this machine's clock",
    10: "its certificate has expired: renew it on the server, or check this machine's clock",
    18: "its certificate is signed by itself, which makes it its own authority",
    19: "the authority that signed its certificate is not trusted here",
    20: "the authority that signed its certificate is not trusted here, or the server does not send the whole chain",
    21: "the authority that signed its certificate is not trusted here, or the server does not send the whole chain",
}
UNTRUSTED, OTHER_NAME = (18, 19, 20, 21), (62, 64)
NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
OLD_TLS = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION")


class Metadata(TypedDict, total=False):
    """The first line and the headers of an answer; their names are in small letters."""

    HTTPStatusCode: int
    HTTPHeaders: Mapping[str, str]


class Response(TypedDict, total=False):
    """An answer as boto3 reads it. Without an error there is no `Error`."""

    ResponseMetadata: Metadata
    Error: dict[str, str]


def translated(error: Exception, where: str, key: str) -> StorageError:
    """An error of boto3 as one of ours."""
    from botocore.exceptions import ClientError

    answer = error if isinstance(error, ClientError) else error.__context__  # An upload's is wrapped
    if isinstance(answer, ClientError):
        kind, text = _answered(answer)
        return kind(without_password(f"{where}: {text} (object {key!r})"))
    if text := lasting_failure(error):
        return StoreSetupError(without_password(f"{where}: {text}"))
    return StorageError(without_password(f"{where}: {error}; {_silence_advice(error)}"))


def _answered(answer: "ClientError") -> tuple[type[StorageError], str]:
    response = cast(Response, answer.response)  # With elements that the stubs do not know
    if text := lasting_refusal(response):
        return StoreSetupError, text
    code = response.get("Error", {}).get("Code", "")
    if code in NO_RIGHT:
        return StoreRefusedError, NO_RIGHT[code] + (_token_advice() if code == "InvalidAccessKeyId" else "")
    text = PASSING.get(code) or _verbatim(answer)
    return StoreRefusedError if _status(response) in REFUSING else StorageError, text


def _verbatim(answer: "ClientError") -> str:
    """The service's own words."""
    error = answer.response.get("Error", {})
    text = f"{answer.operation_name}: {error.get('Code', '')}: {' '.join(error.get('Message', '').split())}"
    if error.get("Code") == "400":  # Answers to HEAD have no text.
        text += "; perhaps the session token has expired, or AWS_REGION is not the bucket's"
    return text


def _token_advice() -> str:
    if os.environ.get("AWS_SESSION_TOKEN"):
        return " and AWS_SESSION_TOKEN, which must be of the same key, or unset for a key that never expires"
    if os.environ.get("AWS_ACCESS_KEY_ID", "").startswith("ASIA"):  # AWS's and SeaweedFS' temporary keys
        return "; it is a temporary one, which needs its AWS_SESSION_TOKEN (in pods store.sessionTokenKey)"
    return ""


def lasting_refusal(response: Response) -> str:
    """Why an answer would be the same again, and which setting to correct; empty for all others."""
    error = response.get("Error", {})
    known = _redirection(response) or _page(response) or _skew(response) or _unknown_checksum(error)
    return known or SETUP.get(error.get("Code", ""), "")


def lasting_failure(error: Exception) -> str:
    """Why no request can be sent, and which setting to correct; empty if it may work the next time."""
    if INVALID_HEADER in str(error):  # That of a key or a token, which no log may have
        what = "the access key or the session token holds a line break or another character that none has"
        return f"{what}; check {CREDENTIALS} and AWS_SESSION_TOKEN"
    from botocore.exceptions import SSLError

    causes = _causes(error) if isinstance(error, SSLError) else ()
    return next((text for cause in causes if (text := _tls_failure(cause))), "")


def plain_http_answer(content: bytes) -> str:
    """What to do if a server says that it expected TLS, as Go, nginx and Apache do; empty for other answers."""
    if not re.search(rb"HTTP request (to an|was sent to) HTTPS|plain HTTP to an SSL", content[:1000]):
        return ""
    return f"this port expects TLS; write https:// in {endpoint_variable()}"


def bucket_region(response: Response) -> str:
    """The region that an answer names for the bucket; empty if it names none."""
    return str(_headers(response).get("x-amz-bucket-region") or response.get("Error", {}).get("Region") or "")


def _redirection(response: Response) -> str:
    """What to do about an answer that points elsewhere, which boto3 follows only to other regions of AWS."""
    error, status = response.get("Error", {}), _status(response)
    wrong_region = error.get("Code") in ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
    if status not in REDIRECTING and error.get("Code") != "PermanentRedirect" and not wrong_region:
        return ""
    if region := bucket_region(response):
        return f"the bucket is in region {region}: set AWS_REGION={region} (in pods store.region)"
    if wrong_region:
        return f"{error.get('Message', error['Code'])}; set AWS_REGION (in pods store.region) to the bucket's region"
    target = urlsplit(_headers(response).get("location") or f"//{error.get('Endpoint', '')}")
    host = target.netloc.rpartition("@")[2].removeprefix(f"{error.get('Bucket', '')}.")
    there = f"{target.scheme or 'https'}://{host}" if host else "another address"
    is_own = (target.scheme, target.hostname) == ("https", urlsplit(endpoint_url()).hostname)
    if host and (is_own or error.get("Code") in ("PermanentRedirect", "TemporaryRedirect")):
        return f"redirects ({status}) to {there}: set {endpoint_variable()} to that"
    what = f"redirects ({status}) to {there}, as a login page or a proxy does"
    return _joined(f"{what}: set {endpoint_variable()} to the address of the S3 API", proxy_advice())


def _page(response: Response) -> str:
    """What to do about an answer of another program than an S3 service, such as a proxy or a console."""
    status, headers = _status(response), _headers(response)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return _joined("a proxy asks for a password (407)", proxy_advice())
    is_page = headers.get("content-type", "").startswith("text/html") and "x-amz-request-id" not in headers
    if not is_page or status in (404, 429) or status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # Those may pass.
        return ""
    if status == HTTPStatus.OK:
        what = "answers with a web page, as the console of an S3 service does"
    else:
        server = f" of {headers['server']}" if headers.get("server") else ""
        what = f"answers {status} with a web page{server}, which no S3 service does"
    return _joined(f"{what}; set {endpoint_variable()} to the address of its API", proxy_advice())


def _skew(response: Response) -> str:
    """What to do if the two clocks differ too much; an answer to HEAD has no text, so its Date tells."""
    error, headers = response.get("Error", {}), _headers(response)
    is_named = error.get("Code") == "RequestTimeTooSkewed"
    if not is_named and _status(response) != HTTPStatus.FORBIDDEN:
        return ""
    ahead_s = _ahead_s(error, headers)
    if not is_named and abs(ahead_s or 0.0) <= ALLOWED_SKEW_S:
        return ""
    by = f"{_say_time(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'}" if ahead_s else "too far from"
    return f"this machine's clock is {by} that of the store; set it by NTP, in a cluster on the node"


def _ahead_s(error: Mapping[str, str], headers: Mapping[str, str]) -> float | None:
    """By how much this machine's clock is ahead of the server's; None if the answer has no time."""
    try:
        if "ServerTime" in error:
            there = datetime.fromisoformat(error["ServerTime"])
        else:
            there = parsedate_to_datetime(headers["date"])
        return (datetime.now(UTC) - there).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None


def _say_time(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _unknown_checksum(error: Mapping[str, str]) -> str:
    """What to do if a service does not know the checksums that boto3 sends since 2025."""
    if not sends_checksums():
        return ""
    text = f"{error.get('Code', '')} {error.get('Message', '')} {error.get('ArgumentName', '')}".lower()
    words = (
        "x-amz-sdk-checksum",
        "x-amz-checksum",
        "x-amz-trailer",
        "unsigned-payload-trailer",
        "x-amz-content-sha256",
    )
    is_about_length = error.get("Code") == "MissingContentLength"
    if not is_about_length and not any(word in text for word in (*words, "xamzcontentsha256mismatch")):
        return ""
    told = " ".join(f"{error.get('Code')}: {error.get('Message', '')}".split())
    return f"{told}; set {' and '.join(CHECKSUMS)} to when_required: the service may not know boto3's checksums"


def _tls_failure(cause: BaseException) -> str:
    """What one error among the causes says about TLS; empty if nothing, or if it may pass."""
    reason, variable = str(getattr(cause, "reason", "")), endpoint_variable()
    if type(cause).__name__ == "CertificateError" or isinstance(
        cause, ssl.SSLCertVerificationError
    ):  # urllib3 has its own
        return _bad_certificate(cause)
    if isinstance(cause, FileNotFoundError) or reason == "NO_CERTIFICATE_OR_CRL_FOUND":
        return f"{CA_BUNDLE} does not exist, or is not a file of certificates in PEM format"
    if not isinstance(cause, ssl.SSLError):
        return ""
    known = {
        **dict.fromkeys(NOT_TLS, f"this port does not speak TLS; write http:// in {variable}, or the port that does"),
        **dict.fromkeys(OLD_TLS, "the server has only versions of TLS that are no longer safe; update it"),
        "TLSV13_ALERT_CERTIFICATE_REQUIRED": f"the server asks for a client's certificate; is {variable} right?",
    }
    return known.get(reason, "")


def _bad_certificate(cause: BaseException) -> str:
    code = getattr(cause, "verify_code", OTHER_NAME[0])
    message = str(getattr(cause, "verify_message", "") or cause).rstrip(".")
    if code in OTHER_NAME:
        return f"its certificate is for another name: {message}; write a name that it has in {endpoint_variable()}"
    text = CERTIFICATES.get(code, f"its certificate is not accepted: {message}")
    return f"{text}; set {CA_BUNDLE} to the certificate of that authority" if code in UNTRUSTED else text


def _silence_advice(error: Exception) -> str:
    """What to check if no answer came."""
    hints = [f"check {endpoint_variable()} and the credentials in {CREDENTIALS}"]
    if type(error).__name__ == "ConnectionClosedError" and endpoint_url().startswith("http://"):
        hints.append("if the server expects TLS, write https://")
    if addressing_style() == "virtual":
        hints.append(f"the bucket is part of the host name because of {STYLE}")
    return _joined(*hints, proxy_advice())


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it; botocore and urllib3 keep the cause as an argument."""
    pending, seen = [error], set[int]()
    while pending:
        cause = pending.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        kept = [*cause.args, getattr(cause, "reason", None), *getattr(cause, "kwargs", {}).values()]
        pending += [each for each in (*kept, cause.__cause__, cause.__context__) if isinstance(each, BaseException)]


def _status(response: Response) -> int:
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _headers(response: Response) -> Mapping[str, str]:
    return response.get("ResponseMetadata", {}).get("HTTPHeaders", {})


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
