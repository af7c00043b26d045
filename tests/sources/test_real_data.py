"""The readers on files as published, where they are at hand. Their terms forbid to ship them with the tests.

What is said of an image is so in the whole set as in a part of it that has this image.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoseg.errors import DataError, MissingSourceError
from histoseg.sources import breastpathq, consep, digestpath, glas, monuseg, nct_crc_he
from histoseg.types import Entry
from tests.beside import real_data

REAL = real_data()

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="set HISTOSEG_REAL_DATA to a folder with the raw data sets")


def read_some(source, most, keys):
    """The samples of those keys, in that order, of a set that has at most so many images."""
    entries = {entry.key: entry for entry in source.entries(REAL)}
    assert len(entries) <= most
    return [source.read(entries[key]) for key in keys]


def num_objects(sample):
    return len(np.unique(sample.instance_map)) - 1


def test_glas():
    # 85 + 60 + 20 images (docs/protocols.md). Glands are numbered from 1 without gaps: the highest
    # grey value of each annotation.
    glands = {"train_1": 7, "train_12": 16, "testA_2": 2, "testA_10": 31, "testB_3": 1}
    samples = read_some(glas, 165, glands)
    assert [num_objects(sample) for sample in samples] == list(glands.values())
    sizes = [(522, 775), (433, 574), (453, 589), (522, 775), (522, 775)]  # As the headers of the files say.
    assert [sample.image.shape[:2] for sample in samples] == sizes
    for sample in samples:
        np.testing.assert_array_equal(sample.semantic_map, sample.instance_map > 0)
        assert 0.05 < sample.semantic_map.mean() < 0.9


def test_monuseg():
    # 37 + 14 images. The elements Region of each XML; none of these is covered by others.
    nuclei = {"TCGA-CU-A0YN-01A-02-BSB": 677, "TCGA-A7-A13E-01Z-00-DX1": 314, "TCGA-21-5784-01Z-00-DX1": 398}
    samples = read_some(monuseg, 51, nuclei)
    assert [num_objects(sample) for sample in samples] == list(nuclei.values())
    assert [sample.mpp for sample in samples] == pytest.approx([0.2485, 0.2456, 0.2527])  # The XMLs' first lines.
    for sample in samples:
        assert sample.image.shape == (1000, 1000, 3)
        inside, outside = (sample.image[sample.semantic_map == label].mean() for label in (1, 0))
        assert inside < outside - 20  # Nuclei are darker: image and outlines lie on each other.


def test_consep():
    # 14 + 27 images (Graham et al. 2019). The rows of each `inst_type`, which the reader does not use.
    nuclei = {"test_1": 865, "test_2": 245, "test_3": 394, "train_1": 850, "train_4": 80, "train_5": 20}
    samples = read_some(consep, 41, nuclei)
    assert [num_objects(sample) for sample in samples] == list(nuclei.values())
    for sample in samples:
        assert sample.image.shape == (1000, 1000, 3)
        assert set(np.unique(sample.semantic_map)) <= set(range(5))
        np.testing.assert_array_equal(sample.instance_map > 0, sample.semantic_map > 0)


def test_digestpath():
    entry = digestpath.entries(REAL)[0]
    sample = digestpath.read(entry)
    assert min(sample.image.shape[:2]) > 1000  # Sections, not patches.
    assert sample.semantic_map.shape == sample.image.shape[:2]
    assert set(np.unique(sample.semantic_map)) == {0, 1}  # Each of this part has a lesion.


@pytest.fixture
def published_key(tmp_path):
    """A key as published, in a folder of its own without its crop."""
    (found,) = REAL.rglob("100_Region 4_key.xml")
    return Path(shutil.copy(found, tmp_path))


def test_breastpathq_key_without_crop_is_named(published_key, tmp_path):
    with pytest.raises(DataError, match=r"100_Region 4_key.xml without image"):
        breastpathq.entries(tmp_path)


def test_breastpathq_published_key_is_read(published_key, tmp_path):
    Image.new("RGB", (700, 460)).save(tmp_path / "100_Region 4_crop.tif")
    (entry,) = breastpathq.entries(tmp_path)
    labels = breastpathq.read(entry).semantic_map
    assert entry.patient == "slide100"
    assert labels[82, 28] == 1  # Its first point, 28,82, is described as IDC.
    assert set(np.unique(labels)) == {0, 1, 3}  # IDC and TIL-E are its only descriptions.


def test_nct_crc_he_tiles_without_class_folders_are_not_found(tmp_path):
    tile = Path(shutil.copy(next(REAL.glob("NCT-CRC-HE*/**/*.tif")), tmp_path))
    entry = Entry(key="a", patient="a", files={"image": tile}, options={"class_id": 1})
    assert nct_crc_he.read(entry).image.shape == (224, 224, 3)
    with pytest.raises(MissingSourceError, match="no NCT-CRC-HE found"):
        nct_crc_he.entries(tmp_path)
