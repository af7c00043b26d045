"""`make submit` as a user starts it, in another process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from ray_jobs import submit

PATIENCE_S = 300


class Job:
    """A job in a folder of its own, with its output so far."""

    def __init__(self, folder, *words):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        root = str(Path(submit.__file__).parents[1])
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ray_jobs.submit", "--experiment", "smoke", *words],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": root},
                start_new_session=True,
                # Tests that a shell runs in the background ignore Ctrl-C, and so would what they start.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def output(self):
        return (self.folder / "log").read_text()

    def wait_for(self, text):
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.1)

    def finish(self):
        code = self.process.wait(PATIENCE_S)
        return code, self.output()

    def descendants(self):
        return psutil.Process(self.process.pid).children(recursive=True)
