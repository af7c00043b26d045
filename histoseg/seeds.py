"""Random streams named by numbers, so that any step of any run can be drawn without drawing those before it."""

import hashlib

import numpy as np


def stream(seed: int, *numbers: int) -> np.random.Generator:
    """An independent generator for each tuple of numbers."""
    return np.random.default_rng(np.random.SeedSequence([seed, *numbers]))


def number_of(name: str) -> int:
    """A number that stands for a name on every machine (Python's hash() does not)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
