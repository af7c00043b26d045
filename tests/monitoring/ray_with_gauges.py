"""A Ray on which a training seems to go on, as a program: `python -m tests.monitoring.ray_with_gauges FOLDER`.

A process of its own, for Ray can be started only once in one. Prints what to scrape as JSON and goes on until its
input ends. The GPU is one that Ray hands out without there being any.
"""

import json
import os
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ray_jobs.cluster import ENVIRONMENT, OBJECT_STORE_BYTES

CELLS = 1000


class Training:
    """Sets the gauges that a Ray Train worker sets, and by Ray Train's own code those of its controller."""

    def run(self) -> None:
        from ray.train.v2._internal.execution.controller.state import TrainControllerStateType
        from ray.train.v2._internal.metrics.controller import ControllerMetrics

        from histoseg.training.progress import Status
        from ray_jobs.train import _gauges

        controller: Any = ControllerMetrics.get_controller_metrics("abcdef1234567890", "id")
        waiting: Any = ControllerMetrics.get_controller_metrics("0123456789abcdef", "id")
        controller[ControllerMetrics.CONTROLLER_STATE].record(TrainControllerStateType.RUNNING)
        controller[ControllerMetrics.WORKER_GROUP_START_TOTAL_TIME_S].record(5.0)
        waiting[ControllerMetrics.CONTROLLER_STATE].record(TrainControllerStateType.SCHEDULING)
        show = _gauges("maml", "abcdef12")
        for step in range(10**6):
            show(Status(label="x", step=step, steps=10**6, loss=0.5, images_per_s=3.0, loader_wait=0.1, eta_s=1.0))
            time.sleep(1)


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
    os.environ.update({**ENVIRONMENT, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    import ray
    from ray.util.metrics import Gauge

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
    training.run.remote()
    sys.stdout.write(f"{json.dumps(addresses(Path(context.address_info['session_dir'])))}\n")
    sys.stdout.flush()
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    planned, recorded = Gauge("histoseg_cells", "As ray_jobs has it."), Gauge("histoseg_cells_recorded", "Likewise.")
    for count in range(CELLS):
        planned.set(CELLS)
        recorded.set(count)
        if done.wait(1):
            break
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
