"""What a pod does before it is taken away: report it to Ray, and wait until the trainings here are saved.

`python -m ray_jobs.drain --deadline-s 110` marks this node as draining. Ray Train then notifies the processes that
train together, they save a checkpoint (`histoseg.training.loop`), and nothing new is placed here. It returns when
nothing runs here any more, or at the deadline. Kubernetes itself does not inform Ray of a reclaimed machine.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

REASON = "DRAIN_NODE_REASON_PREEMPTION"
LOOK_EVERY_S = 1.0
# Ray's own processes, which always run. A run's watcher may be on any node, also where nothing else of the run is.
WAITING_TRIAL = "ray::ImplicitFunc"  # Tune's process between two groups; with a group it is ray::ImplicitFunc.train.
NO_WORK = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::PreemptionWatcher")
ASK_AT_MOST_S = 20  # A head that has ended, as when a whole cluster is deleted, must not keep its workers' GPUs.


def drain(node_id: str, deadline_s: int) -> None:
    """Ask Ray to drain a node; an empty id means this one."""
    words = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--reason", REASON]
    words += ["--reason-message", "the pod is being taken away", "--deadline-remaining-seconds", str(deadline_s)]
    words += ["--node-id", node_id] if node_id else []
    subprocess.run(words, check=True, timeout=min(ASK_AT_MOST_S, deadline_s))


def is_busy() -> bool:
    """Whether a process of this pod runs something for Ray, by the titles that Ray gives its processes."""
    import psutil

    titles = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return any(
        title.startswith("ray::") and title.strip() != WAITING_TRIAL and not title.startswith(NO_WORK)
        for title in titles
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Drain, then wait."""
    parser = argparse.ArgumentParser(prog="ray_jobs.drain", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--deadline-s", type=int, required=True, help="seconds until this node is gone")
    parser.add_argument("--node-id", default="", help="a Ray node's id in hexadecimal (default: this node's)")
    asked = parser.parse_args(arguments)
    begin = time.monotonic()
    try:
        drain(asked.node_id, asked.deadline_s)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        sys.exit(f"histoseg: this node could not be drained: {error}; its work goes on from the last checkpoint")
    while is_busy() and time.monotonic() - begin < asked.deadline_s:
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    main()
