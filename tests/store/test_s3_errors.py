"""What services and proxies answer, each in the words of one that was published, and what is made of it."""

import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from histoseg.errors import StorageError, StoreRefusedError, StoreSetupError
from histoseg.store.endpoint import proxy_advice
from histoseg.store.objects import BRISK, PATIENT, connect
from tests.store.servers import canned

XML = {"Content-Type": "application/xml", "x-amz-request-id": "2J8ZFVZVVRA4T7CF"}
PAGE = {"Content-Type": "text/html"}
SQUID = {"Content-Type": "text/html;charset=utf-8", "Via": "1.1 proxy (squid/5.7)"}


def error(code, message="", more=""):
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


def asked(answer, monkeypatch, ask="put", patience=PATIENT, **environment):
    """The error of a request, and the requests that it took."""
    with canned(*answer) as server:
        for name, value in {**server.environment, **environment}.items():
            monkeypatch.setenv(name, value.replace("HERE", server.url))
        with pytest.raises(StorageError) as caught:
            getattr(connect("s3://bucket/p", patience), ask)("a", *([b"x"] if ask.startswith("put") else []))
    return caught.value, server.seen


# https://github.com/yanganto/s3rs/issues/18
MOVED = error(
    "PermanentRedirect",
    "The bucket you are attempting to access must be addressed using the specified endpoint.",
    "<Endpoint>bucket.s3-ap-northeast-1.amazonaws.com</Endpoint><Bucket>bucket</Bucket>",
)
# Amazon S3 User Guide, "Making requests", on redirected requests
ELSEWHERE = error("TemporaryRedirect", "Please re-send this request.", "<Bucket>bucket</Bucket>")
# Garage's default region; the code is Amazon's for a signature with another region than the bucket's.
OTHER_REGION = error("AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong", "<Region>garage</Region>")
# https://github.com/treeverse/lakeFS/issues/3490, https://github.com/gobackup/gobackup/issues/268
NO_PATH_OSS = error("SecondLevelDomainForbidden", "Please use virtual hosted style to access.")
NO_PATH_COS = error("PathStyleDomainForbidden", "The bucket must be addressed using COS virtual-styled domain.")
# https://github.com/craftcms/aws-s3/issues/182
EXPIRED = error("ExpiredToken", "The provided token has expired.", "<Token-0>XXX</Token-0>")
VIRTUAL = "AWS_S3_ADDRESSING_STYLE=virtual .*store.addressingStyle"


@pytest.mark.parametrize(
    ("answer", "advice", "num_requests"),
    [
        ((301, {**XML, "x-amz-bucket-region": "ap-northeast-1"}, MOVED), "AWS_REGION=ap-northeast-1 .*store.region", 2),
        ((301, XML, MOVED), r"\(301\) to https://s3-ap-northeast-1.amazonaws.com: set AWS_ENDPOINT_URL", 1),
        ((301, {**PAGE, "Location": "https://127.0.0.1/bucket/p/a"}), "to https://127.0.0.1: set AWS_ENDPOINT_URL", 1),
        (
            (302, {**PAGE, "Location": "https://me:pw@login.lab/?key=pw"}),
            r"\(302\) to https://login.lab, as a login",
            1,
        ),
        ((302, PAGE), r"redirects \(302\) to another address", 1),
        (
            (307, {**XML, "Location": "http://s3.lab/bucket/p/a"}, ELSEWHERE),
            r"\(307\) to http://s3.lab: set AWS_END",
            1,
        ),
        ((400, XML, OTHER_REGION), "AWS_REGION=garage", 2),
        ((400, XML, EXPIRED), "expired; put a new key, .*AWS_SESSION_TOKEN", 1),
        ((403, XML, NO_PATH_OSS), VIRTUAL, 1),
        ((403, XML, NO_PATH_COS), VIRTUAL, 1),
        ((403, SQUID, b"<!DOCTYPE html><br>"), "answers 403 with a web page", 1),
        ((407, {**SQUID, "Proxy-Authenticate": "Basic"}, b"<br>"), "a proxy asks for a password", 1),
        (
            (400, {"Content-Type": "text/plain"}, b"Client sent an HTTP request to an HTTPS server.\n"),
            "write https://",
            1,
        ),
        ((200, PAGE, b"<!DOCTYPE html><meta><br>"), "web page, as the console", 1),
    ],
    ids=lambda value: f"{value[0]}" if isinstance(value, tuple) else None,
)
def test_what_a_setting_would_mend_is_refused_at_once_and_names_it(answer, advice, num_requests, monkeypatch):
    begin = time.monotonic()
    caught, seen = asked(answer, monkeypatch)
    assert type(caught) is StoreSetupError
    assert caught.args[0].startswith("s3://bucket/p at http://127.0.0.1:")
    assert re.search(advice, str(caught)), str(caught)
    assert len(seen) == num_requests
    assert "pw" not in str(caught)
    assert "\n" not in str(caught)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("ask", ["get", "size", "put", "put_if_absent", "list", "delete"])
@pytest.mark.parametrize("status", [301, 302, 307])
def test_no_request_follows_a_redirect_for_ever(ask, status, monkeypatch):
    """boto3 1.44 asks HeadBucket for the region, is redirected, asks HeadBucket …: RecursionError."""
    caught, seen = asked((status, {**PAGE, "Location": "https://login.lab/"}), monkeypatch, ask)
    assert type(caught) is StoreSetupError
    assert len(seen) == 1


def skewed(by):
    there = datetime.now(UTC) - by
    # https://github.com/versity/versitygw/issues/1514
    times = f"<RequestTime>20250901T162148Z</RequestTime><ServerTime>{there:%Y-%m-%dT%H:%M:%SZ}</ServerTime>"
    return error(
        "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.", times
    )


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (timedelta(minutes=26), "26 minutes ahead of"),
        (timedelta(hours=-3), "3 hours behind"),
        (timedelta(days=9), "9 days ahead of"),
    ],
)
def test_a_wrong_clock_is_refused_at_once_with_the_difference(by, words, monkeypatch):
    caught, seen = asked((403, XML, skewed(by)), monkeypatch)
    assert type(caught) is StoreSetupError
    assert f"clock is {words} that of the store; set it by NTP" in str(caught)
    assert len(seen) == 1


@pytest.mark.parametrize(("minutes", "kind"), [(26, StoreSetupError), (14, StoreRefusedError)])
def test_an_answer_without_text_tells_a_wrong_clock_by_its_date(minutes, kind, monkeypatch):
    """S3 allows 15 minutes: MaxAllowedSkewMilliseconds is 900000."""
    monkeypatch.setattr(
        "tests.store.servers.BaseHTTPRequestHandler.date_time_string",
        lambda _self: format_datetime(datetime.now(UTC) - timedelta(minutes=minutes), usegmt=True),
    )
    caught, _ = asked((403, XML), monkeypatch, "size")
    assert type(caught) is kind
    assert ("26 minutes ahead" in str(caught)) is (minutes == 26)


# https://github.com/boto/s3transfer/issues/327 (Backblaze), https://github.com/storj/gateway-st/issues/89 (Storj),
# https://github.com/s3s-project/s3s/issues/328
CHECKSUMS = {
    "Backblaze": error(
        "InvalidArgument", "Unsupported header 'x-amz-sdk-checksum-algorithm' received for this API call."
    ),
    "Storj": error("MissingContentLength", "You must provide the Content-Length HTTP header."),
    "s3s": error("XAmzContentSHA256Mismatch", "invalid header: x-amz-content-sha256"),
}


@pytest.mark.parametrize("service", CHECKSUMS)
def test_a_service_that_refuses_new_checksums_is_told_to_the_person_who_asked_for_them(service, monkeypatch):
    answer, told = (400, XML, CHECKSUMS[service]), {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported"}
    caught, seen = asked(answer, monkeypatch, **told)
    assert type(caught) is StoreSetupError
    assert "set AWS_REQUEST_CHECKSUM_CALCULATION and AWS_RESPONSE_CHECKSUM_VALIDATION to when_required" in str(caught)
    assert "X-Amz-Sdk-Checksum-Algorithm" in {name.title() for name in seen[0][2]}


@pytest.mark.parametrize("service", CHECKSUMS)
def test_services_other_than_aws_get_none_unless_asked_for(service, monkeypatch):
    caught, seen = asked((400, XML, CHECKSUMS[service]), monkeypatch, patience=BRISK)
    assert "when_required" not in str(caught)  # It is so already.
    ((_, _, headers),) = seen
    assert not [name for name in headers if "checksum" in name.lower()]
    # SHA-256 of "x", by sha256sum
    assert headers["X-Amz-Content-SHA256"] == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateways_page_that_may_pass_is_asked_again(status, monkeypatch):
    caught, seen = asked((status, PAGE, b"<html>no upstream</html>"), monkeypatch, patience=BRISK)
    assert type(caught) is StorageError
    assert len(seen) == BRISK.attempts


@pytest.mark.parametrize(
    ("status", "text"), [(403, "answers 403 with a web page"), (407, "asks for a password"), (200, "web page")]
)
def test_a_proxys_answer_names_the_variables(status, text, monkeypatch):
    proxied = {"AWS_ENDPOINT_URL": "http://store.research.svc:9000", "HTTP_PROXY": "HERE"}
    caught, seen = asked((status, SQUID, b"<!DOCTYPE html><br>"), monkeypatch, **proxied)
    assert text in str(caught)
    assert "the proxy of HTTP_PROXY; if the store needs none, add store.research.svc to NO_PROXY" in str(caught)
    assert seen[0][1] == "http://store.research.svc:9000/bucket/p/a"  # As a proxy is asked.


@pytest.mark.parametrize("host", ["store.research.svc", "[fd00::9]", "10.0.0.9"])
def test_the_name_to_except_from_a_proxy_does_except_it(host, monkeypatch):
    address = {"AWS_ENDPOINT_URL": f"http://{host}:9000", "HTTP_PROXY": "http://me:Sesame@127.0.0.1:9"}
    for name, value in {**address, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=f"the proxy of HTTP_PROXY.*add {host}".replace("[", r"\[")) as caught:
        connect("s3://bucket", BRISK).get("a")
    assert "Sesame" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", host)
    assert proxy_advice() == ""


def test_an_address_with_a_password_is_shown_without(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:Sesame@127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a")
    with pytest.raises(StorageError, match=r"at http://127\.0\.0\.1:9: ") as caught:
        connect("s3://bucket", BRISK).get("a")
    assert "Sesame" not in str(caught.value)


@pytest.mark.parametrize("token", ["a-token", ""])
def test_a_session_token_is_sent_with_the_key(token, monkeypatch):
    """A Secret may hold the key with no content."""
    _, seen = asked((403, XML, error("AccessDenied")), monkeypatch, AWS_SESSION_TOKEN=token)
    assert seen[0][2].get("X-Amz-Security-Token", "") == token


def test_a_temporary_key_without_its_token_says_what_is_missing(monkeypatch):
    answer = (403, XML, error("InvalidAccessKeyId"))
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    caught, _ = asked(answer, monkeypatch, AWS_ACCESS_KEY_ID="ASIAX")
    assert "needs its AWS_SESSION_TOKEN (in pods store.sessionTokenKey)" in str(caught)
    caught, _ = asked(answer, monkeypatch, AWS_SESSION_TOKEN="of another key")
    assert "AWS_SESSION_TOKEN, which must be of the same key" in str(caught)
