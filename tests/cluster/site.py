"""A cluster as the scenarios use it: a namespace and a release of their own, kubectl, helm, `make submit`, and waiting.

Nothing outside the namespace is changed, except that a node may be cordoned for a while; `close` takes all of it back.
"""

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from histoseg.kube.settings import fullname
from tests.charts.rendering import CHART, find_program
from tests.cluster.records import EXPERIMENT, StoreState, require_each_once, require_kept, states

ROOT = CHART.parents[1]
HERE = Path(__file__).parent
PREFIX = "histoseg-test-"  # Of namespaces
STORE_KEY = "store-key"  # The Secret with the store's access key
LEDGER = "ledger"
LONG = "optim.steps=800"  # Half a minute of training or more: time to disturb it

Found = TypeVar("Found")


class MissingError(Exception):
    """The cluster lacks what a scenario needs; the scenario is skipped with these words."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command that has ended."""

    code: int
    output: str


@dataclass(kw_only=True)
class Site:
    """Where the scenarios work.

    Attributes:
        context: A context of the kubeconfig.
        image: The train image; the data image is called alike. Empty means the chart's own names.
        values: A file of further values that this cluster needs; None if it needs none.
        patience: Factor of all time limits.
        submitter: The module behind `make submit`; a played cluster's is in a hurry.
        folder: For logs and files of this run.
        cordoned: Nodes that must be made schedulable again.
    """

    context: str
    folder: Path
    image: str = ""
    values: Path | None = None
    patience: float = 1.0
    submitter: str = "ray_jobs.submit"
    namespace: str = field(default_factory=lambda: f"{PREFIX}{secrets.token_hex(3)}")
    cordoned: list[str] = field(default_factory=list)
    submissions: list["Submission"] = field(default_factory=list)

    @property
    def release(self) -> str:
        """The release, called like the namespace, so that a label of its pods is found nowhere else."""
        return self.namespace

    @property
    def name(self) -> str:
        """The prefix of the names of its objects."""
        return fullname(self.release)

    @property
    def selector(self) -> str:
        return f"app.kubernetes.io/instance={self.release}"

    def kubectl(self, *words: str, given: str | None = None, check: bool = True, kubeconfig: Path | None = None) -> str:
        """What kubectl prints for our namespace."""
        program = find_program("kubectl")
        command = [str(program), "--context", self.context, "--namespace", self.namespace]
        command += [f"--cache-dir={self.folder}/kubectl", *words]
        done = self._run(command, given, {"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})
        assert not check or done.code == 0, f"kubectl {' '.join(words)} ended with {done.code}: {done.output.strip()}"
        return done.output

    def helm(self, *words: object, timeout_s: float = 900) -> str:
        """What helm prints for our namespace."""
        command = [str(find_program("helm")), "--kube-context", self.context, "--namespace", self.namespace]
        homes = {f"HELM_{name}_HOME": f"{self.folder}/helm" for name in ("CACHE", "CONFIG", "DATA")}
        done = self._run([*command, *map(str, words)], None, homes, timeout_s)
        assert done.code == 0, f"helm {' '.join(map(str, words))} ended with {done.code}: {done.output.strip()}"
        return done.output

    def get(self, *words: str) -> list[dict[str, Any]]:
        """Objects of our namespace."""
        found: dict[str, Any] = json.loads(
            self.kubectl("get", *words, "--output", "json", "--ignore-not-found") or "{}"
        )
        return [found] if "items" not in found and found else found.get("items", [])

    def may(self, *words: str) -> bool:
        """Whether we have a right."""
        return self.kubectl("auth", "can-i", *words, check=False).strip().splitlines()[-1:] == ["yes"]

    def install(self, *sets: str, wait_s: float = 600) -> None:
        """Install the release, or upgrade it to just these values."""
        words: list[object] = ["upgrade", "--install", self.release, CHART, "--values", HERE / "values.yaml"]
        words += ["--values", self.values] if self.values else []
        researcher = f"access.researchers[0].name=researcher,access.researchers[0].namespace={self.namespace}"
        every = [f"{researcher},access.researchers[0].kind=ServiceAccount", *self._images(), *sets]
        words += [word for each in every for word in ("--set", each)]
        self.helm(*words, "--wait", "--timeout", f"{wait_s * self.patience:.0f}s", timeout_s=2 * wait_s)

    def _images(self) -> list[str]:
        if not self.image:
            return []
        found = {"train": self.image, "data": self.image.replace("histoseg-train", "histoseg-data")}
        parts = {which: image.rpartition(":") for which, image in found.items()}
        return [
            f"images.{which}.repository={repository},images.{which}.tag={tag}"
            for which, (repository, _, tag) in parts.items()
        ]

    def put_store_key(self) -> None:
        """Create the Secret with the store's access key; each site has a key of its own."""
        path = self.folder / "store-key"
        if not path.exists():
            path.touch(0o600)
            path.write_text(secrets.token_hex(20))
        literals = ("--from-literal=AWS_ACCESS_KEY_ID=histoseg", f"--from-file=AWS_SECRET_ACCESS_KEY={path}")
        self.kubectl("create", "secret", "generic", STORE_KEY, *literals)

    def start_ledger(self) -> None:
        """Run the pod that prints the store's records, with the environment and rights of `helm test`'s pod."""
        hooks = yaml.safe_load_all(self.helm("get", "hooks", self.release))
        pod = next(each for each in hooks if each and each["kind"] == "Pod")
        pod["metadata"] = {"name": LEDGER, "labels": pod["metadata"]["labels"]}
        container = pod["spec"]["containers"][0]
        container["command"] = ["python", "-c", (HERE / "ledger.py").read_text()]
        container["args"] = [EXPERIMENT_BUCKET]
        container["resources"] = {kind: {"cpu": "100m", "memory": "256Mi"} for kind in ("requests", "limits")}
        self.kubectl("create", "--filename", "-", given=json.dumps(pod))
        said = lambda: f"the ledger reads the store; it says: {self.kubectl('logs', LEDGER, check=False)}"  # noqa: E731
        self.within(180, said, self.history)

    def history(self) -> list[StoreState]:
        """All states of the store so far, oldest first."""
        return states(self.kubectl("logs", LEDGER, check=False))

    def store(self, prefix: str) -> StoreState:
        """The part of the store of one scenario."""
        return self.history()[-1].below(f"{prefix}/")

    def submit(self, prefix: str, *words: str) -> "Submission":
        """Start `make submit` of the experiment with a part of the store of its own, where all cells are to be run."""
        found = Submission(self, [*self._asked(prefix), *words])
        self.submissions.append(found)
        return found

    def ask(self, prefix: str, *words: str, kubeconfig: Path | None = None) -> Done:
        """What `make submit` prints about that job, such as with --status."""
        asked = self._asked(prefix) if prefix else self._where()
        return self._run(self.command(*asked, *words), None, {"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", self.submitter, *words]

    def _where(self) -> list[str]:
        return ["--cluster", self.context, "--namespace", self.namespace, "--release", self.release]

    def _asked(self, prefix: str) -> list[str]:
        return [*self._where(), "--experiment", EXPERIMENT, "--data", "demo", "--store", f"s3://histoseg/{prefix}"]

    def within(self, limit_s: float, what: str | Callable[[], str], claim: Callable[[], Found]) -> Found:
        """The first true value of a claim; fails with what it is about if there is none within the limit."""
        deadline = time.monotonic() + limit_s * self.patience
        while not (found := claim()):
            if time.monotonic() > deadline:
                said = what if isinstance(what, str) else what()
                raise AssertionError(f"not within {limit_s * self.patience:g} s: {said}")
            time.sleep(2 * min(1.0, self.patience))
        return found

    def require_records(self, prefix: str) -> StoreState:
        """The scenario's part of the store, in which every cell is recorded once, and no record was ever touched."""
        # The ledger looks only now and then
        self.within(60, f"the page of {prefix} is in the store", lambda: self.store(prefix).pages)
        history = self.history()
        require_kept(history)
        found = history[-1].below(f"{prefix}/")
        require_each_once(found)
        return found

    def job(self) -> dict[str, Any] | None:
        """The only RayJob; None if there is none."""
        found = self.get("rayjobs")
        assert len(found) <= 1, [each["metadata"]["name"] for each in found]
        return found[0] if found else None

    def pods(self, node_type: str) -> list[dict[str, Any]]:
        """Ray's pods of a type, head or worker, that are not being deleted."""
        found = self.get("pods", "--selector", f"ray.io/node-type={node_type}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def kubeconfig_of(self, account: str) -> Path:
        """A kubeconfig of a service account, with our context's name."""
        config = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output", "json"))
        token = self.kubectl("create", "token", account, "--duration", "1h").strip()
        config["users"] = [{"name": account, "user": {"token": token}}]
        config["contexts"][0]["context"]["user"] = account
        path = self.folder / f"kubeconfig-{account}"
        path.touch(0o600)
        path.write_text(json.dumps(config))
        return path

    def tidy(self) -> None:
        """End what a scenario has left: its commands, its jobs, its cordon."""
        for each in self.submissions:
            each.kill()
        self.submissions.clear()
        self.uncordon()
        limit = f"--timeout={300 * self.patience:.0f}s"
        self.kubectl("delete", "rayjobs", "--all", "--cascade=foreground", "--ignore-not-found", limit)

    def uncordon(self) -> None:
        for node in list(self.cordoned):
            self.kubectl("uncordon", node)
            self.cordoned.remove(node)

    def close(self) -> None:
        """Take everything back."""
        with contextlib.ExitStack() as stack:  # Each step is taken, also if one before it fails
            wait = f"--timeout={600 * self.patience:.0f}s"
            stack.callback(self.kubectl, "delete", "namespace", self.namespace, "--ignore-not-found", wait)
            stack.callback(self.uncordon)
            for each in self.submissions:
                stack.callback(each.kill)

    def _run(
        self, command: Sequence[str], given: str | None, variables: dict[str, str], timeout_s: float = 900
    ) -> Done:
        done = subprocess.run(
            command,
            input=given,
            env=environment() | variables,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Done(code=done.returncode, output=done.stdout + (done.stderr if done.returncode else ""))


EXPERIMENT_BUCKET = "histoseg"  # The one that the release's store makes


def environment() -> dict[str, str]:
    """Ours, with this checkout's code."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


class Submission:
    """A running `make submit`, with its output so far."""

    def __init__(self, site: Site, words: Sequence[str]) -> None:
        self._site = site
        self._path = site.folder / f"submission-{time.monotonic_ns()}.log"
        with self._path.open("w") as log:
            self._process = subprocess.Popen(
                site.command(*words), cwd=site.folder, stdout=log, stderr=subprocess.STDOUT, env=environment()
            )

    @property
    def output(self) -> str:
        return self._path.read_text()

    def shows(self, pattern: str, limit_s: float) -> None:
        """Wait until the output matches a regular expression."""

        def is_there() -> bool:
            found = re.search(pattern, self.output) is not None
            assert found or self._process.poll() is None, f"it ended without {pattern!r}: {self.output}"
            return found

        try:
            self._site.within(limit_s, f"`make submit` shows {pattern!r}", is_there)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None

    def finish(self, limit_s: float) -> str:
        """The output of a command that must succeed."""
        try:
            code = self._process.wait(limit_s * self._site.patience)
        except subprocess.TimeoutExpired:
            limit = limit_s * self._site.patience
            raise AssertionError(f"not within {limit:g} s: `make submit` ends\n{self.output}") from None
        assert code == 0, f"`make submit` ended with {code}: {self.output}"
        return self.output

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def opened(site: Site) -> Iterator[Site]:
    """The site with its namespace, which is taken back at the end, however that comes."""
    try:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": site.namespace, "labels": labels}}
        site.kubectl("create", "--filename", "-", given=json.dumps(made))
        site.put_store_key()
        for account in ("researcher", "stranger"):
            site.kubectl("create", "serviceaccount", account)
        yield site
    finally:
        site.close()
