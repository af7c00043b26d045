"""A made-up slide of any size through `segment`, as a process of its own: `python -m tests.slides.large SLIDE OUT`."""

import json
import re
import sys
from pathlib import Path

from histoseg.inference.segment import segment_slide
from histoseg.slides.options import SegmentOptions
from histoseg.store.objects import FileStore
from tests.slides.blobs import draw_model

OPTIONS = SegmentOptions(structures=("nuclei",))


def peak_mb():
    """The most memory that this process had; what `resource` says includes that of the process which started it."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6


def main():
    """Segment the slide; a line for every tenth region, and at the end what it took as JSON."""
    slide, out = sys.argv[1:]

    def report(_, done, whole, __):
        if done % 10 == 0:
            print(f"region {done} of {whole}", flush=True)

    summary, _ = segment_slide(slide, draw_model(), FileStore(Path(out)), OPTIONS, report)
    print(json.dumps({"nuclei": summary.counts["nuclei"].all, "peak_mb": peak_mb(), "seconds": summary.seconds}))


if __name__ == "__main__":
    main()
