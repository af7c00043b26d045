"""What tasks teach a network that only separates objects."""

from collections.abc import Mapping

from histoseg.errors import DataError
from histoseg.runs.config import require
from histoseg.structures import TISSUE
from histoseg.types import InstanceMap, Task


def taught_objects(tasks: Mapping[str, Task], network: str) -> tuple[str, ...]:
    """The structures whose objects the tasks teach, in their order.

    Raises:
        DataError: If a task teaches something else.
    """
    for name, task in tasks.items():
        if task.structure in ("", TISSUE):
            what = "classes of tissue" if task.structure else f"no structure (kind {task.kind!r})"
            raise DataError(f"{name} teaches {what}; {network} learns objects, as glands and lumina")
    return tuple(dict.fromkeys(task.structure for task in tasks.values()))


def require_sides(patch: InstanceMap, stride_px: int, network: str) -> None:
    """Nothing, if a network whose smallest features have that stride can take a patch of that size."""
    for side in patch.shape:
        require(side % stride_px == 0, "data.patch_px or data.cut_px", side, f"a multiple of {stride_px} for {network}")
