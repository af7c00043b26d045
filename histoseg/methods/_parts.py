"""Patches in parts, for what would not fit into memory at once."""

from collections.abc import Iterator

from histoseg.types import Patches


def parts(patches: Patches, size: int) -> Iterator[Patches]:
    """Consecutive parts of at most `size` patches, all at once if 0; none of no patches."""
    whole = len(patches.tasks)
    step = size or max(1, whole)
    for start in range(0, whole, step):
        chosen = slice(start, start + step)
        yield Patches(
            images=patches.images[chosen],
            semantic_maps=patches.semantic_maps[chosen],
            tasks=patches.tasks[chosen],
            keys=patches.keys[chosen],
        )
