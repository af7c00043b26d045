"""How many runs at a time the memory of a Ray cluster's head allows; docs/performance.md has the measurements."""

HEAD_BYTES = 1536 * 2**20  # Ray's own processes and the driver, 0.95 GB measured, and what Ray keeps of a day's tasks
HEAD_BYTES_PER_RUN = 2 * 2**20  # 0.6 MB measured with 128 at a time; more for long logs and lists


def runs_for_head(memory_bytes: float) -> int:
    """The runs at a time for which a head's memory suffices."""
    return max(0, int(min(memory_bytes, 2**50) - HEAD_BYTES) // HEAD_BYTES_PER_RUN)
