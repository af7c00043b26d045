"""The readers on real files, where they are at hand. Their terms forbid to ship them with the tests."""

import os
from pathlib import Path

import numpy as np
import pytest

from histoseg.errors import DataError, MissingSourceError
from histoseg.sources import breastpathq, consep, digestpath, glas, monuseg, nct_crc_he
from histoseg.types import Entry

BESIDE = Path(__file__).parents[2].parent / "shared" / "data" / "real"
REAL = Path(os.environ.get("HISTOSEG_REAL_DATA", BESIDE))

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="set HISTOSEG_REAL_DATA to a folder with the raw data sets")


def test_glas():
    entries = glas.entries(REAL)
    assert len(entries) == 40  # Counted: 24 train, 10 testA, 6 testB pairs.
    sample = glas.read(next(entry for entry in entries if entry.key == "train_1"))
    assert sample.image.shape == (522, 775, 3)  # As published.
    assert 0.05 < sample.semantic_map.mean() < 0.9
    # Glands are numbered from 1 without gaps: the sums of the highest grey values of train_1 and of all 40 annotations.
    assert len(np.unique(sample.instance_map)) - 1 == 7
    assert sum(len(np.unique(glas.read(entry).instance_map)) - 1 for entry in entries) == 365


def test_monuseg():
    entries = monuseg.entries(REAL)
    assert len(entries) == 15  # Counted: 8 training and 7 test pairs; the slides beside them do not count.
    sample = monuseg.read(next(entry for entry in entries if entry.key == "TCGA-CU-A0YN-01A-02-BSB"))
    assert sample.image.shape == (1000, 1000, 3)
    assert sample.mpp == pytest.approx(0.2485)  # The first line of its XML.
    inside, outside = (sample.image[sample.semantic_map == label].mean() for label in (1, 0))
    assert inside < outside - 20  # Nuclei are darker: image and outlines lie on each other.
    assert len(np.unique(sample.instance_map)) - 1 == 677  # Its XML has so many elements Region; none is covered.


def test_consep_merged():
    entries = consep.entries(REAL)
    assert len(entries) == 8  # Counted: 5 train, 3 test.
    assert {entry.options["types"] for entry in entries} == {"merged"}
    samples = [consep.read(entry) for entry in entries]
    assert all(set(np.unique(sample.semantic_map)) <= set(range(5)) for sample in samples)
    # The rows of `inst_type`, which the reader does not use, of test_1 to 3 and train_1 to 5.
    counts = [len(np.unique(sample.instance_map)) - 1 for sample in samples]
    assert counts == [865, 245, 394, 850, 293, 677, 80, 20]
    for sample in samples:
        np.testing.assert_array_equal(sample.instance_map > 0, sample.semantic_map > 0)


def test_digestpath():
    (entry,) = digestpath.entries(REAL)
    sample = digestpath.read(entry)
    assert sample.image.shape == (4249, 4099, 3)  # The size of the one pair at hand.
    assert set(np.unique(sample.semantic_map)) == {0, 1}


def test_breastpathq_key_without_crop_is_named():
    with pytest.raises(DataError, match=r"100_Region 4_key.xml without image"):
        breastpathq.entries(REAL)


def test_breastpathq_published_key_is_read(tmp_path):
    from PIL import Image

    (key,) = REAL.rglob("100_Region 4_key.xml")
    (tmp_path / key.name).write_bytes(key.read_bytes())
    Image.new("RGB", (700, 460)).save(tmp_path / "100_Region 4_crop.tif")
    (entry,) = breastpathq.entries(tmp_path)
    labels = breastpathq.read(entry).semantic_map
    assert entry.patient == "slide100"
    assert labels[82, 28] == 1  # Its first point, 28,82, is described as IDC.
    assert set(np.unique(labels)) == {0, 1, 3}  # IDC and TIL-E are its only descriptions.


def test_nct_crc_he_tiles_without_class_folders_are_not_found():
    # Two tiles at hand lie in a folder of their own without a class: the format is read, the set is not there.
    tiles = sorted((REAL / "NCT-CRC-HE").glob("*.tif"))
    entry = Entry(key="a", patient="a", files={"image": tiles[0]}, options={"class_id": 1})
    assert nct_crc_he.read(entry).image.shape == (224, 224, 3)
    with pytest.raises(MissingSourceError, match="no NCT-CRC-HE found"):
        nct_crc_he.entries(REAL)
