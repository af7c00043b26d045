"""`make submit` as a user starts it."""

import os
import signal
from pathlib import Path

import psutil

from ray_jobs import submit
from tests.end_to_end.started import Started


class Job(Started):
    """A job in a folder of its own, with a Ray of its own."""

    def __init__(self, folder, *words):
        root = str(Path(submit.__file__).parents[1])
        super().__init__(
            folder,
            ["--experiment", "smoke", *words],
            {**os.environ, "PYTHONPATH": root},
            start_new_session=True,
            # Tests that a shell runs in the background ignore Ctrl-C, and so would what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def descendants(self):
        return psutil.Process(self.process.pid).children(recursive=True)
