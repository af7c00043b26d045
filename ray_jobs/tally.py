"""How far a cohort is: what is counted, and the line that says it."""

import time
from dataclasses import dataclass, field
from threading import Lock


@dataclass(kw_only=True)
class Tally:
    """Counts that several threads add to.

    Attributes:
        slides: In all.
        unseen: Slides that nobody has looked at yet.
        done: Slides that are done, also those that were so before.
        failed: Slides that were given up.
        num_opened: Slides that this job has opened ...
        opened_mm2: ... and their area ...
        left_mm2: ... of which so much is still to be done.
        mm2: What this job has done.
        objects: What it has found, without the objects that borders of regions cut.
    """

    slides: int = 0
    unseen: int = 0
    done: int = 0
    failed: int = 0
    num_opened: int = 0
    opened_mm2: float = 0.0
    left_mm2: float = 0.0
    mm2: float = 0.0
    objects: int = 0
    begun: float = field(default_factory=time.monotonic)
    _lock: Lock = field(default_factory=Lock)

    def expect(self, slides: int) -> None:
        """Begin with so many slides."""
        self.slides = self.unseen = slides
        self.begun = time.monotonic()

    def see(self) -> None:
        """Count a slide that is looked at."""
        with self._lock:
            self.unseen -= 1

    def open(self, mm2: float, left_mm2: float) -> None:
        """Count a slide of such an area that was opened."""
        with self._lock:
            self.num_opened += 1
            self.opened_mm2 += mm2
            self.left_mm2 += left_mm2

    def add(self, mm2: float, objects: int) -> None:
        """Count regions that are done."""
        with self._lock:
            self.mm2 += mm2
            self.left_mm2 -= mm2
            self.objects += objects

    def drop(self, mm2: float) -> None:
        """Count what will not be done of a slide that is given up."""
        with self._lock:
            self.left_mm2 -= mm2

    def end(self, *, has_failed: bool) -> None:
        """Count a slide that is done or given up."""
        with self._lock:
            self.done += not has_failed
            self.failed += has_failed

    @property
    def mm2_per_min(self) -> float:
        """Speed since the beginning."""
        return self.mm2 / max(1e-9, time.monotonic() - self.begun) * 60

    @property
    def eta_s(self) -> float | None:
        """Seconds that are left if unseen slides are like those that were opened; None if nothing is done yet."""
        if not self.mm2:
            return None
        left_mm2 = max(0.0, self.left_mm2) + self.unseen * self.opened_mm2 / self.num_opened
        return left_mm2 / self.mm2_per_min * 60

    def __str__(self) -> str:
        failed = f" ({self.failed} failed)" if self.failed else ""
        found = f"{self.mm2:.1f} mm2  {self.objects:,} objects  {self.mm2_per_min:.1f} mm2/min"
        eta = "" if self.eta_s is None else f"  eta {say_duration(self.eta_s)}"
        return f"slides {self.done}/{self.slides}{failed}  {found}{eta}"


def say_duration(seconds: float) -> str:
    """As "40 s", "12 min" or "3 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
