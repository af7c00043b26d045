"""The benchmarks' modules are in no package: each file also runs alone, and imports its neighbours."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(FOLDER), str(FOLDER / "gpu")]


@pytest.fixture(scope="session")
def setting(tmp_path_factory):
    """Made-up shards in toy size, measured on the CPU."""
    import rows
    import setting

    found = setting.Setting(folder=tmp_path_factory.mktemp("gpu"), size=rows.TOY, device="cpu")
    setting.prepare(found)
    return found
