"""All benchmarks in turn, each in a process of its own, and one table of what they found.

    python -m benchmarks [PART ...]

Parts are the names of the files beside this one. A reference that is not installed is a line that says so.
"""

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))  # Each file also runs alone, and so imports its neighbours without a package.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # Read when torch is loaded, so before that.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from _machine import machine  # noqa: E402  # needs the path above
from _timing import Finding, findings_of, missing, table  # noqa: E402  # needs the path above

PARTS = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


def main() -> int:
    """Run the parts named on the command line, or all; 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    chosen = parser.parse_args().parts or PARTS
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    print(machine(), flush=True)
    findings: list[Finding] = []
    failed = []
    for name in chosen:
        print(f"\n=== {name}", flush=True)
        # spawn, and one process for each: what one part loads or leaves behind cannot slow down the next.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                findings += pool.submit(findings_of, name).result()
            except Exception as error:  # One part that fails must not hide what the others found.
                failed.append(name)
                findings.append(missing(name, "-", f"failed: {error!r}"))
    print(f"\n{machine()}\n\n{table(findings)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
