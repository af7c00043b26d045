"""An experiment on this machine, with an S3 server and a Ray of its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from histoseg.errors import ConfigError, DataError
from histoseg.pipeline.cohort import is_cohort, require_valid
from histoseg.runs.plain import digest
from histoseg.runs.request import DEMO, PREPARED, Request
from histoseg.store.objects import Store, connect
from ray_jobs.cluster import local_ray
from ray_jobs.driver import HOME, Finished, draw_demo, run
from ray_jobs.local_store import local_store
from ray_jobs.slides import segment_cohort

logger = logging.getLogger("histoseg.submit")


def run_here(request: Request, out: Path) -> Path:
    """Run an experiment and write its report below `out`; returns the path of the page."""
    require_valid(request)
    page = out / request.experiment / "index.html"
    logger.info("%s at scale %s; the result goes to %s", request.experiment, request.scale, page)
    if is_cohort(request):
        done = Finished(*segment_cohort(request, request.store.rstrip("/"), out, HOME.resolve(), _ray))
    else:
        raw = _raw(request)
        with _store(request) as store:
            done = run(request, store, raw, out, HOME.resolve(), _ray)
    print(done.report.table)
    if done.failure is not None:
        raise done.failure
    return done.report.page.resolve()


def _raw(request: Request) -> Path | None:
    """The folder of raw data sets, with demo data drawn if that is asked for; None if the store has all data."""
    if request.data == PREPARED:
        if not request.store:
            raise ConfigError(f"DATA={PREPARED} needs the store that holds it: STORE=s3://bucket/prefix or file:///…")
        return None
    if request.data not in ("", DEMO):
        if not (raw := Path(request.data)).is_dir():
            raise DataError(f"{raw} is not a folder; give the folder that holds the raw data sets")
        return raw
    return draw_demo(request)


@contextmanager
def _store(request: Request) -> Iterator[Store]:
    """The store of the job: the one that was named, or an S3 server for as long as the job lasts."""
    is_demo = request.data in ("", DEMO)
    if request.store:
        yield connect(f"{request.store.rstrip('/')}/{DEMO}" if is_demo else request.store)
        return
    # Each folder of raw data has objects of its own, so that demo and real data never replace each other.
    part = DEMO if is_demo else f"data-{digest(str(Path(request.data).resolve()))[:8]}"
    with local_store(HOME / "store") as server:
        logger.info("store: %s/%s, kept in %s", server.url, part, HOME / "store")
        yield connect(f"{server.url}/{part}")


@contextmanager
def _ray() -> Iterator[None]:
    """A Ray for the job."""
    with local_ray(HOME / "ray") as ray:
        logger.info("dashboard: %s, its token is in %s", ray.dashboard_url, ray.token_path)
        yield
