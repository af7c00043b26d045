"""Made-up raw data sets, in the layouts that real ones come in, so that a demo takes the same way as real data."""

import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np

from histoseg import catalog
from histoseg.errors import DataError
from histoseg.loaders.streams import number_of
from histoseg.shards.writer import DEMO_MARK

logger = logging.getLogger(__name__)


def write_demo_data(folder: Path, seed: int = 0, sources: Collection[str] = ()) -> None:
    """Draw every source that can draw itself; those drawn already are kept.

    Args:
        folder: Where; every source makes its own folder below.
        seed: Another one draws other images.
        sources: Only these; none means all.

    Raises:
        DataError: If the folder holds other files: made-up images are never mixed with real ones.
    """
    mark = folder / DEMO_MARK
    if folder.exists() and any(folder.iterdir()) and not mark.is_dir():
        raise DataError(f"{folder} is not empty and was not made by `histoseg demo-data`; name a new folder")
    mark.mkdir(parents=True, exist_ok=True)
    for name in sources or catalog.names("histoseg.sources"):
        module = catalog.load("histoseg.sources", name)
        done = mark / f"{name}-{seed}"
        if not hasattr(module, "write_demo") or done.exists():
            continue
        logger.info("drawing %s", name)
        module.write_demo(folder, np.random.default_rng([seed, number_of(name)]))
        done.touch()
