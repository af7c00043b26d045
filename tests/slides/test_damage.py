"""Damaged slides are refused by one line that names the file, what is wrong, and what to do; no process dies of it."""

import numpy as np
import pytest
import tifffile

from histoseg.demo.slides import write_slide
from histoseg.errors import DataError
from histoseg.slides.reader import open_slide
from tests.slides.drawn import piece_of_tissue, save_slide


def read_all(path):
    with open_slide(path) as slide:
        for level in slide._source.levels:
            slide.read(0, 0, level.height, level.width, slide.mpp * level.scale)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write_slide(folder / "jpeg.svs", width=1000, height=800, mpp=0.5)
    image = piece_of_tissue((600, 700), np.random.default_rng(0))
    save_slide(folder / "jpeg2000.tif", image, levels=(2,), compression="jpeg2000")
    save_slide(folder / "zlib.tif", image, levels=(2,), compression="zlib")
    for path in folder.iterdir():
        read_all(path)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


NAMES = ("jpeg.svs", "jpeg2000.tif", "zlib.tif")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.0005, 0.03, 0.3, 0.7, 0.97, 0.9999])
def test_a_truncated_file(tmp_path, bodies, name, share):
    (tmp_path / name).write_bytes(bodies[name][: int(share * len(bodies[name]))])
    with pytest.raises(DataError, match=rf"{name}: .*; fetch the file again") as caught:
        read_all(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_tile_that_ends_in_zeros(tmp_path, bodies, name):
    """As in a file whose download left a gap."""
    (tmp_path / name).write_bytes(bodies[name])
    with tifffile.TiffFile(tmp_path / name) as file:
        start, length = file.pages[0].dataoffsets[1], file.pages[0].databytecounts[1]
    body = bytearray(bodies[name])
    body[start + length // 2 : start + length] = bytes(length - length // 2)
    (tmp_path / name).write_bytes(body)
    with pytest.raises(DataError, match=rf"{name}: the tile at row 0, column 1 of level 0"):
        read_all(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_changed_bytes_anywhere(tmp_path, bodies, name):
    """Each is read, or refused; nothing else is raised. What a codec repairs is not noticed."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(25):
        body = np.frombuffer(bodies[name], np.uint8).copy()
        places = rng.integers(len(body), size=10)
        body[places] = rng.integers(256, size=10)
        body[rng.integers(600, size=2)] ^= 1  # Often in the header
        (tmp_path / name).write_bytes(body.tobytes())
        try:
            read_all(tmp_path / name)
        except DataError:
            refused += 1
    assert refused > 5


def test_what_is_no_slide(tmp_path):
    (tmp_path / "notes.svs").write_text("no slide")
    (tmp_path / "empty.svs").touch()
    (tmp_path / "folder.svs").mkdir()
    for name in ("notes.svs", "empty.svs", "folder.svs", "absent.svs"):
        with pytest.raises(DataError, match=name):
            open_slide(tmp_path / name)


def test_a_level_without_its_tiles(tmp_path, bodies):
    """A page that says it has more rows than it has tiles for."""
    path = tmp_path / "short.svs"
    path.write_bytes(bodies["jpeg.svs"])
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["ImageLength"].overwrite(800 + 512)
    with pytest.raises(DataError, match=r"short\.svs: level 0 has 16 tiles, and its size needs 24"):
        open_slide(path)
