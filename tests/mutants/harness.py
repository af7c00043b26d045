"""One process per module: pytest starts once, and each mutant is a fork of it that imports the changed file.

A first fork runs the tests unchanged, and notes what each test calls, how long it takes and what it imports. What does
not depend on the module is then imported once for all. A mutant runs the tests that call its function, the quickest
first, until one fails.
"""

import contextlib
import gc
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import IO, Any

import pytest

from tests.mutants.equivalent import Identity
from tests.mutants.imports import ROOT, dependents_of, name_of
from tests.mutants.modules import WORDS
from tests.mutants.operators import Mutant, mutants_of
from tests.mutants.trace import SharedFixtures, Trace, Tracer, instrumented

# A mutant that takes this many times the CPU time of its tests, and this much more, runs for ever.
CPU_FACTOR, CPU_GRACE_S = 3, 10
WALL_FACTOR = 30  # How much longer than that it may take on the clock, where it waits for what never comes.
EXAMPLES = 25  # Of Hypothesis: a quarter of its default finds nearly all that can be found, in a quarter of the time.
MEMORY_BYTES = 4 << 30  # More than any test needs; a mutant must not take all that the machine has.
SURVIVED, UNTESTED = 0, 5  # Exit codes of pytest: all tests passed, none was run.


@dataclass(frozen=True, kw_only=True)
class Job:
    """One module to be mutated.

    Attributes:
        module: Its file, from the repository's root.
        tests: Files of tests that should notice.
        function: The only function to mutate; all if empty.
        percent: The share of mutants that is run.
        known: Mutants that are not run again, as `Mutant.identity`.
        fixtures: Values of shared fixtures that an earlier job made.
        folder: Where temporary files may be written.
    """

    module: str
    tests: tuple[str, ...]
    function: str
    percent: int
    known: tuple[Identity, ...]
    fixtures: Mapping[str, str]
    folder: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one mutant.

    Attributes:
        killed_by: The test that failed, or another reason why the mutant was noticed; empty if it survived.
        num_tests: How many tests call the function.
    """

    function: str
    was: str
    becomes: str
    nth: int
    killed_by: str
    num_tests: int
    seconds: float

    @property
    def identity(self) -> Identity:
        """As `Mutant.identity`."""
        return self.function, self.was, self.becomes, self.nth


class Forks:
    """A pytest plugin that forks instead of collecting tests; in the forks, pytest goes on."""

    def __init__(self, job: Job, report: IO[str]) -> None:
        self._job = job
        self._report = report
        self._folder = Path(job.folder)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        _derandomize()
        noted = self._folder / "trace.json"
        if not (child := self._fork("unchanged")):
            shared = SharedFixtures(self._job.fixtures)
            session.config.pluginmanager.register(shared)
            session.config.pluginmanager.register(Tracer(noted, shared))
            _change(ROOT / self._job.module, instrumented((ROOT / self._job.module).read_text()).encode())
            return
        _, status = os.waitpid(child, 0)
        if status:
            pytest.exit(f"the tests of {self._job.module} fail without any change", returncode=1)
        trace = Trace(**json.loads(noted.read_text()))
        self._say({"fixtures": trace.fixtures})
        _preload(trace.modules, self._job.module)
        gc.freeze()  # Forks need not look through what is there already.
        for mutant in _chosen(self._job):
            tests = trace.tests_of(mutant.function)
            if tests and not (child := self._fork("mutant")):
                session.config.pluginmanager.register(SharedFixtures(trace.fixtures))
                session.config.pluginmanager.register(Verdict(self._folder / "verdict", tests))
                session.config.args = list(dict.fromkeys(test.partition("::")[0] for test in tests))
                _bound(sum(trace.seconds[test] for test in tests))
                _change(ROOT / self._job.module, mutant.source.encode())
                return
            self._say(asdict(self._outcome(mutant, child, tests)))
        pytest.exit("all mutants were run", returncode=0)

    def _outcome(self, mutant: Mutant, child: int, tests: list[str]) -> Outcome:
        killed_by, seconds = "", 0.0
        if tests:
            _, status, usage = os.wait4(child, 0)
            seconds = usage.ru_utime + usage.ru_stime
            killed_by = self._killed_by(status)
        return Outcome(
            function=mutant.function,
            was=mutant.was,
            becomes=mutant.becomes,
            nth=mutant.nth,
            killed_by=killed_by,
            num_tests=len(tests),
            seconds=round(seconds, 2),
        )

    def _killed_by(self, status: int) -> str:
        if os.WIFSIGNALED(status):
            return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
        code = os.WEXITSTATUS(status)
        if code == UNTESTED:
            raise RuntimeError(f"no test was run on a mutant of {self._job.module}; see {self._folder / 'log'}")
        verdict = self._folder / "verdict"
        return "" if code == SURVIVED else verdict.read_text() if verdict.exists() else "import"

    def _fork(self, name: str) -> int:
        root = self._folder / name
        if name == "mutant":
            shutil.rmtree(root, ignore_errors=True)
            (self._folder / "verdict").unlink(missing_ok=True)
        root.mkdir(exist_ok=True)
        sys.stdout.flush()
        child = os.fork()
        if not child:
            os.environ["PYTEST_DEBUG_TEMPROOT"] = str(root)
        return child

    def _say(self, line: Mapping[str, Any]) -> None:
        print(json.dumps(line), file=self._report, flush=True)


class Verdict:
    """A pytest plugin of a mutant's process: runs its tests in their order, and writes down which one failed."""

    def __init__(self, target: Path, tests: list[str]) -> None:
        self._target = target
        self._order = {test: i for i, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self._order]
        items[:] = sorted(chosen, key=lambda item: self._order[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._target.write_text(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        os._exit(exitstatus)  # What pytest and Python would tidy up takes longer than most tests.


def mutants_of_file(path: Path) -> list[Mutant]:
    """Every mutant of a file of the repository."""
    return mutants_of(path.read_text(), words=path.relative_to(ROOT).as_posix().startswith(WORDS))


def _chosen(job: Job) -> list[Mutant]:
    """The mutants to run: always the same ones for the same share, wherever in the file they are."""
    return [
        mutant
        for mutant in mutants_of_file(ROOT / job.module)
        if job.function in ("", mutant.function)
        and mutant.identity not in job.known
        and int.from_bytes(hashlib.sha256(repr(mutant.identity).encode()).digest()[:4], "big") % 100 < job.percent
    ]


def _derandomize() -> None:
    """Let Hypothesis draw the same examples each time, few unless a test says how many, and shrink none."""
    from hypothesis import Phase, settings  # pytest must be the first to import it, to explain its assertions.

    settings.register_profile(
        "mutants",
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
    )
    settings.load_profile("mutants")


def _preload(modules: list[str], changed: str) -> None:
    """Import what does not depend on the module that is to be changed."""
    skipped = dependents_of(name_of(changed))
    for name in modules:
        if name not in skipped and name not in sys.modules and not _is_test(name):
            with contextlib.suppress(ImportError):  # Some modules of other packages only exist within them.
                importlib.import_module(name)
    if early := skipped & sys.modules.keys():
        raise RuntimeError(
            f"{', '.join(sorted(early))} were imported too early; changes in {changed} would not be seen"
        )


def _is_test(name: str) -> bool:
    """Whether pytest imports it itself, so that its assertions explain themselves."""
    return name.startswith("tests.") and name.rpartition(".")[2].startswith(("test_", "conftest"))


def _bound(seconds: float) -> None:
    """Let this process take no more time and memory than a mutant should."""
    limit_s = int(CPU_FACTOR * seconds + CPU_GRACE_S)
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))
    signal.alarm(limit_s * WALL_FACTOR)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))


def _change(module: Path, source: bytes) -> None:
    """Let imports of this process find another text in a file. Nothing is written, neither there nor as bytecode."""
    cache = module.parent / "__pycache__"
    read, write = SourceFileLoader.get_data, SourceFileLoader.set_data

    def is_bytecode(path: str) -> bool:
        return Path(path).parent == cache and Path(path).name.startswith(f"{module.stem}.")

    def get_data(loader: SourceFileLoader, path: str) -> bytes:
        if is_bytecode(path):
            raise OSError(f"{path} is of the file as it was")
        return source if Path(path) == module else read(loader, path)

    def set_data(loader: SourceFileLoader, path: str, data: bytes, **options: Any) -> None:
        if not is_bytecode(path):
            write(loader, path, data, **options)

    SourceFileLoader.get_data = get_data  # type: ignore[method-assign, assignment]
    SourceFileLoader.set_data = set_data  # type: ignore[method-assign, assignment]


def main(path: str) -> int:
    """Run the job that a file describes, and write its outcomes to the descriptor that the file names."""
    words = json.loads(Path(path).read_text())
    report = os.fdopen(words.pop("report"), "w")
    lists = {"tests": tuple(words["tests"]), "known": tuple(map(tuple, words["known"]))}
    job = Job(**{**words, **lists})
    options = ["-q", "-x", "-p", "no:cacheprovider", "--assert=plain", "-m", "not slow"]
    return int(pytest.main([*options, *job.tests], plugins=[Forks(job, report)]))


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(main(sys.argv[1]))  # Threads that a test has left must not keep a fork.
