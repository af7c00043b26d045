"""Tiles with one class of tissue: which class a folder is, and whose a tile is."""

import numpy as np
import pytest

from histoseg.demo import tissue
from histoseg.errors import ConfigError, DataError, MissingSourceError
from histoseg.sources import _tissue, crc_tp, kather5k, nct_crc_he
from histoseg.types import EXTERNAL
from tests.sources.raw_files import grey, save


def tiles(root, folders, name="{folder}-A.tif"):
    for folder in folders:
        save(root / folder / name.format(folder=folder), grey(3, 4))


KATHER = (*_tissue.KATHER5K, "03_COMPLEX")
KATHER_NAME = "1A11_CRC-Prim-HE-07_022.tif_Row_601_Col_151 {folder}.tif"


def classes_of(source, entries):
    return {source.TASK.classes[source.read(entry).semantic_map[0, 0]] for entry in entries}


@pytest.mark.parametrize(
    ("table", "size"),
    [(_tissue.KATHER5K, 7), (_tissue.NCT_CRC_HE, 9), (_tissue.CRC_TP, 6)],
    ids=["5k", "nct", "crc-tp"],
)
def test_harmonised_classes_exist_and_are_given_once(table, size):
    assert set(table.values()) <= set(_tissue.CLASSES)
    assert len(set(table.values())) == len(table) == size


def test_kather5k_complex_stroma_is_left_out_and_counted(tmp_path, caplog):
    tiles(tmp_path / "Kather_texture_2016_image_tiles_5000", KATHER, KATHER_NAME)
    with caplog.at_level("INFO"):
        entries = kather5k.entries(tmp_path)
    assert "Kather 5K: 1 tiles of complex stroma left out" in caplog.text
    assert len(entries) == 7
    assert {entry.patient for entry in entries} == {"CRC-Prim-HE-07"}
    assert classes_of(kather5k, entries) == set(_tissue.KATHER5K.values())
    assert len(kather5k.entries(tmp_path, complex_stroma="stroma")) == 8
    with pytest.raises(ConfigError, match="choose from leave-out, stroma"):
        kather5k.entries(tmp_path, complex_stroma="tumour")


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("10647_CRC-Prim-HE-10c.tif_Row_1_Col_1.tif", "CRC-Prim-HE-10"),  # Both are published names.
        ("10062_CRC-Prim-HE-02_003b.tif_Row_1_Col_301.tif", "CRC-Prim-HE-02"),
        ("17.tif", "17"),
    ],
)
def test_kather5k_patient_is_the_slide(tmp_path, name, patient):
    tiles(tmp_path, KATHER, "other {folder}.tif")
    save(tmp_path / "01_TUMOR" / name, grey())
    assert patient in {entry.patient for entry in kather5k.entries(tmp_path)}


@pytest.mark.parametrize(
    ("source", "folder", "table"),
    [
        (kather5k, "Kather_texture_2016_image_tiles_5000", _tissue.KATHER5K),
        (nct_crc_he, "NCT-CRC-HE-100K", _tissue.NCT_CRC_HE),
        (nct_crc_he, "CRC-VAL-HE-7K", _tissue.NCT_CRC_HE),
        (crc_tp, "Fold2/Training", _tissue.CRC_TP),
    ],
)
def test_missing_or_empty_class_folder(tmp_path, source, folder, table):
    *rest, last = table
    tiles(tmp_path / folder, rest)
    with pytest.raises(DataError, match=rf"no folder {last}; {source.TASK.title} has one per class"):
        source.entries(tmp_path)
    (tmp_path / folder / last).mkdir()
    with pytest.raises(DataError, match=rf"{last}: a class without image"):
        source.entries(tmp_path)


def test_nct_parts(tmp_path):
    tiles(tmp_path / "NCT-CRC-HE-100K-NONORM" / "NCT-CRC-HE-100K-NONORM", _tissue.NCT_CRC_HE)
    tiles(tmp_path / "CRC-VAL-HE-7K", _tissue.NCT_CRC_HE, "{folder}-TCGA-A.tif")
    entries = nct_crc_he.entries(tmp_path)
    assert [(entry.key, entry.fold) for entry in entries[:2]] == [("ADI-A", None), ("ADI-TCGA-A", EXTERNAL)]
    assert {entry.fold for entry in nct_crc_he.entries(tmp_path, part="7k")} == {EXTERNAL}
    assert {entry.fold for entry in nct_crc_he.entries(tmp_path, part="100k")} == {None}
    assert classes_of(nct_crc_he, entries) == set(_tissue.CLASSES)
    with pytest.raises(ConfigError, match="choose from 100k, 7k, all"):
        nct_crc_he.entries(tmp_path, part="107k")


def test_nct_100k_twice(tmp_path):
    for folder in ("NCT-CRC-HE-100K-NONORM", "NCT-CRC-HE-100K"):
        tiles(tmp_path / folder, _tissue.NCT_CRC_HE)
    with pytest.raises(DataError, match=r"NONORM: the same 100,000 tiles as .*NCT-CRC-HE-100K; keep one"):
        nct_crc_he.entries(tmp_path)


def test_nct_part_that_is_not_there(tmp_path):
    tiles(tmp_path / "CRC-VAL-HE-7K", _tissue.NCT_CRC_HE)
    with pytest.raises(
        MissingSourceError, match="for NCT-CRC-HE-100K or NCT-CRC-HE-100K-NONORM with a folder per class"
    ):
        nct_crc_he.entries(tmp_path, part="100k")


def test_crc_tp_divisions_hold_the_same_tiles(tmp_path):
    for folder in ("Fold1/Training", "Fold2/Training", "Fold2/Testing"):
        tiles(tmp_path / folder, (*_tissue.CRC_TP, "Complex"))
    assert len(crc_tp.entries(tmp_path)) == 12
    assert len(crc_tp.entries(tmp_path, complex_stroma="stroma")) == 14
    assert crc_tp.entries(tmp_path, division="1")[0].key == "Training_Benign_Benign-A"
    with pytest.raises(ConfigError, match="choose from 2, 1"):
        crc_tp.entries(tmp_path, division="3")


def test_made_up_tissues_differ():
    # A rule of thumb with mean colours alone must tell most pairs apart, else a network could not learn from few tiles.
    rng = np.random.default_rng(0)
    colours = {
        name: np.mean([tissue.draw_tissue(name, 96, rng).mean(axis=(0, 1)) for _ in range(4)], axis=0)
        for name in _tissue.CLASSES
    }
    pairs = [(a, b) for a in _tissue.CLASSES for b in _tissue.CLASSES if a < b]
    distances = [np.linalg.norm(colours[a] - colours[b]) for a, b in pairs]
    assert np.mean(np.array(distances) > 15) > 0.7
