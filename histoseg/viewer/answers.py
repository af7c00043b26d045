"""What the server sends back."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib import resources

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
JSON, JPEG, BYTES = "application/json", "image/jpeg", "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status, type and body; `keep` lets the browser keep it, as its address changes with its content."""

    body: bytes
    content_type: str
    status: HTTPStatus = HTTPStatus.OK
    keep: bool = False


def to_json(value: object, status: HTTPStatus = HTTPStatus.OK, *, keep: bool = False) -> Answer:
    """A value as JSON; NaN is an error of ours."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Answer(body=body, content_type=JSON, status=status, keep=keep)


def refuse(status: HTTPStatus, text: str) -> Answer:
    """One line that says what is wrong."""
    return to_json({"error": " ".join(text.split())}, status)


@cache
def page_files() -> dict[str, Callable[[], bytes]]:
    """The files of the page, by the only names under which they can be asked for."""
    root = resources.files("histoseg.viewer") / "web"
    folders = {"": root, "vendor/": root / "vendor"}
    return {
        prefix + file.name: file.read_bytes
        for prefix, folder in folders.items()
        for file in folder.iterdir()
        if file.is_file() and suffix(file.name) in TYPES
    }


def suffix(name: str) -> str:
    """The ending of a file's name, with its dot."""
    return name[name.rfind(".") :]
