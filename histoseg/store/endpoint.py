"""Where the S3 service is and how it is spoken to, as the environment says.

boto3 reads most of the usual variables and ~/.aws/config itself. Here are those that our messages name, and the two
settings that services other than AWS need.
"""

import os
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from histoseg.errors import ConfigError
from histoseg.runs.request import without_password

Style = Literal["auto", "path", "virtual"]

STYLE = "AWS_S3_ADDRESSING_STYLE"
CHECKSUMS = ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION")


def endpoint_url() -> str:
    """The address of the S3 server as the environment has it; empty stands for AWS."""
    return os.environ.get(endpoint_variable(), "")


def endpoint_variable() -> str:
    """The environment variable with the address of the S3 server."""
    return "AWS_ENDPOINT_URL_S3" if os.environ.get("AWS_ENDPOINT_URL_S3") else "AWS_ENDPOINT_URL"


def place(url: str) -> str:
    """A store's URL, and the address at which it is asked, as messages name both."""
    return f"{url} at {without_password(endpoint_url()) or 'AWS'}"


def region() -> str:
    """The region that requests are signed for."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def addressing_style() -> Style | None:
    """Whether the bucket stands in the path or the host name; None leaves it to boto3.

    boto3 follows ~/.aws/config, and without a setting writes the bucket into the path if there is an endpoint, since a
    self-hosted server seldom has a wildcard DNS name.

    Raises:
        ConfigError: If the variable has another value.
    """
    style = os.environ.get(STYLE, "")
    if style and style not in get_args(Style):
        raise ConfigError(f"{STYLE} is {style!r}; choose from {', '.join(get_args(Style))}")
    return cast(Style, style) if style else None


def checksums(variable: str) -> Literal["when_required"] | None:
    """What boto3's Config is given for one of `CHECKSUMS`; None leaves it to the environment.

    Since 2025 boto3 adds checksums that many other services refuse or store as part of the object. They are not needed:
    every request carries the SHA-256 of its body in its signature.
    """
    return "when_required" if endpoint_url() and not os.environ.get(variable) else None


def sends_checksums() -> bool:
    """Whether boto3 adds checksums to requests or expects them in answers."""
    found = [checksums(name) or os.environ.get(name) or "when_supported" for name in CHECKSUMS]
    return any(value.lower() != "when_required" for value in found)


def proxy_advice() -> str:
    """What to check if a proxy stands between this process and the store; empty if there is none."""
    from botocore.utils import get_environ_proxies

    url = endpoint_url() or "https://s3.amazonaws.com"
    parts = urlsplit(url)
    if parts.scheme not in get_environ_proxies(url):
        return ""
    host = parts.netloc.rpartition("@")[2].removesuffix(f":{parts.port}")
    variable = f"{parts.scheme.upper()}_PROXY"
    return f"requests go through the proxy of {variable}; if the store needs none, add {host} to NO_PROXY"
