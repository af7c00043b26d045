"""What tests do while nothing is changed: which functions each calls, how long it takes, what is imported."""

import ast
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.operators import MODULE_LEVEL

# Fixtures that take long and are only read: made once, by code that is not changed, and handed to all later processes.
SHARED_FIXTURES = {"demo": Path, "prepared_url": str, "folds_url": str}
called: set[str] = set()  # Functions of the module that the current test has called.


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
    """A pytest plugin that writes a Trace to a file, while the module's text is that of `instrumented`."""

    def __init__(self, target: Path, fixtures: SharedFixtures) -> None:
        self._target, self._fixtures = target, fixtures
        self._shared_s = 0.0
        self._calls: dict[str, list[str]] = {}
        self._seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        called.clear()
        self._shared_s = 0.0
        started = time.process_time()
        result = yield
        self._seconds[item.nodeid] = time.process_time() - started - self._shared_s
        self._calls[item.nodeid] = sorted(called)
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
        noted = {"seconds": self._seconds, "calls": self._calls, "modules": list(sys.modules)}
        self._target.write_text(json.dumps({**noted, "fixtures": self._fixtures.known}))


def instrumented(source: str) -> str:
    """The source of a module whose functions and methods enter their names into `called`."""
    tree = ast.parse(source)
    for name, function in _functions(tree, ""):
        function.body[:0] = ast.parse(f"__import__('tests.mutants.trace').mutants.trace.called.add({name!r})").body
    return ast.unparse(tree)


def _functions(scope: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Those that are not within others, with their qualified names."""
    for node in scope.body:
        if isinstance(node, ast.FunctionDef):
            yield f"{prefix}{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
