"""A Ray on which a training seems to go on, as a program: `python -m tests.monitoring.ray_with_gauges FOLDER`.

A process of its own, for Ray can be started only once in one. Prints what to scrape as JSON and goes on until its
input ends; values are new ones until the folder has a file HOLD. The GPU is one that Ray hands out without there being
any.
"""

import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from histoseg.training.listeners import Status
from ray_jobs.cluster import ENVIRONMENT, OBJECT_STORE_BYTES
from ray_jobs.gauges import CELLS, FAILED, SLIDES, TrainingGauges, gauges, training_begun

STEP_S = 2.0
# Ray hands gauges on in this time instead of its 10 s, and forgets them after twice that. More than AGAIN_EVERY_S of
# ray_jobs/gauges.py, so that each report has every gauge.
REPORT_EVERY_S = 6.0
HOLD = "hold"  # Once there is such a file in the folder, nothing new is shown.


class Training:
    """Shows what a driver, a driver without workers, and a worker show, by their own code."""

    def run(self, hold: Path) -> None:
        with training_begun("abcdef12"), training_begun("01234567"):
            shown = TrainingGauges("abcdef12", "maml")
            for step in until(hold):
                status = Status(
                    label="x", step=step, steps=10**6, loss=0.5, images_per_s=3.0, loader_wait=0.1, eta_s=1.0
                )
                shown.on_status(status)
            time.sleep(3600)


def until(hold: Path) -> Iterator[int]:
    """Numbers, one each STEP_S, until there is a file."""
    for number in count():
        if hold.exists():
            return
        yield number
        time.sleep(STEP_S)


def addresses(session: Path) -> list[str]:
    """What Ray says that Prometheus should scrape: autoscaler, dashboard and, once it has joined, the node's agent."""
    path = session / "prom_metrics_service_discovery.json"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        groups = json.loads(path.read_text()) if path.exists() else []
        if len(found := [address for group in groups for address in group["targets"]]) >= 3:
            return found
        time.sleep(0.2)
    raise TimeoutError(f"{path} has no three addresses")


def main(folder: Path) -> None:
    reports = {"RAY_metrics_report_interval_ms": str(int(1000 * REPORT_EVERY_S))}
    os.environ.update({**ENVIRONMENT, **reports, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    import ray

    context: Any = ray.init(
        address="local",
        num_cpus=2,
        num_gpus=1,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(folder),
    )
    training: Any = ray.remote(num_cpus=0)(Training).remote()
    training.run.remote(folder / HOLD)
    sys.stdout.write(f"{json.dumps(addresses(Path(context.address_info['session_dir'])))}\n")
    sys.stdout.flush()
    with gauges(CELLS) as show, gauges(FAILED) as show_failed, gauges(SLIDES) as show_slides:
        show_failed(1)
        for number in until(folder / HOLD):
            show(1000, number)
            show_slides(599, number, 1, 2.5 * number, 1000 * number, 30, 64)
        sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
