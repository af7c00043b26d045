"""The command `view`: results of whole slides in a browser."""

import ipaddress
import signal
import socket
import threading
import webbrowser
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from histoseg.commands.segment import open_results
from histoseg.errors import ConfigError
from histoseg.store.objects import Store
from histoseg.viewer.access import is_loopback, make_token


def view(
    results: Annotated[str, typer.Argument(metavar="DIR", help="The folder of results, or s3://bucket/prefix.")],
    slides: Annotated[
        Path | None, typer.Option(help="Where the slide files lie now, if they have moved; found by their names.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; any but this machine needs the token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free one.")] = 8765,
    token: Annotated[
        bool, typer.Option("--token", help="Need the token also on this machine, if others use it.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show slides, what was found in them, and its numbers, on a page of this machine, until Ctrl-C."""
    from histoseg.viewer.routes import Routes
    from histoseg.viewer.server import serving

    routes = Routes(_store(results), slides)
    secret = make_token() if token or not is_loopback(host) else None
    with closing(routes), serving(routes, host, port, secret) as chosen:
        entries = routes.cohort.list().entries
        unreadable = [entry.folder for entry in entries.values() if entry.summary is None]
        print(f"{len(entries)} slides in {routes.cohort.store.url}; Ctrl-C ends", flush=True)
        if unreadable:
            print(f"without a summary that can be read: {', '.join(unreadable)}", flush=True)
        address = f"http://{_name(host)}:{chosen}/" + (f"?token={secret}" if secret else "")
        if open_:
            webbrowser.open(address)
        print(address, flush=True)
        _wait_for_end()


def _wait_for_end() -> None:
    """Return at Ctrl-C or SIGTERM."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()


def _store(address: str) -> Store:
    if "://" not in address and not Path(address).is_dir():
        raise ConfigError(f"{address}: is not a folder; give the one that `histoseg segment --out` wrote")
    return open_results(address)


def _name(host: str) -> str:
    """A host as it stands in an address; this machine's name for one that listens everywhere."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if address.version == 6 else host
