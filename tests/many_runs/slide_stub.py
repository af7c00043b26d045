"""Slides of the usual size for `tests.many_runs.slides`, of which nothing is computed: processes only wait."""

import os
import time

import numpy as np

from histoseg.slides.grid import Region
from histoseg.slides.summary import Counts, MaskAbout, ModelAbout, StructureAbout, Summary
from histoseg.slides.tissue import TissueMask
from ray_jobs.regions import BatchDone, OpenedSlide, PackedMask, area_mm2

REGIONS = 230  # Of 1.17 mm2: 270 mm2 of tissue and its surroundings, of a slide of 25 x 20 mm
WAIT_S = float(os.environ.get("STUB_WAIT_S", "0.1"))  # For each batch


def describe_model(address, home):
    return ModelAbout(sha256="0" * 64, origin="a stub", mpp=0.5)


def look_at_slide(job, address):
    rows = np.random.default_rng(0).random((2500, 3125 // 5)) > 0.5  # Noise: packed, it is larger than any real mask.
    mask = TissueMask(mask=np.repeat(rows, 5, axis=1), mpp=8.0, kind="automatic")
    regions = tuple(
        Region(row=i // 20, column=i % 20, top=i // 20 * 2160, left=i % 20 * 2160, height=2160, width=2160)
        for i in range(REGIONS)
    )
    return OpenedSlide(mask=PackedMask.pack(mask), undone=regions, mm2=area_mm2(regions, 0.5), mpp=0.5)


def finish_slide(job, address, mask, lease, seconds):
    return Summary(
        name=address.rpartition("/")[2],
        address=address,
        size_px=(100_000, 80_000),
        mpp=0.25,
        model=ModelAbout(sha256="0" * 64, origin="a stub", mpp=0.5),
        structures={"nuclei": StructureAbout(singular="nucleus", plural="nuclei")},
        counts={"nuclei": Counts(all=1_000_000)},
        mask=MaskAbout(kind="automatic", area_mm2=200.0),
        files=[],
        made_of="stub",
        histoseg="0",
        seconds=seconds,
    )


class Segmenter:
    """An actor that waits."""

    def __init__(self, job):
        self.job = job

    def is_ready(self):
        return True

    def segment(self, address, mask, regions, is_again):
        time.sleep(WAIT_S)
        return BatchDone(objects=5000 * len(regions))
