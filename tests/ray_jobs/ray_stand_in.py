"""What workers run in these tests in place of `histoseg.pipeline`, found by them through PYTHONPATH."""

import os
import signal
import uuid

from histoseg.errors import ConfigError
from histoseg.training.listeners import Status


def record(runs, store, cache, process):
    status = Status(label="stand-in", step=1, steps=2, loss=0.5, images_per_s=3.0, loader_wait=0.1, eta_s=0.0)
    for listener in process.listeners:
        listener.on_status(status)
    for run in runs:
        store.put_if_absent(f"records/{run.row}", str(process.place.world_size).encode())


def die_once(runs, store, cache, process):
    if store.put_if_absent("died", b""):
        os.kill(os.getpid(), signal.SIGKILL)
    record(runs, store, cache, process)


def refuse(runs, store, cache, process):
    store.put(f"attempts/{uuid.uuid4()}", b"")
    raise ConfigError("optim.lr = 7: must be lower\nsecond line")


def stumble(runs, store, cache, process):
    store.put(f"stumbles/{uuid.uuid4()}", b"")
    raise ZeroDivisionError("no such number")
