"""Ray's memory monitor ends a trial; in a Ray of its own, whose threshold is a little above what is in use now."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from histoseg.store.objects import connect

HERE = Path(__file__).parent
SCRIPT = """
import sys
from pathlib import Path
from histoseg.store.objects import connect
from ray_jobs import grid
from ray_jobs.cluster import local_ray
from ray_jobs.logs import log_command
from tests.ray_jobs.test_grid import ME, group
folder = Path(sys.argv[1])
log_command()
with local_ray(folder / "ray", num_cpus=2):
    asked = [group("hoarding", connect(f"file://{folder}/objects"), "hoard_once")]
    grid.run(asked, grid.Workers(max_failures=1), folder / "notes", {"CPU": 2.0}, ME)
"""


@pytest.mark.slow
def test_a_run_that_was_ended_for_its_memory_is_tried_again_with_fewer_beside_it(tmp_path):
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + 2 * 2**30) / memory.total  # A run here takes 0.5 GB, a hoard 3 GB.
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={
            **os.environ,
            "PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{HERE}",
            "RAY_memory_usage_threshold": str(threshold),
            "RAY_memory_monitor_refresh_ms": "100",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert connect(f"file://{tmp_path}/objects").list("records/") == ["records/hoarding"]
    told = [line for line in done.stdout.splitlines() if "group hoarding" in line]
    assert len(told) == 1
    assert "ran out of memory" in told[0]
    assert "with fewer runs beside it" in told[0]
