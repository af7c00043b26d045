"""An experiment in a store that is there, from raw data to its result page.

`python -m ray_jobs.driver …` is what a job runs on the head of a cluster: it takes the Ray that it finds there, and
leaves table, page and figures in the store. Repeating it is safe and cheap, whatever ended it before.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histoseg.errors import ConfigError, DataError, HistosegError
from histoseg.runs.job import DEMO, PREPARED, results_folder
from ray_jobs.cells import Means, complete
from ray_jobs.cluster import existing_ray
from ray_jobs.options import Options

if TYPE_CHECKING:
    from histoseg.pipeline.plan import Plan
    from histoseg.report.write import Written
    from histoseg.runs.config import Data
    from histoseg.store.objects import Store

logger = logging.getLogger("histoseg.driver")

HOME = Path(".histoseg")  # Demo data and verified shards; for a run on one machine also its store and Ray's session


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done.

    Attributes:
        raw: The folder of raw data sets; None means that the store holds what there is.
        sets: Assignments such as optim.steps=200.
        out: The folder below which the report is written.
        command: What to type to get it again.
    """

    experiment: str
    scale: str
    seeds: int
    sets: tuple[str, ...]
    raw: Path | None
    out: Path
    command: str


@dataclass(frozen=True, kw_only=True)
class Done:
    """A report, and what kept cells from being in it."""

    report: "Written"
    failure: HistosegError | None


def run(work: Work, store: "Store", means: Means) -> Done:
    """Prepare shards, complete every cell that has no record, and build the report from the records.

    Raises:
        HistosegError: With one line that says what is wrong; what was finished stays finished.
    """
    from histoseg.pipeline.plan import data_of, make_plan
    from histoseg.report.write import write_report

    data = data_of(work.experiment, work.scale, work.sets)
    omissions = prepare(work, store, data) if work.raw is not None else []
    plan = make_plan(work.experiment, store, work.scale, work.seeds, work.sets)
    require_weights(plan, store)
    failure = complete(plan, store, means)
    report = write_report(plan, store, work.out, command=work.command, omissions=omissions)
    return Done(report=report, failure=failure)


def draw_demo(experiment: str, scale: str) -> Path:
    """The folder of demo data, which has what an experiment reads."""
    from histoseg.demo.write import write_demo_data
    from histoseg.pipeline.plan import load_experiment

    write_demo_data(HOME / DEMO, sources=load_experiment(experiment, scale).SOURCES)
    return HOME / DEMO


def prepare(work: Work, store: "Store", data: "Data") -> list[str]:
    """Write the shards of every source that the folder holds; returns what was left out and why.

    Raises:
        DataError: If there is no such folder, it holds no source, or tissue would be in two folds.
    """
    from histoseg.pipeline.plan import load_experiment
    from histoseg.shards.prepare import prepare_sources
    from histoseg.shards.writer import Recipe, shard_pool

    raw = work.raw
    if raw is None or not raw.is_dir():
        raise DataError(f"{raw} is no folder; give the folder that holds the raw data sets")
    sources = load_experiment(work.experiment, work.scale).SOURCES
    with shard_pool() as pool:
        return list(prepare_sources(sources, raw, store, Recipe(data=data), pool).omissions)


def require_weights(plan: "Plan", store: "Store") -> None:
    """Have all weights that runs start from in the store before anything is spent on one of them."""
    from histoseg.models.spec import network_of

    for network in {network_of(run) for run in plan.runs}:
        network.starting_weights(store)


def fresh(folder: Path) -> Path:
    """The folder, made or emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def put_results(folder: Path, store: "Store", target: str) -> str:
    """Copy a report's files into the store, the page last; returns the page's URL."""
    paths = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == "index.html")
    for path in paths:
        store.put(f"{target}/{path.relative_to(folder).as_posix()}", path)
    return f"{store.url}/{target}/index.html"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line, as `histoseg.runs.job.Job.entrypoint` writes it."""
    parser = argparse.ArgumentParser(prog="ray_jobs.driver", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--name", required=True, help="the job's name, under which results are left in the store")
    parser.add_argument("--experiment", required=True, help="a name from `histoseg list`")
    parser.add_argument("--scale", required=True, help="one of the experiment's scales")
    parser.add_argument("--store", required=True, help="s3://bucket/prefix")
    parser.add_argument("--data", default=PREPARED, help=f"{PREPARED}, {DEMO}, or a folder of raw data sets")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="Ray workers of each run")
    parser.add_argument("--set", default="", help='assignments, e.g. "optim.steps=200"')
    parser.add_argument("--capacity", default="", help="what the cluster will have, e.g. CPU=8,GPU=2")
    return parser.parse_args(arguments)


def capacity(text: str) -> Mapping[str, float]:
    """What `CPU=8,GPU=2` says.

    Raises:
        ConfigError: If it says something else.
    """
    try:
        pairs = [part.split("=") for part in text.split(",") if part]
        return {name: float(amount) for name, amount in pairs}
    except ValueError:
        raise ConfigError(f"--capacity {text!r}: write it as CPU=8,GPU=2") from None


def drive(asked: argparse.Namespace) -> str:
    """Do what a command line asks for; returns the URL of the page.

    Raises:
        HistosegError: With one line that says what is wrong; the cells that are finished are reported all the same.
    """
    from histoseg.store.objects import PATIENT, connect

    store = connect(asked.store, PATIENT)
    raw = None if asked.data == PREPARED else Path(asked.data).resolve()
    if asked.data == DEMO:
        raw = draw_demo(asked.experiment, asked.scale).resolve()
    sets = tuple(asked.set.split())
    same = Options(
        experiment=asked.experiment,
        scale=asked.scale,
        seeds=asked.seeds,
        sets=sets,
        data=PREPARED,  # It lies in this very store by now.
        store=asked.store,
    )
    work = Work(
        experiment=asked.experiment,
        scale=asked.scale,
        seeds=asked.seeds,
        sets=sets,
        raw=raw,
        out=Path("results"),
        command=same.command,
    )
    means = Means(
        connect=existing_ray,
        workers=asked.workers,
        cache=(HOME / "cache").resolve(),
        notes=(HOME / "notes" / asked.name).resolve(),
        capacity=capacity(asked.capacity),
        job=asked.name,
    )
    # Jobs on one head share its folder. Work.out stays as it is, for the page names it to those who fetch the results.
    with chdir(fresh(HOME / "reports" / asked.name)):
        done = run(work, store, means)
        page = put_results(done.report.page.parent, store, results_folder(asked.experiment, asked.name))
    print(done.report.table)
    if done.failure is not None:
        raise done.failure
    return page


def main(arguments: Sequence[str] | None = None) -> None:
    """Drive; what goes wrong is one line on stderr and exit code 1."""
    log_to_stdout()
    asked = parse(arguments)
    try:
        print(drive(asked))
    except HistosegError as error:
        sys.exit(f"histoseg: {error}")


def log_to_stdout() -> None:
    """Our log lines as people read them."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    logging.getLogger("botocore").setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
