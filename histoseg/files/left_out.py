"""What a reader leaves out: noted with its count, refused where it is most of a file."""

from pathlib import Path

from histoseg.errors import DataError
from histoseg.files.notes import note

MAX_LEFT_OUT = 0.5  # Of what a file lists: more is then left out than learnt from.


def leave_out(path: Path | str, what: str, count: int, total: int, remedy: str, *, done: str = "left out") -> None:
    """Note that `count` of the `total` things that a file lists are left out.

    Args:
        path: The file, or the place in it.
        what: What they are, in the plural and without a number, such as "regions outside the image".
        count: How many are left out.
        total: How many the file lists.
        remedy: What to do, for the refusal.
        done: What is done with them.

    Raises:
        DataError: If they are more than half.
    """
    if count > MAX_LEFT_OUT * total:
        raise DataError(f"{path}: {count} of {total} are {what}, more than half; {remedy}")
    note(f"{what} {done}", count)
