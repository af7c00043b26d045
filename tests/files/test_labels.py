"""Label maps of every kind of file, and those whose values are no labels."""

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from histoseg.errors import DataError
from histoseg.files.instances import IN_PIECES
from histoseg.files.labels import read_colour_map, read_instance_map, read_labels
from histoseg.files.mat import load_mat
from histoseg.files.notes import collect
from histoseg.types import IGNORE

IDS = np.array([[0, 300, 300, 0], [0, 0, 0, 7], [65535, 65535, 0, 7]])


def save(path, pixels, **options):
    Image.fromarray(np.asarray(pixels)).save(path, **options)
    return path


def save_hdf5(path, **arrays):
    """As MATLAB's -v7.3 does: HDF5 behind 512 bytes of its own, axes in reverse."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file[name] = np.asarray(values).T
    heading = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b"\0" * 8 + b"\0\2" + b"IM"
    with path.open("r+b") as file:
        file.write(heading)
    return path


def discs(values, side=300):
    """A disc of radius 30 for each value, in rows of three."""
    labels = np.zeros((side, side), np.int32)
    for i, value in enumerate(values):
        cv2.circle(labels, (50 + 100 * (i % 3), 50 + 100 * (i // 3)), 30, int(value), -1)
    return labels


WRITERS = {
    "16.png": lambda path: save(path, IDS.astype(np.uint16)),
    "16.tif": lambda path: save(path, IDS.astype(np.uint16)),
    "32.tif": lambda path: save(path, IDS.astype(np.int32)),
    "float.tif": lambda path: save(path, IDS.astype(np.float32)),
    "a.npy": lambda path: np.save(path, IDS) or path,
    "channel.npy": lambda path: np.save(path, IDS[None].astype(np.float64)) or path,
    "a.mat": lambda path: scipy.io.savemat(path, {"inst_map": IDS.astype(float)}) or path,
    "new.mat": lambda path: save_hdf5(path, inst_map=IDS.astype(float)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_numbers_beyond_a_byte(tmp_path, name):
    instance_map = read_instance_map(WRITERS[name](tmp_path / name))
    assert instance_map.dtype == np.int32
    np.testing.assert_array_equal(instance_map, IDS)


def test_numbers_beyond_two_bytes(tmp_path):
    path = save(tmp_path / "a.tif", IDS.astype(np.int32) * 1000)
    assert read_instance_map(path).max() == 65_535_000


@pytest.mark.parametrize("channels", [3, 4])
def test_equal_channels_and_a_full_opacity_count_for_nothing(tmp_path, channels):
    pixels = np.full((2, 3, channels), 255, np.uint8)
    pixels[:, :, :3] = np.array([[0, 1, 2], [0, 2, 2]])[:, :, None]
    assert read_labels(save(tmp_path / "a.png", pixels)).tolist() == [[0, 1, 2], [0, 2, 2]]


@pytest.mark.parametrize("bits", ["1", "L"])
def test_masks_of_one_bit(tmp_path, bits):
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert(bits)
    image.save(tmp_path / "a.png")
    assert read_labels(tmp_path / "a.png").tolist() == [[0, 1 if bits == "1" else 255]]


@pytest.mark.parametrize("read", [read_labels, read_instance_map])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0.0, 0.5]], np.float32), r"a.tif: .* values from 0.0 to 0.5; *expected .*whole numbers"),
        (np.array([[0, -3]], np.int32), r"a.tif: .* values from -3 to 0"),
        (np.array([[0, np.nan]], np.float32), r"a.tif: .* values from nan to nan"),
    ],
)
def test_values_that_are_no_labels(tmp_path, read, values, message):
    with pytest.raises(DataError, match=message):
        read(save(tmp_path / "a.tif", values))


@pytest.mark.parametrize("kind", ["int64", "uint64", "float64"])
def test_numbers_of_64_bits_are_refused_with_what_to_save(tmp_path, kind):
    tifffile.imwrite(tmp_path / "a.tif", IDS.astype(kind), photometric="minisblack")
    with pytest.raises(DataError, match=rf"a.tif: a TIFF of {kind} pixels of shape \(3, 4\); save .* 16 or 32 bits"):
        read_instance_map(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", [bool, np.uint8, np.uint16])
def test_labels_of_which_0_is_white_are_refused(tmp_path, kind):
    """ImageJ's inverting tables show the objects of a mask in black, and mean by 255 what others mean by 0."""
    tifffile.imwrite(tmp_path / "a.tif", discs([1, 2]).astype(kind), photometric="miniswhite")
    for read in (read_labels, read_instance_map):
        with pytest.raises(DataError, match=r"a.tif: labels of which 0 is white"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {"quality": 95}),
        ("a.tif", {"compression": "jpeg"}),
        ("a.webp", {"quality": 90}),
        ("a.jp2", {}),
    ],
)
def test_lossy_formats(tmp_path, name, options):
    path = save(tmp_path / name, discs(range(1, 9)).astype(np.uint8), **options)
    for read in (read_labels, read_instance_map):
        with pytest.raises(DataError, match=rf"{name}: labels in a lossy format .*as PNG"):
            read(path)
    if name != "a.webp":  # Which has colours only.
        assert read_labels(path, lossy=True).max() > 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'fortran_order': False, 'shape': (100000, 100000), }\n"),
        ("a.mat", b"MATLAB 5.0"),
        ("a.png", b"\x89PNG\r\n\x1a\n"),
        ("b.npy", b""),
    ],
)
def test_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: not a readable"):
        read_instance_map(tmp_path / name)


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[None]], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a.npy: not a readable NumPy array .*Python objects"):
        read_instance_map(tmp_path / "a.npy")


def test_an_archive_and_a_missing_array_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", a=IDS)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match="an archive of arrays"):
        read_instance_map(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"b.mat: has no labels"):
        read_instance_map(save_hdf5(tmp_path / "b.mat", inst_map=IDS), name="labels")


def test_hdf5_that_claims_more_than_it_holds(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_dataset("inst_map", (100_000, 100_000), "<f8", chunks=(100, 100))
    with pytest.raises(DataError, match=r"a.mat: .* would take 75 GiB"):
        read_instance_map(tmp_path / "a.mat")


def test_empty_arrays_of_hdf5(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["id"] = np.array([0, 1], np.uint64)  # MATLAB stores the size of an array without values.
        file["id"].attrs["MATLAB_empty"] = 1
        file.create_group("class")
    assert load_mat(tmp_path / "a.mat", ["id"])["id"].shape == (0, 1)
    with pytest.raises(DataError, match="class is not an array"):
        load_mat(tmp_path / "a.mat", ["class"])


def test_background_with_a_number(tmp_path):
    path = save(tmp_path / "a.png", (discs(range(1, 6)) + 1).astype(np.uint8))
    with pytest.raises(DataError, match=r"a.png: no pixel is 0, .* label 1 has 8\d% of the pixels"):
        read_instance_map(path)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_highest_number_as_background(tmp_path, kind):
    numbers = discs(range(1, 6))
    from_0 = np.where(numbers > 0, numbers - 1, np.iinfo(kind).max).astype(kind)
    with pytest.raises(DataError, match=rf"a.png: label {np.iinfo(kind).max} has 8\d% of the pixels"):
        read_instance_map(save(tmp_path / "a.png", from_0))


def test_a_mask_whose_objects_surround_the_rest_has_a_background(tmp_path):
    mask = np.where(discs([1]) > 0, 0, 255).astype(np.uint8)
    assert read_instance_map(save(tmp_path / "a.png", mask), instances="components").max() == 1


def test_one_object_that_fills_the_image_is_noted(tmp_path):
    with collect() as notes:
        assert (read_instance_map(save(tmp_path / "a.png", np.ones((9, 9), np.uint8))) == 1).all()
    assert notes == {"images that one object fills, without background": 1}


def test_objects_without_background_between_them(tmp_path):
    tiles = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((50, 50))).astype(np.uint8)
    np.testing.assert_array_equal(read_instance_map(save(tmp_path / "a.png", tiles)), tiles)


@pytest.mark.parametrize(
    ("scale", "method"),
    [
        (0.5, cv2.INTER_LINEAR),
        (1.7, cv2.INTER_LINEAR),
        (0.5, cv2.INTER_CUBIC),
        (1.7, cv2.INTER_CUBIC),
        (0.5, cv2.INTER_AREA),
    ],
)
def test_interpolated_numbers_are_refused(tmp_path, scale, method):
    resized = cv2.resize(discs(range(1, 10)).astype(np.uint8), None, fx=scale, fy=scale, interpolation=method)
    with pytest.raises(DataError, match=r"a.png: \d+ single pixels lie between .* nearest neighbour"):
        read_instance_map(save(tmp_path / "a.png", resized))


@pytest.mark.parametrize("quality", [75, 95])
def test_masks_that_were_jpeg_before_are_refused(tmp_path, quality):
    save(tmp_path / "a.jpg", discs([255] * 9).astype(np.uint8), quality=quality)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png: \d+ single pixels lie between .* lossy format"):
        read_instance_map(tmp_path / "a.png")


def test_interpolated_classes_are_noted(tmp_path):
    classes = discs([3, 3, 1, 3, 2, 3, 1, 3, 3]).astype(np.uint8)
    resized = cv2.resize(classes, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_LINEAR)
    with collect() as notes:
        read_labels(save(tmp_path / "a.png", classes))
        assert not notes
        read_labels(save(tmp_path / "b.png", resized))
    assert notes == {"label images whose classes blend into each other, as resizing by interpolation makes them": 1}


@pytest.mark.parametrize("scale", [0.5, 1.7])
def test_numbers_resized_by_nearest_neighbour_will_do(tmp_path, scale):
    resized = cv2.resize(discs(range(1, 10)), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(read_instance_map(save(tmp_path / "a.png", resized.astype(np.uint8))), resized)


def test_a_mask_of_0_and_255_numbers_nothing(tmp_path):
    path = save(tmp_path / "a.png", discs([255] * 8).astype(np.uint8))
    with pytest.raises(DataError, match=r"a.png: .*255 has 8 separate pieces.*--option instances=components"):
        read_instance_map(path)
    instance_map = read_instance_map(path, instances="components")
    assert np.unique(instance_map).tolist() == list(range(9))


def test_numbers_of_many_pieces_are_doubted(tmp_path):
    with collect() as notes:
        read_instance_map(save(tmp_path / "a.png", discs([1] * 5 + [2] * 4).astype(np.uint8)))
        read_instance_map(save(tmp_path / "b.png", discs([1, 1, 1, 2, 3, 4]).astype(np.uint8)))
    assert notes == {IN_PIECES: 1}


def test_pieces_that_touch_by_a_corner_are_one_and_different_numbers_are_two(tmp_path):
    path = save(tmp_path / "a.png", np.array([[1, 0, 3, 3], [0, 1, 4, 0], [0, 0, 0, 1]], np.uint8))
    found = read_instance_map(path, instances="components")
    assert found.tolist() == [[1, 0, 3, 3], [0, 1, 4, 0], [0, 0, 0, 2]]


RED, BLUE, BLACK = (255, 0, 0), (0, 0, 255), (0, 0, 0)
COLOURS = {BLACK: 0, RED: 1, BLUE: 2}


def coloured(labels, colours=(BLACK, RED, BLUE)):
    return np.array(colours, np.uint8)[labels]


def test_palettes_whose_indices_are_labels(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 2]], np.uint8), "L").convert("P")
    image.putpalette([*BLACK, *RED, *BLUE])
    image.save(tmp_path / "a.png")
    with collect() as notes:
        assert read_labels(tmp_path / "a.png").tolist() == [[0, 1], [2, 2]]
    assert notes == {"label images with a palette of colours, whose indices are taken as labels": 1}
    assert read_colour_map(tmp_path / "a.png", COLOURS).tolist() == [[0, 1], [2, 2]]


def test_palettes_whose_indices_are_sorted_colours(tmp_path):
    labels = np.zeros((20, 20), int)
    labels[:12], labels[12:15] = 2, 1
    image = Image.fromarray(coloured(labels)).quantize(3)  # Sorted by lightness or frequency, not by class.
    image.save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png: a palette image in which index 0 has the colour .* is black"):
        read_labels(tmp_path / "a.png")
    assert read_colour_map(tmp_path / "a.png", COLOURS).tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("greys", "is_read"),
    [
        ([0, 1, 2, 3], True),
        ([0, 85, 170, 255], True),
        ([255, 170, 85, 0], True),
        ([0, 2, 3, 1], False),  # By frequency
        ([0, 1, 3, 4], False),  # Without the 2, which this image has not
    ],
)
def test_palettes_of_grey_values(tmp_path, greys, is_read):
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "L").convert("P")
    image.putpalette([grey for grey in greys for _ in range(3)])
    image.save(tmp_path / "a.png")
    if is_read:
        assert read_labels(tmp_path / "a.png").tolist() == [[0, 1], [2, 3]]
    else:
        with pytest.raises(DataError, match=r"a.png: .* indices \[0, 1, 2, 3\] have the grey values"):
            read_labels(tmp_path / "a.png")


def test_colours_are_classes_and_transparent_is_background(tmp_path):
    pixels = np.concatenate([coloured(np.array([[0, 1], [2, 1]])), np.full((2, 2, 1), 255, np.uint8)], axis=2)
    pixels[:, 1, 3] = 128, 0  # A class that is drawn half transparent is that class.
    assert read_colour_map(save(tmp_path / "a.png", pixels), COLOURS).tolist() == [[0, 1], [2, 0]]


def test_colours_without_a_class(tmp_path):
    pixels = coloured(np.ones((20, 20), int))
    pixels[3, 4] = (250, 4, 3)
    path = save(tmp_path / "a.png", pixels)
    with collect() as notes:
        assert read_colour_map(path, COLOURS)[3, 4] == IGNORE
    assert notes == {"pixels of a colour without a class, not labelled": 1}
    with pytest.raises(DataError, match=r"399 of 400 pixels have a colour without a class, most often #ff0000; name"):
        read_colour_map(path, {BLACK: 0, (250, 4, 3): 1})
    with pytest.raises(DataError, match=r"a.png: labels in colour, .* as grey values"):
        read_labels(path)
