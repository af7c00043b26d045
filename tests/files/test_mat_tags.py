"""Damaged MATLAB files that end the process in SciPy's reader are refused before; whole ones of every kind are read."""

import io
import random

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from histoseg.errors import DataError
from histoseg.files.mat import load_mat
from histoseg.files.mat_tags import require_known_types

KINDS = {
    "numbers": np.arange(12.0).reshape(3, 4),
    "small": np.array([[1]], np.uint8),
    "empty": np.zeros((0, 1)),
    "complex": np.array([[1 + 2j, 3]]),
    "true": np.array([[True, False]]),
    "text": np.array(["abc", "de"]),
    "unicode": "Größe 患者",
    "cells": np.array([np.arange(3), "a"], object),
    "struct": {"a": np.arange(3), "b": {"c": "text"}},
    "records": np.zeros(2, [("x", float), ("y", object)]),
    "sparse": scipy.sparse.csc_matrix(np.eye(3)),
}


def save(path, compressed=False, **content):
    scipy.io.savemat(path, content, do_compression=compressed)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_pass(tmp_path, kind, compressed):
    path = save(tmp_path / "a.mat", compressed, **{kind: KINDS[kind], "inst_map": np.eye(2)})
    require_known_types(path)
    np.testing.assert_array_equal(load_mat(path, ["inst_map"])["inst_map"], np.eye(2))


# Of an array of doubles, the first in the file: byte 128 is its tag, 136 that of its flags, 144 and 145 the flags
# (class; 8 is complex), 152 the tag of its size, 168 that of its name (inst_map), 184 that of its values.
@pytest.mark.parametrize(
    ("place", "value"),
    [(128, 99), (136, 14), (144, 0), (144, 200), (145, 8), (152, 14), (168, 200), (184, 14), (184, 8), (189, 255)],
)
def test_damaged_types_and_lengths(tmp_path, place, value):
    path = save(tmp_path / "a.mat", inst_map=np.arange(12.0).reshape(3, 4), id=np.eye(2))
    body = bytearray(path.read_bytes())
    body[place] = value
    path.write_bytes(body)
    with pytest.raises(DataError, match=r"a.mat: not a readable MATLAB file \(damaged at byte"):
        load_mat(path, ["inst_map"])


def is_refused(path):
    """Whether the file is refused, by one line with its path."""
    try:
        load_mat(path, ["inst_map", "id", "class"])
    except DataError as error:
        message = str(error)
        return str(path) in message and "\n" not in message
    return False


@pytest.mark.parametrize("seed", range(4))
def test_variants_of_a_file_are_read_or_refused(tmp_path, seed):
    """A reader that crashes ends the tests here."""
    file, choose = io.BytesIO(), random.Random(seed)
    scipy.io.savemat(file, {"inst_map": np.arange(90.0).reshape(9, 10), "id": np.eye(3), "class": np.ones((3, 1))})
    whole, path, refused = file.getvalue(), tmp_path / "a.mat", 0
    for _ in range(250):
        body = bytearray(whole)
        for _ in range(choose.choice([1, 2, 5, 40])):
            body[choose.randrange(128, len(body))] = choose.randrange(256)
        path.write_bytes(body)
        refused += is_refused(path)
    assert 25 < refused < 250
