"""Made-up raw data sets in the layouts of the real ones, so that a demo takes the same path as real data."""

import importlib.util
import logging
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from histoseg.errors import DataError, StorageError
from histoseg.runs import catalog
from histoseg.seeds import number_of

logger = logging.getLogger(__name__)

# Sources with images of one kind are written by one module of this package; others by that of their own name.
SHARED = {
    **dict.fromkeys(("cerberus_gland", "cerberus_lumen", "cerberus_nuclei", "crag", "lizard"), "mucosa"),
    **dict.fromkeys(("crc_tp", "kather5k", "nct_crc_he"), "tissue"),
}
DEMO_MARK = ".histoseg-demo"  # Marks folders of made-up raw files, so that tables can say that their images are drawn.


def write_demo_data(folder: Path, seed: int = 0, sources: Collection[str] = ()) -> None:
    """Draw every source that has a `write_demo`; those drawn already are kept.

    Another seed draws other images. Made-up images are never mixed with real ones, nor with those of another seed.
    """
    try:
        _require_own(folder, seed)
        for source in sources or catalog.names("histoseg.sources"):
            _draw(source, folder, seed)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{folder}: cannot write demo data there ({reason}); name another folder") from error


def find_demo(source: str) -> Callable[[Path, np.random.Generator], None] | None:
    """The `write_demo` of a source's own module, or what writes it in this package; None if there is neither."""
    own = getattr(catalog.load("histoseg.sources", source), "write_demo", None)
    name = f"histoseg.demo.{SHARED.get(source, source)}"
    if own is not None or importlib.util.find_spec(name) is None:
        return own
    return getattr(importlib.import_module(name), f"write_{source}" if source in SHARED else "write_demo", None)


def _require_own(folder: Path, seed: int) -> None:
    """Make the folder and its mark; refuse a folder with anything but demo data of that seed."""
    mark = folder / DEMO_MARK
    if folder.exists() and any(folder.iterdir()) and not mark.is_dir():
        raise DataError(f"{folder} is not empty and was not made by `histoseg demo-data`; name a new folder")
    mark.mkdir(parents=True, exist_ok=True)
    if others := {path.name.rpartition("-")[2] for path in mark.iterdir()} - {str(seed)}:
        raise DataError(f"{folder} holds demo data of seed {others.pop()}, not {seed}; name a new folder or delete it")


def _draw(source: str, folder: Path, seed: int) -> None:
    """Draw a source, unless it has no demo or was drawn there before."""
    write_demo = find_demo(source)
    done = folder / DEMO_MARK / f"{source}-{seed}"
    if write_demo is not None and not done.exists():
        logger.info("drawing %s", source)
        write_demo(folder, np.random.default_rng([seed, number_of(source)]))
        done.touch()
