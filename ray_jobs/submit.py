"""One experiment from raw data to its result page, on this machine: `make submit EXP=table1`.

Starts an S3 server and a Ray of its own, prepares shards, completes every cell that has no record yet, and builds the
report from the records. Repeating it is safe and cheap, whatever ended it before.
"""

import argparse
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, NoReturn

from histoseg.errors import DataError, HistosegError

if TYPE_CHECKING:
    from histoseg.config import Data
    from histoseg.plan import Plan
    from histoseg.storage import Store

logger = logging.getLogger("histoseg.submit")

HOME = Path(".histoseg")  # Demo data, the local store's objects, verified shards, Ray's session
COUNT_EVERY_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was typed.

    Attributes:
        data: The folder of raw data sets; None means demo data, drawn here.
        store: Where everything is kept; empty means an S3 server started for the job.
        workers: Ray workers of each run.
        imagenet: A ResNet in torchvision's format, for networks that start from ImageNet's weights.
        start: A model's folder, or a file as `imagenet`, that every network starts from.
        sets: Assignments such as optim.steps=200.
    """

    experiment: str
    scale: str
    data: Path | None
    store: str
    seeds: int
    workers: int
    sets: tuple[str, ...]
    out: Path
    imagenet: Path | None = None
    start: Path | None = None

    @property
    def command(self) -> str:
        """The shortest command that does the same."""
        parts = [f"make submit EXP={self.experiment} SCALE={self.scale}"]
        parts += [f"DATA={self.data}"] if self.data else []
        parts += [f"STORE={self.store}"] if self.store else []
        parts += [f"START={self.start}"] if self.start else []
        parts += [f"SEEDS={self.seeds}"] if self.seeds > 1 else []
        parts += [f'SET="{" ".join(self.sets)}"'] if self.sets else []
        return " ".join(parts)


def submit(options: Options) -> Path:
    """Run an experiment and write its report; returns the path of the page.

    Raises:
        HistosegError: With one line that says what is wrong; what was finished stays finished.
    """
    from histoseg.demo import write_demo_data
    from histoseg.plan import data_of, make_plan
    from histoseg.report import write_report

    data = data_of(options.experiment, options.scale, options.sets)
    logger.info("%s at scale %s; the result goes to %s", options.experiment, options.scale, _result(options))
    raw = options.data or HOME / "demo"
    if options.data is None:
        write_demo_data(raw)
    elif not raw.is_dir():
        raise DataError(f"{raw} is no folder; give the folder that holds the raw data sets")
    with _store(options) as store:
        omissions = prepare(options, raw, store, data)
        sets = (*options.sets, *_put_weights(options, store))
        plan = make_plan(options.experiment, store, options.scale, options.seeds, sets)
        _require_weights(plan, store)
        failure = _complete(plan, store, options)
        written = write_report(plan, store, options.out, command=options.command, omissions=omissions)
    print(written.table)
    if failure is not None:
        raise failure
    return written.page.resolve()


def prepare(options: Options, raw: Path, store: "Store", data: "Data") -> list[str]:
    """Write the shards of every source that the folder holds; returns what was left out and why.

    Raises:
        DataError: If the folder holds none, or tissue would be in two folds.
    """
    from histoseg.plan import load_experiment
    from histoseg.shards.prepare import prepare_sources
    from histoseg.shards.writer import Recipe, shard_pool

    sources = load_experiment(options.experiment, options.scale).SOURCES
    with shard_pool() as pool:
        return list(prepare_sources(sources, raw, store, Recipe(data=data), pool).omissions)


def _put_weights(options: Options, store: "Store") -> list[str]:
    """Put the weights that were given into the store; returns the assignments that make runs start from them."""
    if options.imagenet is None and options.start is None:
        return []
    from histoseg.weights import import_imagenet, put_weights

    if options.imagenet is not None:
        logger.info("%s: ImageNet's weights of %s", options.imagenet, import_imagenet(options.imagenet, store))
    return [f"network.weights={put_weights(options.start, store)!r}"] if options.start is not None else []


def _require_weights(plan: "Plan", store: "Store") -> None:
    """Have all weights that runs start from in the store before anything is spent on one of them."""
    from histoseg.config import FoldRun

    networks = {run.network for run in plan.runs if isinstance(run, FoldRun) and run.network.weights}
    if networks:
        from histoseg.weights import find_weights

        for network in networks:
            find_weights(network, store)


def _result(options: Options) -> Path:
    return options.out / options.experiment / "index.html"


@contextmanager
def _store(options: Options) -> Iterator["Store"]:
    """The store of the job: the one that was named, or an S3 server for as long as the job lasts."""
    from histoseg.runs import digest
    from histoseg.storage import connect
    from ray_jobs.local_store import local_store

    if options.store:
        yield connect(options.store)
        return
    # Each folder of raw data has objects of its own, so that demo and real data never replace each other.
    part = f"data-{digest(str(options.data.resolve()))[:8]}" if options.data else "demo"
    with local_store(HOME / "store") as server:
        logger.info("store: %s/%s, kept in %s", server.url, part, HOME / "store")
        yield connect(f"{server.url}/{part}")


def _complete(plan: "Plan", store: "Store", options: Options) -> HistosegError | None:
    """Run what has no record yet; an error comes back, so that the cells that are finished are still reported."""
    from histoseg.results import record_key
    from histoseg.runs import cell_id, to_json
    from ray_jobs import grid
    from ray_jobs.train import Group

    recorded = set(store.list(f"records/{plan.experiment}/"))
    wanted = {record_key(plan.experiment, cell): cell for cell in plan.cells}
    logger.info("cells: %d of %d are recorded already", len(recorded & set(wanted)), len(wanted))
    groups = [
        Group(
            id=pretraining,
            runs=json.dumps([to_json(run) for run in runs]),
            store_url=store.url,
            cache=str((HOME / "cache").resolve()),
        )
        for pretraining, runs in plan.groups.items()
        if any(record_key(run.experiment, cell_id(run, plan.checksums)) not in recorded for run in runs)
    ]
    if not groups:
        return None
    with _ray() as has_gpu, _counting(store, f"records/{plan.experiment}/", set(wanted)):
        try:
            storage_path = f"{store.url}/ray".removeprefix("file://")
            grid.run(groups, grid.Workers(num_workers=options.workers, use_gpu=has_gpu), storage_path)
        except HistosegError as error:
            return error
    return None


@contextmanager
def _ray() -> Iterator[bool]:
    """A Ray for the job; gives whether it has a GPU."""
    from ray_jobs.cluster import local_ray

    with local_ray(HOME / "ray") as ray:
        logger.info("dashboard: %s, its token is in %s", ray.dashboard_url, ray.token_path)
        import torch

        yield torch.cuda.is_available()


@contextmanager
def _counting(store: "Store", prefix: str, wanted: set[str]) -> Iterator[None]:
    """While this lasts, a line now and then says how many cells are recorded; Prometheus hears it from Ray."""
    from ray.util.metrics import Gauge

    done = Event()
    recorded = Gauge("histoseg_cells_recorded", "Cells of the experiment that have a record.")
    planned = Gauge("histoseg_cells", "Cells of the experiment.")

    def count() -> None:
        begin, first, last = time.monotonic(), -1, -1
        while not done.wait(COUNT_EVERY_S if first >= 0 else 0):
            try:
                found = len(wanted & set(store.list(prefix)))
            except HistosegError as error:
                logger.warning("cells: cannot be counted: %s", error)
                continue
            first = found if first < 0 else first
            recorded.set(found)
            planned.set(len(wanted))
            pace = (found - first) / (time.monotonic() - begin)
            eta = f"  eta {(len(wanted) - found) / pace:.0f} s" if pace else ""
            if found != last:
                logger.info("cells: %d of %d recorded%s", found, len(wanted), eta)
            last = found

    thread = Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def parse(arguments: Sequence[str] | None) -> Options:
    """The options of a command line; what cannot be ends the program with a line that says so."""
    parser = argparse.ArgumentParser(prog="ray_jobs.submit", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--experiment", required=True, help="a name from `histoseg list`")
    parser.add_argument("--scale", default="laptop", help="one of the experiment's scales")
    parser.add_argument("--data", type=Path, help="folder of raw data sets (default: demo data, drawn here)")
    parser.add_argument("--store", default="", help="file:///… or s3://… (default: an S3 server for this job)")
    parser.add_argument("--seeds", type=_positive, default=1, help="how many seeds, from 0 (default: 1)")
    parser.add_argument("--workers", type=_positive, default=1, help="Ray workers of each run (default: 1)")
    parser.add_argument("--set", default="", help='assignments, e.g. "optim.steps=200 method.first_order=true"')
    parser.add_argument("--imagenet", type=Path, help="a ResNet in torchvision's format (default: the usual hub)")
    parser.add_argument("--start", type=Path, help="a model's folder that every network starts from")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for results (default: results)")
    typed = parser.parse_args(arguments)
    return Options(
        experiment=typed.experiment,
        scale=typed.scale,
        data=typed.data,
        store=typed.store,
        seeds=typed.seeds,
        workers=typed.workers,
        sets=tuple(typed.set.split()),
        out=typed.out,
        imagenet=typed.imagenet,
        start=typed.start,
    )


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Submit; what goes wrong is one line on stderr and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    options = parse(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        print(submit(options))
    except HistosegError as error:
        sys.exit(f"histoseg: {error}")
    except KeyboardInterrupt:
        sys.exit("histoseg: interrupted; the same command goes on where this one was")


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
