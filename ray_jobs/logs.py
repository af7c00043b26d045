"""Our log lines on stdout: in a command, and in a worker, from where Ray carries them to the driver."""

import logging
import sys
from typing import Any

FORMAT, TIME = "%(asctime)s %(message)s", "%H:%M:%S"


def log_command() -> None:
    """Log to stdout, as people read it."""
    logging.basicConfig(level=logging.INFO, format=FORMAT, datefmt=TIME, stream=sys.stdout)
    logging.getLogger("botocore").setLevel(logging.WARNING)


def log_worker(level: int) -> None:
    """Log our own lines only: Ray Train opens the root logger to INFO."""
    for name in ("botocore", "ray.train"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logger = logging.getLogger("histoseg")
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter(FORMAT, TIME))
        logger.addHandler(handler)
        logger.propagate = False


def show_only_our_lines() -> None:
    """Have this process print only what workers write to stdout, which is our log; call it before `ray.init`.

    Ray also passes on what any process writes to stderr, such as warnings of libraries at each start, and several lines
    of advice on each worker that died. Both stay in its log files, which the dashboard shows.
    """
    from ray._private import worker  # Ray has no public hook.

    show = worker.print_to_stdstream

    def show_ours(batch: dict[str, Any], ignore_prefix: bool) -> None:
        if batch["pid"] != "raylet" and not batch["is_err"]:
            show(batch, ignore_prefix)

    worker.print_to_stdstream = show_ours  # type: ignore[assignment]  # Ray does not annotate it
