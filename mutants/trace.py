"""What tests do while nothing is changed: which functions each calls, how long it takes, what is imported."""

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mutants.operators import MODULE_LEVEL

# Fixtures that take long and are only read: made once, by code that is not changed, and handed to all later processes.
SHARED_FIXTURES = {"demo": Path, "prepared_url": str, "folds_url": str}


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What was noted.

    Attributes:
        seconds: CPU time of each test.
        calls: The functions of the module that each test calls.
        modules: Names of what was imported, in this order.
        fixtures: Values of the shared fixtures.
    """

    seconds: dict[str, float]
    calls: dict[str, list[str]]
    modules: list[str]
    fixtures: dict[str, str]

    def tests_of(self, function: str) -> list[str]:
        """The tests that may notice a change of a function, the quickest first; all tests for what runs on import."""
        chosen = [test for test in self.seconds if function == MODULE_LEVEL or function in self.calls[test]]
        return sorted(chosen, key=self.seconds.__getitem__)


class SharedFixtures:
    """A pytest plugin that hands over the values of shared fixtures instead of making them, where they are known."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.known = dict(known)

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> object:
        if fixturedef.argname not in self.known:
            return None
        value = SHARED_FIXTURES[fixturedef.argname](self.known[fixturedef.argname])
        fixturedef.cached_result = (value, fixturedef.cache_key(request), None)
        return value


class Tracer:
    """A pytest plugin that writes a Trace to a file."""

    def __init__(self, module: Path, target: Path, fixtures: SharedFixtures) -> None:
        self._module, self._target, self._fixtures = str(module), target, fixtures
        self._test, self._shared_s = "", 0.0
        self._calls: dict[str, set[str]] = {}
        self._seconds: dict[str, float] = {}
        threading.settrace(self._note)
        sys.settrace(self._note)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename == self._module and self._test:
            self._calls[self._test].add(frame.f_code.co_qualname.partition(".<locals>")[0])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._test, self._shared_s = item.nodeid, 0.0
        self._calls[self._test] = set()
        started = time.process_time()
        result = yield
        self._seconds[self._test] = time.process_time() - started - self._shared_s
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        started = time.process_time()
        result = yield
        if fixturedef.argname in SHARED_FIXTURES:
            self._shared_s += time.process_time() - started
            self._fixtures.known[fixturedef.argname] = str(result)
        return result

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        sys.settrace(None)
        calls = {test: sorted(names) for test, names in self._calls.items()}
        noted = {
            "seconds": self._seconds,
            "calls": calls,
            "modules": list(sys.modules),
            "fixtures": self._fixtures.known,
        }
        self._target.write_text(json.dumps(noted))
