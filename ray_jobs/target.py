"""Where a request runs, and what to do about it there; and the command line of `make submit`, which says both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from histoseg.errors import ConfigError
from histoseg.runs.argv import Option, Parser, add_options, from_namespace, to_variables
from histoseg.runs.config import require
from histoseg.runs.job import RELEASE
from histoseg.runs.request import NAME, Request, without_password

Action = Literal["run", "status", "results", "cancel", "dry-run"]
ACTIONS: dict[Action, str] = {
    "status": "print the state of a cluster's job",
    "results": "copy a cluster's table and page to --out",
    "cancel": "end a cluster's job; what it finished stays in the store",
    "dry-run": "print what would be submitted",
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a request runs, and what to do; unlike the request, it does not travel there.

    Attributes:
        cluster: A context of the kubeconfig; with no Ray's address either, it is this machine.
        namespace: Empty means the context's.
        release: The name under which the chart was installed; empty means histoseg, and a list of jobs of any release.
        ray_address: The dashboard of an existing Ray, http://host:8265.
        ship: Whether that Ray gets this code, instead of using what its image has.
        job: The job to ask about; empty means the one that the request makes.
        out: The folder of this machine for results.
    """

    cluster: Annotated[str, Option("CLUSTER", "a kubeconfig's context: run there as a RayJob")] = ""
    namespace: Annotated[str, Option("NAMESPACE", "with --cluster (default: the context's)")] = ""
    release: Annotated[str, Option("RELEASE", f"with --cluster: the chart's release (default: {RELEASE})")] = ""
    ray_address: Annotated[str, Option("RAY_ADDRESS", "http://host:8265: run on that Ray as a job")] = ""
    ship: Annotated[bool, Option("SHIP", "with --ray-address: send this code along")] = False
    job: Annotated[str, Option("", "a job's name, for --status, --results and --cancel")] = ""
    out: Annotated[Path, Option("", "folder for results (default: results)")] = Path("results")
    action: Action = "run"

    def __post_init__(self) -> None:
        if self.cluster and self.ray_address:
            raise ConfigError("a job runs on one cluster: name either CLUSTER (--cluster) or RAY_ADDRESS")
        if self.action != "run" and self.is_local:
            raise ConfigError(
                f"--{self.action} is about a job on a cluster; add --cluster or --ray-address (CLUSTER=, RAY_ADDRESS=)"
            )
        if self.job and self.action not in ("status", "results", "cancel"):
            raise ConfigError(
                "--job names an existing job: add --status, --results or --cancel (STATUS=1, RESULTS=1, CANCEL=1)"
            )
        require(not self.job or bool(NAME.fullmatch(self.job)), "--job", self.job, "a name like table1-1f0c9a2e")

    @property
    def installed(self) -> str:
        """The name of the release that jobs are submitted to."""
        return self.release or RELEASE

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return not (self.cluster or self.ray_address)

    def command(self, request: Request) -> str:
        """The shortest `make submit` that runs a request here; others read it, so without a password."""
        public = replace(self, ray_address=without_password(self.ray_address))
        return " ".join([request.command, *to_variables(public)])


def parse(arguments: Sequence[str] | None, description: str = "") -> tuple[Request | None, Target]:
    """What was typed; without an experiment there is no request, but perhaps a question about jobs."""
    parser = Parser(prog="ray_jobs.submit", description=description, allow_abbrev=False)
    add_options(parser.add_argument_group("what"), Request)
    add_options(parser.add_argument_group("where"), Target)
    actions = parser.add_mutually_exclusive_group()
    for name, text in ACTIONS.items():
        actions.add_argument(f"--{name}", dest="action", action="store_const", const=name, default="run", help=text)
    found = parser.parse_args(arguments)
    target = from_namespace(Target, found)
    request = from_namespace(Request, found) if getattr(found, "experiment", "") else None
    lists_all_jobs = bool(target.cluster) and target.action == "status"
    is_named = bool(target.job) and not (target.ray_address and target.action == "results")
    if not (request or is_named or lists_all_jobs):
        raise ConfigError("name an experiment: --experiment table1 (EXP=table1); `histoseg list` shows all")
    return request, target
