"""A made-up slide of any size through `segment`, as a process of its own: `python -m tests.slides.large SLIDE OUT`."""

import json
import resource
import sys
from pathlib import Path

from histoseg.inference.segment import segment_slide
from histoseg.slides.options import SegmentOptions
from histoseg.store.objects import FileStore
from tests.slides.blobs import draw_model

OPTIONS = SegmentOptions(structures=("nuclei",))


def main():
    """Segment the slide; a line for every tenth region, and at the end what it took as JSON."""
    slide, out = sys.argv[1:]

    def report(_, done, whole, __):
        if done % 10 == 0:
            print(f"region {done} of {whole}", flush=True)

    summary, _ = segment_slide(slide, draw_model(), FileStore(Path(out)), OPTIONS, report)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"nuclei": summary.counts["nuclei"].all, "peak_mb": peak_mb, "seconds": summary.seconds}))


if __name__ == "__main__":
    main()
