"""A Chromium that drives the page, as an ordinary user's would be."""

import shutil
import time
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WHY_NOT = "no Chromium; install one, e.g. apt-get install -y --no-install-recommends chromium"


@contextmanager
def chromium():
    """A browser without a window and without a graphics card."""
    if CHROMIUM is None:
        pytest.skip(WHY_NOT)
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def settle(page, seconds=20.0):
    """Wait until all tiles in view are drawn and the objects in view are counted.

    Playwright's own waiting evaluates text, which the policy of the page refuses.
    """
    deadline = time.monotonic() + seconds
    ready = "globalThis.viewer !== undefined && viewer.isSettled()"
    while not page.evaluate(ready):
        assert time.monotonic() < deadline, page.evaluate("document.body.innerText")
        page.wait_for_timeout(30)


def box_in_view(page):
    """Left, top, right and bottom in base pixels, as last counted."""
    return [float(side) for side in page.evaluate("document.getElementById('status').dataset.box").split(",")]


def until(page, check, seconds=10.0):
    """Wait until a call gives something true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline
        page.wait_for_timeout(30)
    return found
