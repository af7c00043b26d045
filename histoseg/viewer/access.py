"""Who may ask: programs of this machine, or whoever has the token.

On a loopback address the name that the browser asked for is checked, so that no web page can reach the viewer under a
name of its own (DNS rebinding). On any other address a token is needed: first in the address, then in a cookie.
"""

import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from email.message import Message
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether an address or name can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a request must bring.

    Attributes:
        token: None if none is needed.
        cookie: The name of the cookie that holds it; browsers share cookies between ports, so it names the port.
    """

    token: str | None
    cookie: str = "histoseg"

    def refusal(self, target: str, headers: Message) -> str:
        """Why a request is refused; empty if it is not."""
        if self.token is None:
            name = urlsplit(f"//{headers.get('Host', '')}").hostname or ""
            allowed = is_loopback(name)
            return (
                "" if allowed else f"host {name!r} is not this machine; open the address that `histoseg view` printed"
            )
        given = (self.token_in(target), self._cookie_of(headers), _bearer_of(headers))
        if any(hmac.compare_digest(one.encode(), self.token.encode()) for one in given):
            return ""
        return "the token is missing or wrong; open the address that `histoseg view` printed"

    def token_in(self, target: str) -> str:
        """The token in an address, or ""."""
        return parse_qs(urlsplit(target).query).get("token", [""])[0]

    def _cookie_of(self, headers: Message) -> str:
        try:
            cookies = SimpleCookie(headers.get("Cookie", ""))
        except CookieError:
            return ""
        return cookies[self.cookie].value if self.cookie in cookies else ""


def _bearer_of(headers: Message) -> str:
    kind, _, value = headers.get("Authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else ""


def make_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(32)
