"""What was typed: an experiment, where it is to run, and what to do about it."""

import argparse
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from histoseg.errors import ConfigError
from histoseg.runs.job import DEMO, NAME, PREPARED, RELEASE, Job

Action = Literal["run", "status", "results", "cancel", "dry-run"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was typed.

    Attributes:
        data: The folder of raw data sets; `demo` for demo data, `prepared` for what the store holds; empty means demo
            data on this machine, and prepared data on a cluster.
        store: Where everything is kept; empty means an S3 server started for the job, or the cluster's own store.
        workers: Ray workers of each run.
        sets: Assignments such as optim.steps=200.
        imagenet: A ResNet in torchvision's format, for networks that start from ImageNet's weights.
        start: A model's folder, or a file as `imagenet`, that every network starts from.
        cluster: A context of the kubeconfig.
        namespace: Empty means the context's.
        release: The name under which the chart was installed.
        ray_address: The dashboard of a Ray that is there, http://host:8265.
        ship: Whether that Ray is sent this code, instead of using what its image holds.
        name: Of a job on a cluster, for what is asked about it; empty means the one that these options make.
    """

    experiment: str
    scale: str = "laptop"
    data: str = ""
    store: str = ""
    seeds: int = 1
    workers: int = 1
    sets: tuple[str, ...] = ()
    out: Path = Path("results")
    imagenet: Path | None = None
    start: Path | None = None
    cluster: str = ""
    namespace: str = ""
    release: str = RELEASE
    ray_address: str = ""
    ship: bool = False
    name: str = ""
    action: Action = "run"

    @property
    def command(self) -> str:
        """The shortest command that does the same; a password in an address is left out, for others read it."""
        given = {
            "EXP": self.experiment,
            "SCALE": self.scale,
            "DATA": self.data,
            "STORE": self.store,
            "IMAGENET": self.imagenet,
            "START": self.start,
            "SEEDS": self.seeds if self.seeds > 1 else "",
            "WORKERS": self.workers if self.workers > 1 else "",
            "SET": " ".join(self.sets),
            "CLUSTER": self.cluster,
            "NAMESPACE": self.namespace,
            "RELEASE": self.release if self.cluster and self.release != RELEASE else "",
            "RAY_ADDRESS": without_password(self.ray_address),
            "SHIP": "1" if self.ship else "",
        }
        words = [f"{name}={shlex.quote(str(value))}" for name, value in given.items() if value]
        return " ".join(["make submit", *words])

    def job(self, store: str) -> Job:
        """The same for a cluster, whose pods reach `store` if none was typed.

        Demo data goes below a prefix of its own, so that it never mixes with real data.

        Raises:
            ConfigError: If it cannot run on a cluster; the text says what to change.
        """
        if self.imagenet is not None or self.start is not None:
            raise ConfigError(
                "IMAGENET and START name files of this machine, which a cluster cannot read; put them into the store "
                'with `histoseg import-weights`, and start from them with SET="network.weights=NAME"'
            )
        base = (self.store or store).rstrip("/")
        if not base:
            raise ConfigError("a cluster needs a store that every pod can reach: STORE=s3://bucket/prefix")
        data = self.data or PREPARED
        return Job(
            experiment=self.experiment,
            scale=self.scale,
            seeds=self.seeds,
            sets=self.sets,
            data=data,
            store=f"{base}/{DEMO}" if data == DEMO else base,
            workers=self.workers,
        )


def without_password(text: str) -> str:
    """An address, or a text with addresses, without the user:password@ that may stand before a host."""
    return re.sub(r"(^|(?<=://))[^/\s]*@", "", text)


def parse(arguments: Sequence[str] | None, description: str = "") -> Options:
    """The options of a command line; what cannot be ends the program with a line that says so."""
    parser = argparse.ArgumentParser(prog="ray_jobs.submit", description=description)
    parser.add_argument("--experiment", default="", help="a name from `histoseg list`")
    parser.add_argument("--scale", default="laptop", help="one of the experiment's scales")
    parser.add_argument("--data", default="", help=f"folder of raw data sets, {DEMO} or {PREPARED}")
    parser.add_argument("--store", default="", help="file:///… or s3://… (default: an S3 server for this job)")
    parser.add_argument("--seeds", type=_positive, default=1, help="how many seeds, from 0 (default: 1)")
    parser.add_argument("--workers", type=_positive, default=1, help="Ray workers of each run (default: 1)")
    parser.add_argument("--set", default="", help='assignments, e.g. "optim.steps=200 method.first_order=true"')
    parser.add_argument("--imagenet", type=Path, help="a ResNet in torchvision's format (default: the usual hub)")
    parser.add_argument("--start", type=Path, help="a model's folder that every network starts from")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for results (default: results)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--cluster", default="", help="a kubeconfig's context: run there as a RayJob")
    place.add_argument("--ray-address", default="", help="http://host:8265: run on that Ray as a job")
    parser.add_argument("--namespace", default="", help="with --cluster (default: the context's)")
    parser.add_argument("--release", default=RELEASE, help="with --cluster: the chart's release")
    parser.add_argument("--ship", action="store_true", help="with --ray-address: send this code along")
    parser.add_argument("--job", default="", dest="name", help="a job's name, for --status, --results and --cancel")
    action = parser.add_mutually_exclusive_group()
    for name, says in _ACTIONS.items():
        action.add_argument(f"--{name}", dest="action", action="store_const", const=name, default="run", help=says)
    typed = vars(parser.parse_args(arguments))
    sets = tuple(typed.pop("set").split())
    options = Options(sets=sets, **typed)
    _require_place(parser, options)
    return options


_ACTIONS = {
    "status": "say how a cluster's job stands",
    "results": "copy a cluster's table and page to --out",
    "cancel": "end a cluster's job; what it finished stays in the store",
    "dry-run": "print what would be submitted",
}


def _require_place(parser: argparse.ArgumentParser, options: Options) -> None:
    if options.action != "run" and not (options.cluster or options.ray_address):
        parser.error(f"--{options.action} is about a job on a cluster; add --cluster or --ray-address")
    if options.name and options.action not in ("status", "results", "cancel"):
        parser.error("--job names a job that is there: add --status, --results or --cancel")
    if options.name and not NAME.fullmatch(options.name):
        parser.error(f"--job {options.name!r} is no job's name; one looks like table1-1f0c9a2e")
    all_jobs = options.cluster and options.action == "status"
    named = options.name and not (options.ray_address and options.action == "results")
    if not (options.experiment or named or all_jobs):
        parser.error("name an experiment: --experiment table1; `histoseg list` shows all")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)
