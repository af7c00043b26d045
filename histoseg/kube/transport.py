"""Sending a request to an API server, again while the server is busy or away, and reading its answer."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from histoseg.kube.objects import Object
from histoseg.kube.refusals import ApiRequest, ErrorAnswer, RefusedError, UnreachableError, one_line, remedy, unsendable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
MAX_LINE_BYTES = 1 << 20

Received = TypeVar("Received")


def ask(
    request: ApiRequest, send: Callable[[], Received], patience_s: float, sleep: Callable[[float], object]
) -> Received | ErrorAnswer:
    """The result of `send`, or the server's answer if it is an error; a server that is busy or away is asked again.

    So is one that now refuses what it allowed before: after its start it does not know the roles at once.

    Raises:
        UnreachableError: If no usable answer came in that time.
        RefusedError: If the request cannot be written.
    """
    from kubernetes.client.exceptions import ApiException

    begin, pause_s = time.monotonic(), FIRST_PAUSE_S
    while True:
        asked_s, has_lost_right = 0.0, False
        try:
            return send()
        except ApiException as error:
            answer = ErrorAnswer.read(error.status or 0, error.body or "", str(error.reason or ""))
            has_lost_right = request.was_allowed and answer.lacks_right
            if not answer.may_pass and not has_lost_right:
                return answer
            asked_s, cause = _retry_after_s(error.headers), _cause(request, answer)
        except HTTPError as error:
            cause = _cause(request, ErrorAnswer.read(0, "", str(error)))
        except ValueError as error:  # Its text may contain the token
            raise RefusedError(unsendable(request, type(error).__name__), 0) from None
        left_s = patience_s - (time.monotonic() - begin)
        if left_s <= 0 and has_lost_right:
            return answer
        if left_s <= 0 or asked_s > left_s:
            raise UnreachableError(f"cannot {request.what}: {request.server} {cause}", asked_s)
        sleep(min(max(asked_s, pause_s), left_s))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def parse(request: ApiRequest, body: bytes) -> Object:
    """The object in an answer's body; refuses what a proxy or a login page answers in place of the server."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise foreign(request, body.decode(errors="replace"))
    return found


def foreign(request: ApiRequest, said: str) -> RefusedError:
    """The error for an answer that does not come from an API server."""
    return RefusedError(
        f"cannot {request.what}: {request.server} did not answer as a Kubernetes API server does ({one_line(said)}); "
        f"log in again, and check that context {request.context!r} names the API server itself",
        200,
    )


def lines(response: BaseHTTPResponse) -> Iterator[str]:
    """Whole lines of a response as they arrive; a broken connection ends them and drops the last, unfinished line."""
    rest = b""
    try:
        for chunk in response.stream(1 << 16, decode_content=True):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
            rest = rest[-MAX_LINE_BYTES:]
        if rest:
            yield rest.decode(errors="replace")
    except HTTPError:
        return
    finally:
        response.close()


def _cause(request: ApiRequest, answer: ErrorAnswer) -> str:
    """Why there is no usable answer, and what to do."""
    said = f"answers {answer.status} ({answer.message})" if answer.status else f"does not answer ({answer.message})"
    return f"{said}; {remedy(request, answer)}"


def _retry_after_s(headers: Mapping[str, str] | None) -> float:
    """How long a busy server asks to wait; 0 if it does not say so in seconds."""
    text = str((headers or {}).get("Retry-After", ""))
    return float(text) if text.isdigit() else 0.0
