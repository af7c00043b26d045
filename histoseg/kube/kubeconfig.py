"""Contexts of a kubeconfig, and a client for one of them that does not show its secrets.

Servers and credentials are read by the client itself.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from histoseg.errors import ClusterError
from histoseg.kube.objects import at, read
from histoseg.kube.refusals import one_line


@dataclass(frozen=True, kw_only=True)
class Context:
    """A context of the kubeconfig: its namespace and the command that logs its user in, each empty if there is none."""

    namespace: str
    plugin: str


class ContextEntry(BaseModel):
    """An entry of a file's `contexts`."""

    name: str
    namespace: str = at("context.namespace", "")
    user: str = at("context.user", "")


class UserEntry(BaseModel):
    """An entry of a file's `users`."""

    name: str
    plugin: str = at("user.exec.command", "")


class KubeconfigFile(BaseModel):
    """The parts of a file that are read here."""

    contexts: tuple[ContextEntry, ...] = ()
    users: tuple[UserEntry, ...] = ()


def log_in(context: str) -> tuple[Any, Context]:
    """An ApiClient of the `kubernetes` package for a context, and the context; nothing is sent yet."""
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise ClusterError(f"{error}: a cluster needs more packages; pip install 'histoseg[cluster]'") from None
    paths = kubeconfig_paths()
    found = find_context(paths, context)
    configuration = client.Configuration()
    configuration.retries = False  # urllib3's own would wait as long as a server likes, and follow redirects
    try:
        load: Callable[..., None] = config.load_kube_config
        with _capture_log() as said:
            load(paths, context=context, client_configuration=configuration)
        _strip_token(configuration)
        api_client = client.ApiClient(configuration)
    except Exception as error:  # The client raises errors of many types for a malformed kubeconfig
        raise ClusterError(
            f"{paths}: context {context!r} cannot be used: {_unusable(error)}; correct it, or log in again"
        ) from None
    if found.plugin and not (configuration.api_key or configuration.cert_file):
        raise ClusterError(
            f"{paths}: the login command {found.plugin!r} of context {context!r} gives no credentials "
            f"({_quotable(' '.join(said))}); install it or log in with it, then try `kubectl --context {context} "
            f"get pods`"
        )
    return api_client, found


def kubeconfig_paths() -> str:
    """The files that kubectl would read, as KUBECONFIG lists them."""
    return os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())


def find_context(paths: str, name: str) -> Context:
    """A context of these files; of equal names the first counts, as for kubectl."""
    files = [file.expanduser() for file in map(Path, paths.split(os.pathsep)) if file.expanduser().is_file()]
    if not files:
        raise ClusterError(
            f"no kubeconfig at {paths}; set KUBECONFIG to one, or have your cloud's or cluster's login tool write it"
        )
    contexts: dict[str, ContextEntry] = {}
    plugins: dict[str, str] = {}
    for file in files:
        parsed = _parse(file)
        contexts = {**{entry.name: entry for entry in parsed.contexts}, **contexts}
        plugins = {**{entry.name: entry.plugin for entry in parsed.users}, **plugins}
    if name not in contexts:
        there = ", ".join(sorted(contexts)) or "none"
        raise ClusterError(f"no context {name!r} in {paths}; there are: {there}; choose one with CLUSTER= (--cluster)")
    return Context(namespace=contexts[name].namespace, plugin=plugins.get(contexts[name].user, ""))


def _parse(file: Path) -> KubeconfigFile:
    remedy = "correct it, or set KUBECONFIG"
    try:
        with file.open("rb") as stream:  # YAML's errors quote a text, but not a stream; they might quote a token
            parsed = yaml.safe_load(stream) or {}
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise ClusterError(f"{file} is not a valid kubeconfig: {one_line(str(error))}; {remedy}") from None
    try:
        return read(KubeconfigFile, parsed, f"{file} is not a valid kubeconfig")
    except ClusterError as error:
        raise ClusterError(f"{error}; {remedy}") from None


def _strip_token(configuration: Any) -> None:
    """Remove the line end that a token's file may have from the token, also when the client renews it."""
    renew = configuration.refresh_api_key_hook  # Only a configuration with a token has it

    def renew_stripped(now: Any) -> None:
        renew(now)
        now.api_key = {key: text.strip() for key, text in now.api_key.items()}
        now.refresh_api_key_hook = renew_stripped  # `renew` has put itself in its place

    configuration.refresh_api_key_hook = renew and renew_stripped


@contextmanager
def _capture_log() -> Iterator[list[str]]:
    """Messages that the client logs meanwhile where it should raise an error; they are not logged anywhere else."""
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


def _unusable(error: Exception) -> str:
    """What is wrong with a kubeconfig, by the error that the client raised."""
    said = _quotable(str(error)) or type(error).__name__
    if isinstance(error, ImportError):
        return f"its proxy needs another package ({said}): pip install pysocks"
    return f"a token or certificate in it is malformed ({said})" if isinstance(error, ValueError) else said


def _quotable(text: str) -> str:
    """The client's message on one line, without the parts of the file that it quotes: they may hold a token."""
    return one_line(re.sub(r"{.*}", "{…}", text, flags=re.DOTALL))
