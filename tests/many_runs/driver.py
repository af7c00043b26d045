"""The driver of the benchmark, on the head: `python -m tests.many_runs.driver RUNS STORE FOLDER`.

It does what a job's driver does as soon as it knows its groups, here two waves of stub trainings.
"""

import json
import sys
from pathlib import Path

from histoseg.runs.names import to_json
from histoseg.runs.request import Request
from histoseg.store.holders import Holder
from ray_jobs import grid
from ray_jobs.cluster import existing_ray
from ray_jobs.train import Group
from tests.pipeline.small_runs import leave_one_out_run

WAVES = 2


def main(num_runs, store, folder):
    """Complete twice as many groups as run at a time."""
    runs, request = json.dumps([to_json(leave_one_out_run())]), Request(experiment="table1", store=store)
    ids = [f"{i:016x}" for i in range(WAVES * num_runs)]
    stub = "tests.many_runs.stub.wait"
    groups = [Group(id=name, runs=runs, request=request, cache=str(folder), complete=stub) for name in ids]
    with existing_ray():
        grid.run(groups, grid.Workers(), folder / "ray", {"CPU": num_runs}, Holder(owner="benchmark"))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
