"""Variables of this process and of what it starts, for as long as they are needed."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def exported(environment: Mapping[str, str]) -> Iterator[None]:
    """Set variables in `os.environ`, and restore what was there before afterwards."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
