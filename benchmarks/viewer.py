"""`histoseg view` with 500,000 nuclei in a headless Chromium without a graphics card: opening, and moving the view.

    python benchmarks/viewer.py

The slide has 20,000 x 20,000 pixels, the window 1280 x 800. Opening lasts from the address to the whole slide with the
density of all nuclei and their counts, with a server that has just started. The view then moves 430 screen pixels a
second for five seconds over tissue that was not shown before, at four base pixels a screen pixel: every outline that is
drawn is fetched and drawn meanwhile. Frames are those of requestAnimationFrame.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from _timing import Finding, missing, table

sys.path.insert(0, str(Path(__file__).parents[1]))  # For what the tests have: made-up results and a browser

SIDE_PX, NUM_NUCLEI, NUM_GLANDS = 20_000, 500_000, 1_000
NUM_ROUNDS = 3
LONGEST_OPENING_S, FEWEST_FRAMES = 2.0, 20.0
SHRINK, SECONDS = 4, 5
PART = f"viewer, {NUM_NUCLEI:,} nuclei"
MOVE = """async (seconds) => {
  const { osd } = viewer.view;
  const times = [];
  let outlines = 0;
  let last = performance.now();
  const end = last + 1000 * seconds;
  while (last < end) {
    const now = await new Promise(requestAnimationFrame);
    const passed = Math.min((now - last) / 1000, 0.2);
    times.push(now);
    last = now;
    const step = new OpenSeadragon.Point(400 * passed, 150 * passed);
    osd.viewport.panBy(osd.viewport.deltaPointsFromPixels(step, true), true);
    for (const tile of viewer.overlay.visible(0)) outlines += viewer.overlay.tiles.get(tile.key)?.drawn ?? 0;
  }
  return { frames: (1000 * (times.length - 1)) / (times.at(-1) - times[0]), outlines: outlines / times.length };
}"""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one opening and one movement took."""

    opening_s: float
    frames: float  # A second
    outlines: float  # In a frame


def run() -> list[Finding]:
    """Both as how many times as good as the goal."""
    browser = import_module("tests.viewer.browser")
    if browser.CHROMIUM is None:
        return [missing(PART, "-", browser.WHY_NOT)]
    with tempfile.TemporaryDirectory(prefix="histoseg-benchmark-") as name:
        folder = Path(name)
        size = {"width": SIDE_PX, "height": SIDE_PX}
        write = import_module("tests.viewer.made_up").write_slide_with_results
        write(folder, "large", num_nuclei=NUM_NUCLEI, num_glands=NUM_GLANDS, **size)
        rounds = [one_round(folder / "results") for _ in range(NUM_ROUNDS)]
    outlines = round(statistics.median(one.outlines for one in rounds))
    opening, frames = (statistics.median(getattr(one, name) for one in rounds) for name in ("opening_s", "frames"))
    print(f"  opening {opening:.2f} s; moving {frames:.0f} frames a second with {outlines:,} outlines")
    return [
        Finding(
            part=f"{PART}: opening",
            reference=f"{LONGEST_OPENING_S:g} s",
            ratios=tuple(LONGEST_OPENING_S / one.opening_s for one in rounds),
            goal=1.0,
            note=f"{opening:.2f} s",
        ),
        Finding(
            part=f"{PART}: moving",
            reference=f"{FEWEST_FRAMES:g} frames a second",
            ratios=tuple(one.frames / FEWEST_FRAMES for one in rounds),
            goal=1.0,
            note=f"{frames:.0f} a second, {outlines:,} outlines in view",
        ),
    ]


def one_round(results: Path) -> Round:
    """A new server and a new browser."""
    browser, client = import_module("tests.viewer.browser"), import_module("tests.viewer.client")
    with client.command(results, "--port", "0") as (printed, _), browser.chromium() as running:
        address = printed[-1].strip()
        with shown(running) as page:
            begun = time.perf_counter()
            page.goto(address)
            browser.settle(page)
            while "…" in page.inner_text("#objects"):
                page.wait_for_timeout(10)
            opening_s = time.perf_counter() - begun
        with shown(running) as page:
            page.goto(f"{address}#slide=large&at=5000,5000&shrink={SHRINK}")
            browser.settle(page)
            moved = page.evaluate(MOVE, SECONDS)
    return Round(opening_s=opening_s, **moved)


@contextmanager
def shown(running: Any) -> Iterator[Any]:
    """A page of a browser."""
    page = running.new_page(viewport={"width": 1280, "height": 800})
    try:
        yield page
    finally:
        page.close()


if __name__ == "__main__":
    print(table(run()))
