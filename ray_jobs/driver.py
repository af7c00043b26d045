"""An experiment in an existing store, from raw data to its result page.

`python -m ray_jobs.driver …` is what a job runs on the head of a cluster: it takes the Ray that it finds there, and
leaves table, page and figures in the store. Repeating it is safe and cheap, however it ended before.
"""

import logging
import shutil
import sys
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path

from histoseg.demo.write import write_demo_data
from histoseg.errors import DataError, HistosegError
from histoseg.pipeline.cohort import is_cohort
from histoseg.pipeline.plan import Plan, data_of, load_experiment, make_plan, sources_of
from histoseg.report.written import Written
from histoseg.runs.argv import from_words
from histoseg.runs.config import Data, require
from histoseg.runs.request import DEMO, PREPARED, Request
from histoseg.shards.pool import shard_pool
from histoseg.shards.prepare import prepare_sources
from histoseg.shards.writer import Recipe
from histoseg.sources._declared import find_declarations
from histoseg.store.conditional import require_conditional_puts
from histoseg.store.keys import results_folder
from histoseg.store.objects import PATIENT, Store, connect
from histoseg.training.listening import require_listeners
from ray_jobs.cells import ConnectRay, complete
from ray_jobs.cluster import existing_ray
from ray_jobs.logs import log_command
from ray_jobs.slides import segment_cohort

logger = logging.getLogger("histoseg.driver")

HOME = Path(".histoseg")  # Demo data and verified shards; for a run on one machine also its store and Ray's session
ONLY_OF_PREPARE = ("--option", "--deal-anew")  # Options of `histoseg prepare` that a submission has not


@dataclass(frozen=True)
class Finished:
    """A report, and the error that kept cells from being in it."""

    report: Written
    failure: HistosegError | None


def run(request: Request, store: Store, raw: Path | None, out: Path, home: Path, connect_ray: ConnectRay) -> Finished:
    """Prepare shards, complete every cell that has no record, and build the report from the records.

    `raw` is the folder of raw data sets, or None if the store has the shards; the report is written below `out`; `home`
    and `connect_ray` are as `complete` takes them.
    """
    from histoseg.report.write import write_report

    require_listeners(request.listen)
    require_conditional_puts(store)  # Before hours of work whose records could not be written.
    given = replace(request, sets=(*request.sets, *put_weights_given(request, store)))
    data = data_of(given.experiment, given.scale, given.sets)
    omissions = prepare(given, raw, store, data) if raw is not None else []
    plan = make_plan(given.experiment, store, given.scale, given.seeds, given.sets)
    require_weights(plan, store)
    failure = complete(plan, store, given, home, connect_ray)
    report = write_report(plan, store, out, command=request.command, omissions=omissions)
    return Finished(report=report, failure=failure)


def draw_demo(request: Request) -> Path:
    """The folder of demo data, which has what an experiment reads."""
    write_demo_data(HOME / DEMO, sources=load_experiment(request.experiment, request.scale).SOURCES)
    return HOME / DEMO


def prepare(request: Request, raw: Path, store: Store, data: Data) -> list[str]:
    """Write the shards of every source that the folder holds; returns what was left out and why."""
    if not raw.is_dir():
        raise DataError(f"{raw} is not a folder; give the folder that holds the raw data sets")
    declared = find_declarations(raw)
    sources = sources_of(load_experiment(request.experiment, request.scale), declared)
    try:
        with shard_pool() as pool:
            prepared = prepare_sources(sources, raw, store, Recipe(data=data, declared=declared), pool)
    except DataError as error:
        raise type(error)(_with_next_step(str(error), store)) from error
    return [_with_next_step(omission, store) for omission in prepared.omissions]


def _with_next_step(fault: str, store: Store) -> str:
    """A fault, and how to submit where it advises an option of `histoseg prepare`, which a submission has not."""
    is_advised = any(option in fault for option in ONLY_OF_PREPARE)
    return f"{fault}; then submit with DATA=prepared STORE={store.url}" if is_advised else fault


def put_weights_given(request: Request, store: Store) -> list[str]:
    """Put the weights that were given into the store; returns the assignments that make runs start from them."""
    if request.imagenet is None and request.start is None:
        return []
    from histoseg.models.starting import import_imagenet, put_weights

    if request.imagenet is not None:
        logger.info("%s: ImageNet weights of %s", request.imagenet, import_imagenet(request.imagenet, store))
    return [f"network.weights={put_weights(request.start, store)!r}"] if request.start is not None else []


def require_weights(plan: Plan, store: Store) -> None:
    """Have all weights that runs start from in the store before anything is spent on one of them."""
    from histoseg.models.spec import network_of

    for network in {network_of(run.at(0)) for run in plan.runs}:
        network.starting_weights(store)


def put_results(folder: Path, store: Store, target: str) -> str:
    """Copy a report's files into the store, the page last; returns the page's URL."""
    paths = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == "index.html")
    for path in paths:
        store.put(f"{target}/{path.relative_to(folder).as_posix()}", path)
    return f"{store.url}/{target}/index.html"


def drive(request: Request) -> str:
    """Do what a job was submitted for; returns the URL of the page."""
    require(bool(request.name and request.store), "request.name and store", "", "given: --name=… --store=s3://…")
    store, home = connect(request.store, PATIENT), HOME.resolve()
    raw = _raw(request)
    # For the command on the page: the data lies in this very store by now.
    here = request if is_cohort(request) else replace(request, data=PREPARED)
    # Jobs on one head share its folder. `out` stays relative, for the page names it to those who fetch the results.
    folder = HOME / "reports" / request.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with chdir(folder):
        if is_cohort(request):
            done = Finished(*segment_cohort(here, request.store, Path("results"), home, existing_ray))
        else:
            done = run(here, store, raw, Path("results"), home, existing_ray)
        page = put_results(done.report.page.parent, store, results_folder(request.experiment, request.name))
    print(done.report.table)
    if done.failure is not None:
        raise done.failure
    return page


def _raw(request: Request) -> Path | None:
    """The folder of raw data sets; None if the store has their shards, or nothing is trained."""
    if is_cohort(request):
        return None
    if request.data == DEMO:
        return draw_demo(request).resolve()
    return Path(request.data).resolve() if request.data not in ("", PREPARED) else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Drive; an error is one line on stderr and exit code 1."""
    log_command()
    try:
        print(drive(from_words(Request, sys.argv[1:] if arguments is None else arguments, "ray_jobs.driver")))
    except HistosegError as error:
        sys.exit(f"histoseg: {error}")


if __name__ == "__main__":
    main()
