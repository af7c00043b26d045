"""An experiment on this machine, with an S3 server and a Ray of its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from histoseg.errors import ConfigError, DataError
from histoseg.runs.job import DEMO, PREPARED
from ray_jobs.cells import Means
from ray_jobs.driver import HOME, Work, draw_demo, run
from ray_jobs.options import Options

if TYPE_CHECKING:
    from histoseg.store.objects import Store

logger = logging.getLogger("histoseg.submit")


def run_here(options: Options) -> Path:
    """Run an experiment and write its report; returns the path of the page.

    Raises:
        HistosegError: With one line that says what is wrong; what was finished stays finished.
    """
    from histoseg.pipeline.plan import data_of

    data_of(options.experiment, options.scale, options.sets)  # Refuses what cannot be before anything is drawn.
    page = options.out / options.experiment / "index.html"
    logger.info("%s at scale %s; the result goes to %s", options.experiment, options.scale, page)
    raw = _raw(options)
    means = Means(
        connect=_ray, workers=options.workers, cache=(HOME / "cache").resolve(), notes=(HOME / "notes").resolve()
    )
    with _store(options) as store:
        work = Work(
            experiment=options.experiment,
            scale=options.scale,
            seeds=options.seeds,
            sets=(*options.sets, *put_weights_given(options, store)),
            raw=raw,
            out=options.out,
            command=options.command,
        )
        done = run(work, store, means)
    print(done.report.table)
    if done.failure is not None:
        raise done.failure
    return done.report.page.resolve()


def _raw(options: Options) -> Path | None:
    """The folder of raw data sets, with demo data drawn if that is wanted; None if the store holds what there is."""
    if options.data == PREPARED:
        if not options.store:
            raise ConfigError(f"DATA={PREPARED} needs the store that holds it: STORE=s3://bucket/prefix or file:///…")
        return None
    if options.data not in ("", DEMO):
        if not (raw := Path(options.data)).is_dir():
            raise DataError(f"{raw} is no folder; give the folder that holds the raw data sets")
        return raw
    return draw_demo(options.experiment, options.scale)


def put_weights_given(options: Options, store: "Store") -> list[str]:
    """Put the weights that were given into the store; returns the assignments that make runs start from them."""
    if options.imagenet is None and options.start is None:
        return []
    from histoseg.models.cerberus.starting import import_imagenet, put_weights

    if options.imagenet is not None:
        logger.info("%s: ImageNet's weights of %s", options.imagenet, import_imagenet(options.imagenet, store))
    return [f"network.weights={put_weights(options.start, store)!r}"] if options.start is not None else []


@contextmanager
def _store(options: Options) -> Iterator["Store"]:
    """The store of the job: the one that was named, or an S3 server for as long as the job lasts."""
    from histoseg.runs.plain import digest
    from histoseg.store.objects import connect
    from ray_jobs.local_store import local_store

    is_demo = options.data in ("", DEMO)
    if options.store:
        yield connect(f"{options.store.rstrip('/')}/{DEMO}" if is_demo else options.store)
        return
    # Each folder of raw data has objects of its own, so that demo and real data never replace each other.
    part = DEMO if is_demo else f"data-{digest(str(Path(options.data).resolve()))[:8]}"
    with local_store(HOME / "store") as server:
        logger.info("store: %s/%s, kept in %s", server.url, part, HOME / "store")
        yield connect(f"{server.url}/{part}")


@contextmanager
def _ray() -> Iterator[None]:
    """A Ray for the job."""
    from ray_jobs.cluster import local_ray

    with local_ray(HOME / "ray") as ray:
        logger.info("dashboard: %s, its token is in %s", ray.dashboard_url, ray.token_path)
        yield
