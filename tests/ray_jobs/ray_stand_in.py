"""What workers run in these tests in place of `histoseg.pipeline`, found by them through PYTHONPATH."""

import os
import signal
import time
import uuid

from histoseg.errors import ConfigError
from histoseg.training.listeners import Status


def record(runs, store, cache, process):
    status = Status(label="stand-in", step=1, steps=2, loss=0.5, images_per_s=3.0, loader_wait=0.1, eta_s=0.0)
    for listener in process.listeners:
        listener.on_status(status)
    for run in runs:
        store.put_if_absent(f"records/{run.row}", str(process.place.world_size).encode())


def die_thrice(runs, store, cache, process):
    for i in range(3):
        if store.put_if_absent(f"deaths/{i}", b""):
            os.kill(os.getpid(), signal.SIGKILL)
    record(runs, store, cache, process)


def refuse(runs, store, cache, process):
    store.put(f"attempts/{uuid.uuid4()}", b"")
    raise ConfigError("optim.lr = 7: must be lower\nsecond line")


def stumble(runs, store, cache, process):
    store.put(f"stumbles/{uuid.uuid4()}", b"")
    raise ZeroDivisionError("no such number")


def hoard_once(runs, store, cache, process):
    """Take 3 GB and wait to be killed for it; the next process does without."""
    if store.put_if_absent("hoarded", b""):
        hoard = [b"x" * 50_000_000 for _ in range(60)]
        time.sleep(60)
        del hoard
    record(runs, store, cache, process)
