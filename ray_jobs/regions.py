"""What Ray's processes do with the slides of a cohort: open one, segment some of its regions, and finish it.

All results go to the store from there. The driver is handed counts, the places of regions, and each slide's mask, of
some 40 kB packed, which is found once and given to all that segment the slide.
"""

import logging
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from histoseg.commands.models import open_model
from histoseg.errors import LeaseError
from histoseg.slides.grid import Region
from histoseg.slides.options import SegmentOptions
from histoseg.slides.summary import ModelAbout, Summary
from histoseg.slides.tissue import Kind, TissueMask
from histoseg.store.leases import Lease, newest
from histoseg.store.objects import PATIENT, Store, connect
from ray_jobs.logs import log_worker
from ray_jobs.train import drain_notice, leave_if_reclaimed

if TYPE_CHECKING:
    from histoseg.inference.regions import SlideWork
    from histoseg.models.weights import Model


@dataclass(frozen=True, kw_only=True)
class CohortJob:
    """What all slides of a cohort have in common, as it travels to every process.

    Attributes:
        model: A folder that every node sees, or an address.
        out: The address of the results.
        options: How slides are segmented.
        home: An absolute folder of each node, for copies of the model.
    """

    model: str
    out: str
    options: SegmentOptions
    home: str

    @property
    def store(self) -> Store:
        """Where results go; it waits for a server that is away."""
        return connect(self.out, PATIENT)


@dataclass(frozen=True, kw_only=True)
class PackedMask:
    """A tissue mask as few bytes."""

    bits: bytes
    shape: tuple[int, int]
    mpp: float
    kind: Kind

    @staticmethod
    def pack(mask: TissueMask) -> "PackedMask":
        """A mask as it travels."""
        height, width = mask.mask.shape
        bits = zlib.compress(np.packbits(mask.mask).tobytes())
        return PackedMask(bits=bits, shape=(height, width), mpp=mask.mpp, kind=mask.kind)

    def unpack(self) -> TissueMask:
        """The mask."""
        bits = np.unpackbits(np.frombuffer(zlib.decompress(self.bits), np.uint8), count=self.shape[0] * self.shape[1])
        return TissueMask(mask=bits.astype(bool).reshape(self.shape), mpp=self.mpp, kind=self.kind)


@dataclass(frozen=True, kw_only=True)
class OpenedSlide:
    """A slide that is not done: the regions that are left, and the area of all."""

    mask: PackedMask
    undone: tuple[Region, ...]
    mm2: float
    mpp: float  # Of the pixels in which regions are


@dataclass(frozen=True, kw_only=True)
class BatchDone:
    """What became of a batch: how many objects its regions hold, and which regions are left to another process."""

    objects: int
    left: tuple[Region, ...] = ()


def describe_model(address: str, home: str) -> ModelAbout:
    """The model; it is read whole, so that one that is damaged ends the job before any slide is opened."""
    model = _model(address, home)
    return ModelAbout(sha256=model.sha256, origin=model.origin, mpp=model.mpp)


def look_at_slide(job: CohortJob, address: str) -> Summary | OpenedSlide:
    """The summary of a slide that is done; else its mask, and what is left to do."""
    from histoseg.inference.segment import find_done, open_work

    log_worker(logging.WARNING)
    model, store = _model(job.model, job.home), job.store
    if (done := find_done(address, model, store, job.options)) is not None:
        return done
    with open_work(address, model, store, job.options) as work:
        return OpenedSlide(
            mask=PackedMask.pack(work.mask),
            undone=tuple(work.undone()),
            mm2=area_mm2(work.regions(), model.mpp),
            mpp=model.mpp,
        )


def finish_slide(job: CohortJob, address: str, mask: PackedMask, lease: Lease, seconds: float) -> Summary:
    """The results of a slide whose regions are all done, `seconds` after it was opened.

    A driver that has lost the slide's lease since then does no harm with its regions, which are as good as those of the
    driver that has it now; but it would remove them at the end.
    """
    from histoseg.inference.finish import finish
    from histoseg.inference.segment import open_work

    log_worker(logging.WARNING)
    if newest(leases_of(job), lease.name) != lease.number:
        raise LeaseError(f"{address}: another job has taken this slide over; repeat the command when that has finished")
    with open_work(address, _model(job.model, job.home), job.store, job.options, mask.unpack()) as work:
        return finish(work, time.monotonic() - seconds)


def leases_of(job: CohortJob) -> Store:
    """Where the leases of slides lie: beside their results, so that all who write there share them."""
    return connect(f"{job.out}/.jobs", PATIENT)


def area_mm2(regions: Sequence[Region], mpp: float) -> float:
    """The area of some regions."""
    return sum(region.height * region.width for region in regions) * mpp**2 / 1e6


@dataclass
class _Kept:
    """A slide that is open, and how many calls read it at this moment."""

    work: "SlideWork"
    close: Callable[[], None]
    readers: int = 0


class Segmenter:
    """A process that keeps the model, as a Ray actor; several calls at a time share it."""

    def __init__(self, job: CohortJob) -> None:
        log_worker(logging.WARNING)
        self._job = job
        self._is_reclaimed = drain_notice()
        self._kept: dict[str, _Kept] = {}
        self._lock = Lock()

    def is_ready(self) -> bool:
        """Answers once the model is loaded; not in `__init__`, whose errors Ray passes on as a lost process."""
        _model(self._job.model, self._job.home)
        return True

    def segment(self, address: str, mask: PackedMask, regions: Sequence[Region], is_again: bool) -> BatchDone:
        """Segment some regions of a slide; those that another process has done meanwhile are left out if `is_again`.

        Raises:
            ReclaimedError: If this node is about to be taken away.
        """
        from histoseg.inference.regions import segment_regions

        leave_if_reclaimed()
        with self._opened(address, mask) as work:
            undone = set(work.undone()) if is_again else set(regions)
            asked = [region for region in regions if region in undone]
            objects = done = 0
            for _, table in segment_regions(work, asked):
                objects, done = objects + len(table), done + 1
                if self._is_reclaimed():
                    break
        return BatchDone(objects=objects, left=tuple(asked[done:]))

    @contextmanager
    def _opened(self, address: str, mask: PackedMask) -> "Iterator[SlideWork]":
        """The slide, open; others that are not read are closed afterwards."""
        with self._lock:
            kept = self._kept.get(address) or self._open(address, mask)
            kept.readers += 1
        try:
            yield kept.work
        finally:
            with self._lock:
                kept.readers -= 1
                for other in [name for name, one in self._kept.items() if name != address and not one.readers]:
                    self._kept.pop(other).close()

    def _open(self, address: str, mask: PackedMask) -> _Kept:
        from histoseg.inference.segment import open_work

        with ExitStack() as stack:
            work = stack.enter_context(
                open_work(
                    address, _model(self._job.model, self._job.home), self._job.store, self._job.options, mask.unpack()
                )
            )
            self._kept[address] = _Kept(work=work, close=stack.pop_all().close)
        return self._kept[address]


@cache
def _model(address: str, home: str) -> "Model":
    """The model, read once in each process."""
    logging.getLogger("histoseg.models.weights").setLevel(logging.ERROR)  # Each slide's line has the model's caveats.
    return open_model(address, Path(home) / "models")
