"""Memory of the CPU that is kept from one tensor to the next.

The C library of Linux gets a large tensor's memory from the system and gives it back when the tensor is freed; then the
system clears every page again for the next one. Of a network's time that is a third, see docs/performance.md.
"""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's malloc.h
NEVER, NONE = -1, 0


def keep_freed_memory() -> bool:
    """Have this process keep what it frees, up to the most it ever had; False where that cannot be had."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(TRIM_THRESHOLD, NEVER) and mallopt(MMAP_MAX, NONE))
