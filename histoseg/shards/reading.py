"""One image of a source, whatever its reader or a library behind it raises, and the images that could not be read."""

import logging
import traceback
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from histoseg.errors import DataError, HistosegError
from histoseg.files.instances import IN_PIECES, OPTION
from histoseg.files.notes import note
from histoseg.files.resolution import collect_mpp, disagree
from histoseg.runs.catalog import Source
from histoseg.shards.pool import DIED
from histoseg.shards.stored import Unreadable
from histoseg.shards.tar import checked
from histoseg.types import Entry, Sample

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Of a source's images: more are a fault of the whole copy or of its reader. Small sources may lack three images, but
# never more than a third.
SHARE_UNREADABLE, FEW, SHARE_OF_FEW = 10, 3, 3
ARE_MASKS = 0.9  # Of a source's images, if the numbers of so many have many pieces each: they number nothing.


def read_sample(source: Source, entry: Entry) -> Sample:
    """The sample of an entry, checked against its task.

    Raises:
        DataError: For whatever `read` raises; one line, and its cause is the exception.
    """
    _require_files(entry)
    where = f"{source.TASK.name}: {entry.key}"
    try:
        with collect_mpp() as stated:
            sample = source.read(entry)
        if not isinstance(sample, Sample):
            raise DataError(f"{where} was read as {type(sample).__name__}; `read` must give a Sample")
        sample = checked(source.TASK, entry, sample)
    except DataError:
        raise
    except (Exception, SystemExit) as error:  # A reader, or a decoder that it calls, may raise anything.
        raise DataError(f"{where}: `read` raised {say_exception(error, source)}") from error
    for mpp in stated:
        if disagree(mpp, sample.mpp):
            note(
                f"images whose file states {mpp:.2g} microns per pixel, read as {sample.mpp:.2g}; correct what is wrong"
            )
    return sample


def _require_files(entry: Entry) -> None:
    for path in entry.files.values():
        try:
            path.stat()
        except OSError as error:  # A link without a target, for example
            raise DataError(f"{path}: {error.strerror}; fetch the file again, or remove its name") from error


def say_exception(error: BaseException, source: Source) -> str:
    """An exception and the line of the source's code behind it, on one line."""
    if isinstance(error, MemoryError):
        return "MemoryError: the file needs more memory than there is; use a machine with more, or cut it into pieces"
    if isinstance(error, HistosegError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == getattr(source, "__file__", "")] or frames
    what = " ".join(f"{type(error).__name__}: {error}".split())
    where = f"{own[-1].filename}, line {own[-1].lineno}"
    return f"{what} ({where}); correct the file or the reader; HISTOSEG_LOG=DEBUG shows the traceback"


def leave_out(entry: Entry, error: Exception) -> Unreadable:
    """The image of an entry that could not be read, with the reason; its traceback is for the log."""
    file = str(entry.files["image"] if "image" in entry.files else next(iter(entry.files.values()), ""))
    reason = " ".join(str(error).split())
    return Unreadable(
        key=entry.key,
        file=file,
        reason=reason if file in reason else f"{file}: {reason}",
        trace="".join(traceback.format_exception(error)) if error.__cause__ else "",
    )


def outcome(entry: Entry, reading: Future[Result]) -> Result | Unreadable:
    """What reading an image in a process gave; where that ended the process, the image as one that cannot be read."""
    try:
        return reading.result()
    except BrokenProcessPool:
        return leave_out(entry, DataError(f"reading it {DIED}; replace the file by an intact copy"))


def log_unreadable(source: str, unreadable: Collection[Unreadable]) -> None:
    """A line for each image, and the traceback at DEBUG."""
    for one in unreadable:
        logger.warning("%s: left out: %s", source, one.reason)
        if one.trace:
            logger.debug("%s", one.trace)


def require_few(source: str, num_images: int, unreadable: Collection[Unreadable]) -> None:
    """Refuse a source of which so many images cannot be read that what is left is another data set."""
    most = max(num_images // SHARE_UNREADABLE, min(FEW, num_images // SHARE_OF_FEW))
    if len(unreadable) > most:
        first = next(iter(unreadable))
        raise DataError(
            f"{first.reason}; {source}: {len(unreadable)} of {num_images} images cannot be read, at most {most} may be "
            "left out; get an intact copy of the files, or remove from the folder what is not part of the set"
        )


def require_numbered(source: str, num_images: int, notes: Mapping[str, int], options: Mapping[str, str]) -> None:
    """Refuse masks where numbered objects are expected, unless an option says that pieces belong together."""
    found = notes.get(IN_PIECES, 0)
    if found > ARE_MASKS * num_images and "instances" not in options:
        raise DataError(
            f"{source}: in {found} of {num_images} images a number has many separate pieces, as in masks that do not"
            f" number objects; {OPTION} to number the pieces, or --option instances=numbered if each number is one"
            " object in pieces"
        )
