"""`make submit` in another process, with its output so far."""

import subprocess
import sys
import time

PATIENCE_S = 400


class Started:
    """A submission that runs while the test does."""

    def __init__(self, folder, words, environment, **options):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.log = folder / f"log-{time.monotonic_ns()}"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ray_jobs.submit", *words],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                **options,
            )

    def output(self):
        return self.log.read_text()

    def wait_for(self, text):
        self.wait_until(lambda: text in self.output())

    def wait_until(self, claim):
        """Wait until something is so, while the submission goes on."""
        deadline = time.monotonic() + PATIENCE_S
        while not claim():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.2)

    def finish(self):
        code = self.process.wait(PATIENCE_S)
        return code, self.output()
