"""Checks of a Ray dashboard: whether it answers, and asks for a token."""

import http.client
import time
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import urlsplit

from histoseg.doctor.check import Check

TIME_LIMIT_S = 20.0  # For one answer
PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # Between attempts at a dashboard that is starting or busy
NO_TOKEN = "not checked: RAY_AUTH_TOKEN is not set; its value is `auth_token` in the cluster's Secret"  # noqa: S105 # a message


def dashboard_checks(url: str, token: str) -> Iterator[Check]:
    """Whether a Ray dashboard answers, refuses requests without a token, and accepts this one."""
    answers = "dashboard: answers"
    try:
        status = _health(url)
        yield Check(what=answers, ok=status == 200, found=f"{url}: {status}", advice="look at the head pod's log")
        status = _status(url, "/api/version")
        yield Check(
            what="dashboard: asks for a token",
            ok=status in (401, 403),
            found=f"{url}: {status} without one",
            advice="everyone who can reach it can run code there; set auth.mode: token in the chart's values",
        )
        yield _token_check(url, token.strip())
    except (OSError, http.client.HTTPException, ValueError) as error:
        advice = "correct the URL, or forward the port: kubectl port-forward service/<cluster>-head-svc 8265"
        yield Check(what=answers, ok=False, found=f"{url}: {str(error) or type(error).__name__}", advice=advice)


def _token_check(url: str, token: str) -> Check:
    what = "dashboard: accepts our token"
    if not token:
        return Check(what=what, ok=True, found=NO_TOKEN)
    if not (token.isascii() and token.isprintable()):  # The error of sending such a token would quote it
        found = "RAY_AUTH_TOKEN has a character that cannot be sent"
        return Check(what=what, ok=False, found=found, advice="take `auth_token` from this cluster's Secret")
    status = _status(url, "/api/version", token)
    advice = "RAY_AUTH_TOKEN is of another cluster; take `auth_token` from this cluster's Secret"
    return Check(what=what, ok=status == 200, found=f"{url}: {status} with it", advice=advice)


def _health(url: str) -> int:
    """The status of the one path that Ray serves without a token."""
    for pause_s in PAUSES_S:
        with suppress(TimeoutError, ConnectionError):  # A head that is starting refuses connections, or drops them
            if (status := _status(url, "/api/gcs_healthz")) < HTTPStatus.INTERNAL_SERVER_ERROR:
                return status
        time.sleep(pause_s)
    return _status(url, "/api/gcs_healthz")


def _status(url: str, path: str, token: str = "") -> int:
    """The status of an answer; redirects are not followed, so that the token is sent to no other server."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write http://host:8265")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=TIME_LIMIT_S)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", parts.path.rstrip("/") + path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()
