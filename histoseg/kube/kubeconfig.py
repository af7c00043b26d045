"""What a kubeconfig says of its contexts, and how the client is kept from telling its secrets.

Its servers and credentials are left to the client.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from histoseg.errors import ClusterError
from histoseg.kube.refusals import one_line


@dataclass(frozen=True, kw_only=True)
class Context:
    """A context.

    Attributes:
        namespace: Empty if it names none.
        plugin: The command that logs its user in; empty if there is none.
    """

    namespace: str
    plugin: str


def kubeconfig_paths() -> str:
    """The files that kubectl would read, as KUBECONFIG lists them."""
    return os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())


def find_context(paths: str, name: str) -> Context:
    """A context of these files; of equal names the first counts, as for kubectl.

    Raises:
        ClusterError: If there is none of this name, or no kubeconfig.
    """
    files = [file.expanduser() for file in map(Path, paths.split(os.pathsep)) if file.expanduser().is_file()]
    if not files:
        raise ClusterError(
            f"no kubeconfig at {paths}; set KUBECONFIG to one, or let the tool of whoever runs the cluster write it"
        )
    contexts: dict[str, Mapping[str, Any]] = {}
    plugins: dict[str, str] = {}
    for file in files:
        of_contexts, of_users = _read(file)
        contexts = {**of_contexts, **contexts}
        plugins = {**of_users, **plugins}
    if name not in contexts:
        there = ", ".join(sorted(contexts)) or "none"
        raise ClusterError(f"no context {name!r} in {paths}; there are: {there}; choose one with CLUSTER=")
    found = contexts[name]
    return Context(namespace=str(found.get("namespace") or ""), plugin=plugins.get(str(found.get("user")), ""))


def _read(file: Path) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """A file's contexts, and its users with the command that logs each in."""
    try:
        with file.open("rb") as stream:  # Of a stream, YAML's errors quote nothing; of a text, they might a token
            parsed = yaml.safe_load(stream) or {}
        contexts: dict[str, Mapping[str, Any]]
        contexts = {str(entry["name"]): dict(entry.get("context") or {}) for entry in parsed.get("contexts") or []}
        users = {str(entry["name"]): entry.get("user") or {} for entry in parsed.get("users") or []}
        return contexts, {name: str((user.get("exec") or {}).get("command") or "") for name, user in users.items()}
    except (yaml.YAMLError, OSError, KeyError, AttributeError, TypeError, ValueError) as error:
        said = one_line(str(error))
        raise ClusterError(f"{file} is no kubeconfig: {said}; correct it, or set KUBECONFIG") from None


def keep_token_clean(configuration: Any) -> None:
    """See that the token goes without the end of the line that its file may have, also when the client renews it."""
    renew = configuration.refresh_api_key_hook  # Only what has a token has this

    def renew_clean(now: Any) -> None:
        renew(now)
        now.api_key = {key: text.strip() for key, text in now.api_key.items()}
        now.refresh_api_key_hook = renew_clean  # `renew` has put itself in its place

    configuration.refresh_api_key_hook = renew and renew_clean


@contextmanager
def overheard() -> Iterator[list[str]]:
    """What the client writes to the root logger meanwhile, instead of raising it; it goes nowhere else."""
    said: list[str] = []

    def listen(record: logging.LogRecord) -> bool:
        said.append(record.getMessage())
        return False

    root = logging.getLogger()
    root.addFilter(listen)
    try:
        yield said
    finally:
        root.removeFilter(listen)


def fault(error: Exception) -> str:
    """What is wrong with a kubeconfig, by what the client raised."""
    said = quotable(str(error)) or type(error).__name__
    if isinstance(error, ImportError):
        return f"its proxy needs another package ({said}): pip install pysocks"
    return f"a token or certificate in it is malformed ({said})" if isinstance(error, ValueError) else said


def quotable(text: str) -> str:
    """The client's words on one line, without the parts of the file that they quote: those may hold a token."""
    return one_line(re.sub(r"{.*}", "{…}", text, flags=re.DOTALL))
