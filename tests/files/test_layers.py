"""Outlines that frame others, and objects that only lie near each other."""

import pytest

from histoseg.errors import DataError
from histoseg.files.layers import require_no_frame
from tests.files.test_regions import PATH, box, with_hole

SIZE = (100, 100)
SMALL = [box(x, x, x + 5, x + 5) for x in (20, 30, 40, 50)]
LARGE = box(10, 10, 80, 80)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_what_holds_most_of_the_others_is_a_frame(place):
    with pytest.raises(DataError, match=rf"outlines.xml: 4 of 5 regions lie within others, such as region {place + 1}"):
        require_no_frame([*SMALL[:place], LARGE, *SMALL[place:]], SIZE, PATH)


def test_several_frames_of_parts_of_an_image():
    frames = [box(18, 18, 37, 37), box(38, 38, 57, 57)]  # Each holds two.
    with pytest.raises(DataError, match=r"outlines.xml: 4 of 6 regions lie within others, such as region [12],"):
        require_no_frame([*frames, *SMALL], SIZE, PATH)


@pytest.mark.parametrize(
    "regions",
    [
        [],
        [box(0, 0, 100, 100)],  # One object that fills the image
        [LARGE, *SMALL[:2]],  # Lumina of a gland, drawn as objects
        [LARGE, *SMALL[:2], box(85, 85, 90, 90), box(85, 1, 90, 5)],  # Two of four
        [with_hole(LARGE, box(15, 15, 70, 70)), *SMALL],  # They lie in its hole.
    ],
)
def test_other_regions_are_objects(regions):
    require_no_frame(regions, SIZE, PATH)


def test_what_covers_the_image_frames_even_one():
    with pytest.raises(DataError, match="1 of 2 regions lie within others, such as region 2"):
        require_no_frame([SMALL[0], box(1, 1, 99, 99)], SIZE, PATH)
