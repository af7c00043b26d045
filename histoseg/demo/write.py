"""Made-up raw data sets, in the layouts that real ones come in, so that a demo takes the same way as real data."""

import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np

from histoseg.errors import DataError, StorageError
from histoseg.runs import catalog
from histoseg.seeds import number_of
from histoseg.shards.writer import DEMO_MARK

logger = logging.getLogger(__name__)


def write_demo_data(folder: Path, seed: int = 0, sources: Collection[str] = ()) -> None:
    """Draw every source that can draw itself; those drawn already are kept.

    Args:
        folder: Where; every source makes its own folder below.
        seed: Another one draws other images.
        sources: Only these; none means all.

    Raises:
        DataError: If the folder holds other files: made-up images are never mixed with real ones, nor with others of
            another seed.
        StorageError: If it cannot be written.
    """
    try:
        _require_own(folder, seed)
        for name in sources or catalog.names("histoseg.sources"):
            _draw(name, folder, seed)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{folder}: cannot write demo data there ({reason}); name another folder") from error


def _require_own(folder: Path, seed: int) -> None:
    """Make the folder and its mark, unless it holds anything else than demo data of that seed."""
    mark = folder / DEMO_MARK
    if folder.exists() and any(folder.iterdir()) and not mark.is_dir():
        raise DataError(f"{folder} is not empty and was not made by `histoseg demo-data`; name a new folder")
    mark.mkdir(parents=True, exist_ok=True)
    if others := {path.name.rpartition("-")[2] for path in mark.iterdir()} - {str(seed)}:
        raise DataError(f"{folder} holds demo data of seed {others.pop()}, not {seed}; name a new folder or delete it")


def _draw(name: str, folder: Path, seed: int) -> None:
    """Draw a source, if it can draw itself and has not been drawn there."""
    module = catalog.load("histoseg.sources", name)
    done = folder / DEMO_MARK / f"{name}-{seed}"
    if hasattr(module, "write_demo") and not done.exists():
        logger.info("drawing %s", name)
        module.write_demo(folder, np.random.default_rng([seed, number_of(name)]))
        done.touch()
