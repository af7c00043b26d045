"""Where to find what the tests can use and may not ship: data and schemas that are others' to hand out."""

import os
from pathlib import Path

SHARED = Path(__file__).parents[2] / "shared"


def beside(variable: str, *default: str) -> Path:
    """The folder that an environment variable names, else one in `shared` beside the checkout, which may not exist.

    A folder `shared` beside the checkout is where a team keeps what may not be committed.
    """
    return Path(os.environ.get(variable) or SHARED.joinpath(*default))


def real_data() -> Path:
    """The folder with the raw data sets as published, whole or a part of each."""
    return beside("HISTOSEG_REAL_DATA", "data", "real")
