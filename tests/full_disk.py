"""A disk that is full, as the system reports it to this process."""

import resource
from contextlib import contextmanager


@contextmanager
def room_for(num_bytes):
    """No file can grow beyond so many bytes: the system then refuses to write, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
