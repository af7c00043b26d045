"""How many small changes of the code its tests notice, module by module.

Prints every change that none noticed and that is not listed in equivalent.toml, then a table. The exit code is 1 if
fewer than 90 % of the changes that are not listed were noticed in any module, or if the list is out of date.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.mutants.equivalent import Identity, read_equivalents
from tests.mutants.harness import Job, Outcome, mutants_of_file
from tests.mutants.imports import ROOT
from tests.mutants.modules import MODULES
from tests.mutants.table import GOAL, Result, percent_killed, table


def main() -> int:
    """Run the mutants of the chosen modules; 1 if the goal is missed."""
    options = _options()
    print(f"Changing the code of {len(options.modules)} modules, {options.percent} % of all mutants", flush=True)
    fixtures: dict[str, str] = {}
    results = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = _copy_tree(Path(folder, "tree"))
        for number, module in enumerate(options.modules):
            own = Path(folder, str(number))
            own.mkdir()
            killed = _killed_before(options.outcomes, module)
            job = Job(
                module=module,
                tests=MODULES[module],
                function=options.function,
                percent=options.percent,
                known=tuple(killed),
                fixtures=fixtures,
                folder=str(own),
            )
            results.append(_run(job, copy, fixtures, list(killed.values()), options.outcomes))
    is_complete = not options.function and options.percent == 100
    mistakes = [line for result in results for line in result.wrongly_listed()]
    mistakes += [line for result in results if is_complete for line in result.no_longer_there()]
    print("\n".join(["", *(f"equivalent.toml is wrong: {line}" for line in mistakes), "", table(results)]))
    return 1 if mistakes or any(percent_killed(*result.counts) < GOAL for result in results) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="part of the path of a file in modules.py")
    parser.add_argument("--function", default="", help="the only function to change, e.g. EpisodeSampler.plan")
    parser.add_argument(
        "--percent", type=int, default=100, help="the share of mutants to run; the same ones every time"
    )
    parser.add_argument(
        "--outcomes",
        type=Path,
        help="a file to add what became of each mutant to; those that it says were noticed are not run again",
    )
    options = parser.parse_args()
    wanted = options.modules or [""]
    options.modules = [module for module in MODULES if any(part in module for part in wanted)]
    if not options.modules:
        parser.error(f"no module {', '.join(wanted)}; choose from {', '.join(MODULES)}")
    return options


def _copy_tree(target: Path) -> Path:
    """Copy all files but ignored ones, so that files may be edited meanwhile."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def _killed_before(outcomes: Path | None, module: str) -> dict[Identity, Outcome]:
    """What earlier runs wrote of a module's mutants that were noticed and are still there."""
    if outcomes is None or not outcomes.exists():
        return {}
    current = {mutant.identity for mutant in mutants_of_file(ROOT / module)}
    lines = [json.loads(line) for line in outcomes.read_text().splitlines()]
    found = [Outcome(**line) for line in lines if line.pop("module") == module]
    return {outcome.identity: outcome for outcome in found if outcome.killed_by and outcome.identity in current}


def _run(job: Job, copy: Path, fixtures: dict[str, str], known: list[Outcome], log: Path | None) -> Result:
    """Run one module's mutants, print the survivors, and keep the shared fixtures for the next module."""
    started, outcomes = time.monotonic(), known
    equivalents = read_equivalents(job.module)
    for line in _lines(job, copy):
        if "fixtures" in line:
            fixtures |= line["fixtures"]
            continue
        outcome = Outcome(**line)
        outcomes.append(outcome)
        if log:
            with log.open("a") as file:
                print(json.dumps({"module": job.module, **line}), file=file)
        if not outcome.killed_by and outcome.identity not in equivalents:
            print(_survivor(job.module, outcome), flush=True)
    result = Result(module=job.module, outcomes=outcomes, equivalents=equivalents)
    mutants, survived, _ = result.counts
    print(f"{job.module}: {mutants} mutants, {survived} survived, {time.monotonic() - started:.0f} s", flush=True)
    return result


def _lines(job: Job, copy: Path) -> Iterator[dict[str, Any]]:
    """What the process of a module says, a line at a time."""
    reader, writer = os.pipe()
    path, log = Path(job.folder, "job.json"), Path(job.folder, "log")
    path.write_text(json.dumps({**asdict(job), "report": writer}))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": str(copy)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # Each fork would compile again what tests import.
    with log.open("w") as output:
        command = [sys.executable, "-m", "tests.mutants.harness", str(path)]
        process = subprocess.Popen(
            command,
            cwd=copy,
            env=environment,
            pass_fds=[writer],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    os.close(writer)
    with os.fdopen(reader) as lines:
        yield from map(json.loads, lines)
    if process.wait():
        raise SystemExit(f"{log.read_text()[-4000:]}\n{job.module}: no mutants were run; see above")


def _survivor(module: str, outcome: Outcome) -> str:
    """The change, as a difference."""
    old, new = (text.replace("\n", f"\n    {sign} ") for text, sign in ((outcome.was, "-"), (outcome.becomes, "+")))
    why = f"{outcome.num_tests} tests call it" if outcome.num_tests else "no test calls it"
    again = f" ({outcome.nth})" if outcome.nth > 1 else ""
    return f"survived: {module}, {outcome.function}{again}; {why}\n    - {old}\n    + {new}"


if __name__ == "__main__":
    raise SystemExit(main())
