"""What a pod does before it is taken away: report it to Ray, and wait until the trainings here are saved.

`python -m ray_jobs.drain --deadline-s 110` marks this node as draining. Ray Train then notifies the processes that
train together, they save a checkpoint (`histoseg.training.loop`), and nothing new is placed here. It returns when
nothing runs here any more, when the head is gone, or at the deadline. Kubernetes itself does not inform Ray of a
reclaimed machine.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

REASON = "DRAIN_NODE_REASON_PREEMPTION"
LOOK_EVERY_S = 0.5
# Processes between two tasks: Tune's, which with a group is ray::ImplicitFunc.train, and a cohort's with its model.
WAITING = ("ray::ImplicitFunc", "ray::Segmenter")
# Ray's own processes, which always run. A run's watcher may be on any node, also where nothing else of the run is.
NO_WORK = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::PreemptionWatcher")
ASK_AT_MOST_S = 20
CONNECT_S = 1.0
# Deleting a job deletes its head at the same moment. Without a head Ray notifies no training of the drain, and no other
# node could go on with it; Ray itself would keep the trainings of this node for another minute.
HEAD_SILENT_S = 3.0


def drain_command(node_id: str, deadline_s: int) -> list[str]:
    """The command that asks Ray to drain a node; an empty id means this one."""
    words = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--reason", REASON]
    words += ["--reason-message", "the pod is being taken away", "--deadline-remaining-seconds", str(deadline_s)]
    return words + (["--node-id", node_id] if node_id else [])


def is_busy() -> bool:
    """Whether a process of this pod runs something for Ray, by the titles that Ray gives its processes."""
    import psutil

    titles = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return any(
        title.startswith("ray::") and title.strip() not in WAITING and not title.startswith(NO_WORK) for title in titles
    )


def head_is_silent(address: str) -> Callable[[], bool]:
    """A function that says whether the head at host:port has not answered for some seconds; never without an address.

    KubeRay writes the address into RAY_ADDRESS.
    """
    host, _, port = address.rpartition(":")
    answered_s = time.monotonic()

    def ask() -> bool:
        nonlocal answered_s
        try:
            if host:
                socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
            answered_s = time.monotonic()
        except OSError:
            pass
        return time.monotonic() - answered_s > HEAD_SILENT_S

    return ask


def wait(asking: "subprocess.Popen[bytes]", is_over: Callable[[], bool], deadline_s: float) -> str:
    """Wait until Ray was asked and no work is left here, or it is over; returns why Ray could not be asked, or ""."""
    begin = time.monotonic()
    while (spent_s := time.monotonic() - begin) < deadline_s and not is_over():
        code = asking.poll()
        if code or (code is None and spent_s > ASK_AT_MOST_S):
            return f"ended with {code}" if code else f"did not answer within {ASK_AT_MOST_S} s"
        if code == 0 and not is_busy():
            break
        time.sleep(LOOK_EVERY_S)
    return ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Drain, then wait."""
    parser = argparse.ArgumentParser(prog="ray_jobs.drain", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--deadline-s", type=int, required=True, help="seconds until this node is gone")
    parser.add_argument("--node-id", default="", help="a Ray node's id in hexadecimal (default: this node's)")
    asked = parser.parse_args(arguments)
    is_over = head_is_silent(os.environ.get("RAY_ADDRESS", ""))
    with subprocess.Popen(drain_command(asked.node_id, asked.deadline_s)) as asking:
        try:
            failure = wait(asking, is_over, asked.deadline_s)
        finally:
            asking.kill()
    if failure:
        sys.exit(f"histoseg: this node could not be drained: Ray {failure}; its work goes on from the last checkpoint")


if __name__ == "__main__":
    main()
