"""Thousands of damaged files of each kind: a value comes back or a DataError, never anything else."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.files.fuzzing import KINDS

ROOT = Path(__file__).parents[2]
SECONDS = 5  # Of each kind, whose variants are the same each time; tests/files/fuzzing.py says how to try more


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(kind, tmp_path):
    command = [sys.executable, "-m", "tests.files.fuzzing", kind, str(tmp_path), str(SECONDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, (
        f"{done.stdout}\n{done.stderr[-3000:]}"
    )  # A negative code is a signal, such as SIGSEGV.
    counts = {name: int(count) for name, count in re.findall(r"'(\w+)': (\d+)", done.stdout)}
    assert counts["variants"] >= 50  # On any machine; here hundreds to thousands
    assert counts["refused"] > 20
    assert counts["read"] >= 1
    assert counts.get("died", 0) < counts["variants"] / 50
