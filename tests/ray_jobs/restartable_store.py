"""SeaweedFS that can be stopped and started again at the same address, with the same objects."""

import subprocess
from contextlib import contextmanager

from ray_jobs import local_store


class RestartableStore:
    def __init__(self, folder):
        (folder / "objects").mkdir(parents=True)
        self.folder = folder
        key, secret = local_store._credentials(folder / "s3.json")
        ports = local_store._free_ports()
        self.command = local_store._command(folder, ports)
        self.environment = local_store._environment(ports["s3.port"], key, secret)
        self.secret = secret
        self.server = None

    def start(self):
        with (self.folder / "weed.log").open("ab") as log:
            self.server = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.folder)
        local_store._wait_for_bucket("histoseg", self.environment, self.server, self.folder)

    def stop(self):
        self.server.kill()
        self.server.wait()


@contextmanager
def restartable_store(folder):
    store = RestartableStore(folder)
    store.start()
    try:
        yield store
    finally:
        store.stop()
