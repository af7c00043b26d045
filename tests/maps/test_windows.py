import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histoseg.errors import ConfigError
from histoseg.maps.windows import MarginWindows, OverlapWindows, Window, read_windows


def draw_image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def mirrored(image, window):
    """By OpenCV: the image with as much of itself around it as the window reaches out, then cut."""
    around = max(window.margin_px + window.height, window.margin_px + window.width)
    padded = cv2.copyMakeBorder(image, *[around] * 4, cv2.BORDER_REFLECT_101)
    rows, columns = (
        slice(around + start - window.margin_px, around + start + size + window.margin_px)
        for start, size in ((window.top, window.height), (window.left, window.width))
    )
    return padded[rows, columns]


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from([0, 8, 24]),
    st.tuples(st.integers(0, 59), st.integers(0, 59)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
@settings(deadline=None)
def test_pixels_outside_of_the_image_are_mirrored(shape, margin, corner, size):
    image = draw_image(*shape)
    top, left = (min(start, side - 1) for start, side in zip(corner, shape, strict=True))
    window = Window(top=top, left=left, height=size[0], width=size[1], margin_px=margin)
    np.testing.assert_array_equal(window.read(image), mirrored(image, window))


PLANS = st.sampled_from(
    [
        MarginWindows(window_px=64, margin_px=8),
        MarginWindows(window_px=32, margin_px=0),
        OverlapWindows(window_px=32, overlap=0.25),
        OverlapWindows(window_px=48, overlap=0.9),
    ]
)


@given(st.tuples(st.integers(1, 90), st.integers(1, 90)), PLANS)
@settings(deadline=None)
def test_windows_cover_the_image_and_cores_are_its_pixels(shape, plan):
    """Put back where they are from, the cores of all windows make up the image."""
    image = draw_image(*shape)
    found, times = np.zeros_like(image), np.zeros(shape, int)
    for seen, pixels in read_windows(image, plan.over(image), 3):
        assert len(seen) == len(pixels) <= 3
        for window, part in zip(seen, pixels, strict=True):
            assert part.shape[0] % 16 == part.shape[1] % 16 == 0
            assert part.shape[0] * part.shape[1] == window.num_seen
            place = found[window.place]
            place[...] = part[window.core][: place.shape[0], : place.shape[1]]
            times[window.place] += 1
    np.testing.assert_array_equal(found, image)
    assert times.min() >= 1
    assert isinstance(plan, OverlapWindows) or times.max() == 1


def test_overlapping_windows_by_hand():
    # Windows of 96 that move by 72 over 250 pixels: 0, 72, 144, and the last flush with the end at 154.
    windows = OverlapWindows(window_px=96, overlap=0.25)
    assert windows.starts(250) == [0, 72, 144, 154]
    assert windows.starts(96) == windows.starts(20) == [0]


def test_windows_with_a_margin_by_hand():
    # Of 64 pixels 48 are predicted; of squares of 32 there is room for one, and 20 pixels need no more.
    windows = MarginWindows(window_px=64, margin_px=8)
    image = draw_image(100, 20)
    assert [(w.top, w.left, w.height, w.width) for w in windows.over(image)] == [
        (0, 0, 48, 32),
        (48, 0, 48, 32),
        (96, 0, 48, 32),
    ]
    assert {(w.height, w.width) for w in windows.over(image, 32)} == {(32, 32)}
    assert {(w.height, w.width) for w in windows.over(image, 144)} == {(144, 144)}  # At least one unit.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MarginWindows(window_px=100), r"windows.window_px = 100: .*such as 320"),
        (lambda: MarginWindows(window_px=304, margin_px=152), r"windows.window_px = 304: .*such as 320"),
        (lambda: MarginWindows(window_px=1000), r"windows.window_px = 1000: .*such as 992"),
        (lambda: MarginWindows(margin_px=4), r"windows.margin_px = 4"),
        (lambda: MarginWindows(margin_px=-8), r"windows.margin_px = -8"),
        (lambda: OverlapWindows(window_px=100), r"windows.window_px = 100"),
        (lambda: OverlapWindows(window_px=0), r"windows.window_px = 0"),
        (lambda: OverlapWindows(overlap=1.0), r"windows.overlap = 1.0"),
        (lambda: OverlapWindows(overlap=-0.1), r"windows.overlap = -0.1"),
    ],
)
def test_windows_that_cannot_be_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("wrong", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_an_image_of_another_kind_is_refused(wrong):
    with pytest.raises(Exception, match=r"(?i)type-check|jaxtyping"):
        Window(top=0, left=0, height=8, width=8).read(wrong)
