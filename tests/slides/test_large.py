"""Slides of real size in bounded memory and scratch space, killed on the way, with every object counted.

In `make test` a slide of 6,000 x 5,000 pixels; `make test-slides` takes the paper's and one of 100,000 x 80,000.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from histoseg.demo.slides import write_slide
from histoseg.maps.windows import Window
from histoseg.slides.objects import ObjectFile
from histoseg.slides.reader import open_slide
from histoseg.store.objects import FileStore
from tests.slides import fields
from tests.slides.blobs import draw_model

ROOT = Path(__file__).parents[2]
# Graham et al. 2023, Sec. 5: 28,451 x 56,782 at 0.5 microns per pixel
SIZES = [(28_451, 56_782), (100_000, 80_000)] if os.environ.get("HISTOSEG_SLIDES") else [(6000, 5000)]
MOST_MEMORY_MB, MOST_SCRATCH_MB = 4000, 2000
DENSITY = 0.1  # Of the cells between glands: half a million nuclei on the paper's slide, as in the paper's cohort


def count_nuclei(slide, drawn):
    """How many nuclei the model finds: in each kind of square by itself, times its squares."""
    model = draw_model()
    regions = model.spec.regions(model.network, heads=("nuclei",), mpp=0.5)
    side, total = drawn.square_px, 0
    for kind in range(1, len(drawn.fields) + 1):
        squares = np.argwhere(drawn.layout == kind)
        if len(squares):
            row, column = squares[0].tolist()
            image = slide.read(row * side, column * side, side, side, 0.5)
            seen = regions.evidence(image, [Window(top=0, left=0, height=side, width=side)], (side, side))
            total += len(squares) * int(fields.find_whole(seen, regions)[0].instance_map.max())
    return total


def scratch_mb(folder):
    """What lies in the folder but for results."""
    sizes = [path.stat().st_size for path in folder.rglob("*.rest.parquet") if path.exists()]
    return sum(sizes) / 1e6


def segment(slide, out, kill_after_s=None):
    """What the process printed at its end, and the most scratch space seen; None where it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.slides.large", str(slide), str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with process:
        line, most_mb = "", 0.0
        for line in process.stdout:
            most_mb = max(most_mb, scratch_mb(out))
            if kill_after_s is not None and line.startswith("region"):
                time.sleep(kill_after_s)
                process.send_signal(signal.SIGKILL)
                return None, most_mb
        assert process.wait() == 0
    return json.loads(line), most_mb


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_object_is_found_once_in_bounded_memory_and_space(tmp_path, size):
    width, height = size
    path, out = tmp_path / "large.tif", tmp_path / "out"
    drawn = write_slide(path, width=width, height=height, mpp=0.5, seed=3, density=DENSITY)
    killed, _ = segment(path, out, kill_after_s=1.0 if len(SIZES) > 1 else 0.0)
    assert killed is None or width < 10_000
    ended, most_mb = segment(path, out)
    print(f"{width} x {height}: {ended}, {most_mb:.0f} MB of scratch space")
    with open_slide(path) as slide:
        expected = count_nuclei(slide, drawn)
    assert expected > 1000
    assert ended["nuclei"] == expected == ObjectFile.open(FileStore(out), "large/objects.parquet").count
    assert ended["peak_mb"] < MOST_MEMORY_MB
    assert most_mb < MOST_SCRATCH_MB
