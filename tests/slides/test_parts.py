import numpy as np
import pytest

from histoseg.errors import DataError
from histoseg.slides.parts import Rest, decode_rest, encode_rest, join_rests
from histoseg.slides.settle import Settled, Sides, settle
from tests.slides.fields import draw_evidence, separator


def leave(contour=True):
    evidence = draw_evidence(np.random.default_rng(3), (200, 180), contour=contour)
    sides = Sides(bottom=True, right=True)
    return settle(evidence.objects, separator(contour), sides, ("0000-0001", 0, 200))


def assert_equal(one, other):
    assert type(one) is type(other)
    for name, value in vars(one).items():
        if name == "evidence":
            assert_equal(value, other.evidence)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(other, name))
            assert value.dtype == getattr(other, name).dtype
        else:
            assert value == getattr(other, name)


@pytest.mark.parametrize("contour", [True, False])
def test_what_is_left_is_read_as_it_was_written(contour):
    settled = leave(contour)
    tissue = np.arange(6, dtype=np.uint8).reshape(2, 3)
    read = decode_rest(encode_rest(Rest(settled=settled, tissue=tissue)), "a part")
    np.testing.assert_array_equal(read.tissue, tissue)
    assert {piece.structure for piece in settled.pieces} == {"gland", "lumen", "nuclei"}
    assert settled.solids or not contour  # Without contours, small glands are dropped.
    assert bool(settled.strips) != contour  # Flooded nuclei grow over no border.
    for name in ("pieces", "solids", "strips"):
        ours, theirs = getattr(settled, name), getattr(read.settled, name)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_equal(one, other)


def test_nothing_left_is_read_as_nothing():
    read = decode_rest(encode_rest(Rest(settled=Settled())), "a part")
    assert read == Rest(settled=Settled(pieces=[], solids=[], strips=[]))
    assert join_rests([read, read]).pieces == []


@pytest.mark.parametrize(
    "damage", [lambda body: body[:-20], lambda body: b"{}", lambda body: body.replace(b"PAR1", b"PAR2")]
)
def test_a_damaged_part_is_named(damage):
    with pytest.raises(DataError, match=r"parts/0001\.parquet.*delete it"):
        decode_rest(damage(encode_rest(Rest(settled=leave()))), "parts/0001.parquet")
