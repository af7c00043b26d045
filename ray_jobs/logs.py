"""Our log lines on stdout: in a command, and in a worker, from where Ray carries them to the driver."""

import logging
import sys

FORMAT, TIME = "%(asctime)s %(message)s", "%H:%M:%S"


def log_command() -> None:
    """Log to stdout, as people read it."""
    logging.basicConfig(level=logging.INFO, format=FORMAT, datefmt=TIME, stream=sys.stdout)
    logging.getLogger("botocore").setLevel(logging.WARNING)


def log_worker(level: int) -> None:
    """Log our own lines only: Ray Train opens the root logger to INFO."""
    logging.getLogger("botocore").setLevel(logging.WARNING)
    logger = logging.getLogger("histoseg")
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter(FORMAT, TIME))
        logger.addHandler(handler)
        logger.propagate = False
