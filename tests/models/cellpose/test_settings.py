"""What Cellpose's settings refuse, with and without its package."""

import sys

import numpy as np
import pytest

from histoseg.errors import ConfigError, DataError
from histoseg.models.cellpose import CellposeSpec
from histoseg.types import Task


def task(name, structure):
    return Task(name=name, title=name, classes=("background", "a"), mpp=0.5, licence="", structure=structure)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cellpose", None)
    square = np.zeros((32, 32), np.int32)
    square[8:20, 8:20] = 1
    for use in (
        lambda: CellposeSpec().build({"lizard": task("lizard", "nuclei")}, 0, 0),
        lambda: CellposeSpec().target(square, "nuclei"),
    ):
        with pytest.raises(ConfigError, match=r"^cellpose is not installed; install histoseg\[cellpose\][^\n]*$"):
            use()


@pytest.mark.parametrize(("field", "value"), [("width", 0), ("enlarge", 0), ("enlarge", 9)])
def test_settings_that_cannot_be_are_refused(field, value):
    with pytest.raises(ConfigError, match=rf"network\.{field} = {value}"):
        CellposeSpec(**{field: value})


def test_a_patch_that_it_cannot_halve_three_times_is_refused():
    with pytest.raises(ConfigError, match="100: must be a multiple of 8 for Cellpose"):
        CellposeSpec().target(np.zeros((100, 100), np.int32), "nuclei")


def test_it_learns_one_structure():
    both = {"lizard": task("lizard", "nuclei"), "glas": task("glas", "gland")}
    with pytest.raises(DataError, match="teach nuclei, gland; give Cellpose sources of one structure"):
        CellposeSpec().build(both, 0, 0)


def test_slides_are_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^[^\n]*segments no slides here[^\n]*$"):
        CellposeSpec().regions(None)
