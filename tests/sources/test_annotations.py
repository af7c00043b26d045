"""Label maps worked by hand, and every fault of raw files that a reader must name."""

import numpy as np
import pytest
from PIL import Image

from histoseg.errors import ConfigError, DataError
from histoseg.files.labels import read_labels
from histoseg.files.notes import collect
from histoseg.sources import breastpathq, digestpath, glas, gleason2019, monuseg, synthetic
from histoseg.types import IGNORE, Entry
from tests.sources.raw_files import grey, save, write

# BreastPathQ

KEY = (
    '<?xml version="1.0"?>\r\n<session>\r\n<image identifier="x"><overlays>'
    '<graphic description="IDC"><point-list><point>20,30</point></point-list></graphic>'
    '<graphic description="TIL-E"><point-list><point>40,30</point></point-list></graphic>'
    '<graphic description="stroma?"><point-list><point>60,60</point></point-list></graphic>'
    "</overlays>\r\n</session>"
)


def breastpathq_set(root, key=KEY):
    save(root / "cells" / "7_Region 1_crop.tif", grey(70, 80))
    write(root / "cells" / "7_Region 1_key.xml", key)
    return breastpathq.entries(root)[0]


def test_breastpathq_draws_discs_in_order(tmp_path):
    labels = breastpathq.read(breastpathq_set(tmp_path)).semantic_map
    # A lone disc of radius 12 has 441 pixels (lattice points with x*x + y*y <= 144); here the second, 20 px to the
    # right, covers part of the first.
    assert (labels == 3).sum() == pytest.approx(441, rel=0.04)  # OpenCV rounds the edge its own way.
    rows, columns = np.nonzero(labels == 3)
    assert (columns.mean(), rows.mean()) == pytest.approx((40, 30))
    assert labels[30, 20] == 1
    assert labels[30, 30] == 3  # 10 px from both: the later one wins.
    assert labels[60, 60] == 0  # A description that no list has.


def test_breastpathq_counts_points_of_unknown_description(tmp_path):
    with collect() as notes:
        breastpathq.read(breastpathq_set(tmp_path))
    assert notes == {"points of unknown description left out": 1}


def test_breastpathq_refuses_a_key_of_unknown_descriptions(tmp_path):
    key = KEY.replace("IDC", "Zyste")  # Two of three points are then unknown.
    with pytest.raises(DataError, match=r"key.xml: 2 of 3 are points of unknown description.*'Zyste', 'stroma\?'"):
        breastpathq.read(breastpathq_set(tmp_path, key))


def test_breastpathq_counts_points_outside_and_refuses_a_key_of_the_slide(tmp_path):
    # The image has 80 x 70 px and discs a radius of 12: the first has pixels in it, the second none.
    entry = breastpathq_set(tmp_path, KEY.replace("60,60", "80,-5").replace("20,30", "99,30").replace("stroma?", "UDH"))
    with collect() as notes:
        assert breastpathq.read(entry).semantic_map[0, 79] == 2
    assert notes == {"points outside the image left out": 1}
    with pytest.raises(DataError, match=r"2 of 3 are points outside the image, .*80x70 px"):
        breastpathq.read(
            breastpathq_set(
                tmp_path, KEY.replace("20,30", "2000,30").replace("40,30", "9e9,1").replace("stroma?", "UDH")
            )
        )


@pytest.mark.parametrize(("spelling", "label"), [("MC- E", 1), ("MC - C", 1), ("DCIS 2", 1), ("UDH", 2), ("TIL-S", 3)])
def test_breastpathq_knows_the_published_spellings(tmp_path, spelling, label):
    sample = breastpathq.read(breastpathq_set(tmp_path, KEY.replace("stroma?", spelling)))
    assert sample.semantic_map[60, 60] == label


def test_breastpathq_repairs_only_the_known_fault():
    assert breastpathq.close_image(b"<session><image></session>") == b"<session><image></image></session>"
    assert breastpathq.close_image(b"<session><image></image></session>") == b"<session><image></image></session>"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</graphic>", "", "not well-formed XML"),
        ("20,30", "20;30", r"point '20;30'; expected two numbers"),
        ("20,30", "nan,3", "point 'nan,3'"),
    ],
)
def test_breastpathq_faults(tmp_path, old, new, message):
    with pytest.raises(DataError, match=message):
        breastpathq.read(breastpathq_set(tmp_path, KEY.replace(old, new, 1)))


def test_xml_that_declares_entities_is_refused(tmp_path):
    bomb = KEY.replace("<session>", '<!DOCTYPE s [<!ENTITY a "b">]><session>', 1)
    with pytest.raises(DataError, match="not well-formed XML"):
        breastpathq.read(breastpathq_set(tmp_path, bomb))


def test_duplicate_keys(tmp_path):
    for name in ("7_Region 1", "7_Region-1"):  # Both become 7_Region-1.
        save(tmp_path / "cells" / f"{name}_crop.tif", grey(8, 8))
        write(tmp_path / "cells" / f"{name}_key.xml", KEY)
    with pytest.raises(DataError, match="its key '7_Region-1' is also that of"):
        breastpathq.entries(tmp_path)


def test_two_copies_of_a_file(tmp_path):
    breastpathq_set(tmp_path)
    save(tmp_path / "copy" / "7_Region 1_crop.tif", grey(8, 8))
    with pytest.raises(DataError, match="keep one of the two copies"):
        breastpathq.entries(tmp_path)


# MoNuSeg


def region(*vertices):
    return "<Region><Vertices>" + "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in vertices) + "</Vertices></Region>"


SQUARE = region((10, 5), (19, 5), (19, 14), (10, 14))
OVERLAP = region((15, 10), (24, 10), (24, 19), (15, 19))


def monuseg_set(root, regions, mpp=""):
    name = "TCGA-AB-1234-01Z-00-DX1"
    save(root / "MoNuSeg Training Data" / "Tissue Images" / f"{name}.tif", grey(30, 40))
    xml = f"<Annotations{mpp}><Annotation><Regions>{regions}</Regions></Annotation></Annotations>"
    write(root / "MoNuSeg Training Data" / "Annotations" / f"{name}.xml", xml)
    return monuseg.entries(root)[0]


def test_monuseg_fills_the_union_of_regions(tmp_path):
    entry = monuseg_set(tmp_path, SQUARE + OVERLAP)
    labels = monuseg.read(entry).semantic_map
    # Edges included: 10x10 pixels each, of which 5x5 are common: 100 + 100 - 25.
    assert labels.sum() == 175
    assert labels[5:15, 10:20].all()
    assert labels[10:20, 15:25].all()
    assert entry.patient == "TCGA-AB-1234"
    # The second region covers the common 25 pixels.
    assert np.bincount(monuseg.read(entry).instance_map.ravel()).tolist() == [30 * 40 - 175, 75, 100]


def test_monuseg_tolerates_vertices_outside_and_degenerate_regions(tmp_path):
    beyond = region((-5, -5), (4, -5), (4, 4), (-5, 4))
    regions = beyond + SQUARE + region((30, 20), (31, 21)) + region()
    with collect() as notes:
        labels = monuseg.read(monuseg_set(tmp_path, regions)).semantic_map
    # What lies inside: columns 0 to 4 of rows 0 to 4, and the square's 10 x 10. Two vertices enclose nothing.
    assert labels.sum() == 125
    assert notes == {"regions with fewer than three vertices left out": 2}


@pytest.mark.parametrize(("stated", "mpp"), [(' MicronsPerPixel="0.2485"', 0.2485), ("", 0.25)])
def test_monuseg_mpp(tmp_path, stated, mpp):
    # Stated in the file, else that of a 40x scan.
    assert monuseg.read(monuseg_set(tmp_path, SQUARE, stated)).mpp == pytest.approx(mpp)


@pytest.mark.parametrize(
    ("regions", "mpp", "message"),
    [
        ("<Region>", "", "not well-formed XML"),
        ('<Region><Vertex X="1"/></Region>', "", "vertex without the numbers"),
        (SQUARE, ' MicronsPerPixel="n/a"', "MicronsPerPixel is 'n/a'"),
        (SQUARE, ' MicronsPerPixel="0"', "MicronsPerPixel is 0.0"),
    ],
)
def test_monuseg_faults(tmp_path, regions, mpp, message):
    with pytest.raises(DataError, match=message):
        monuseg.read(monuseg_set(tmp_path, regions, mpp))


def test_monuseg_refuses_other_xml(tmp_path):
    entry = monuseg_set(tmp_path, SQUARE)
    write(entry.files["annotation"], "<html/>")
    with pytest.raises(DataError, match="root element html; expected Annotations"):
        monuseg.read(entry)


# GlaS


def glas_set(root, instance_map, rows="train_1,4, benign, healthy\n"):
    save(root / "train_1.bmp", grey(20, 30))
    save(root / "train_1_anno.bmp", instance_map)
    write(root / "Grade.csv", "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)\n" + rows)


def test_glas_every_gland_is_one_class(tmp_path):
    instance_map = np.zeros((20, 30), np.uint8)
    instance_map[2:6, 3:8], instance_map[10:12, 10:20] = 1, 7
    glas_set(tmp_path, instance_map)
    (entry,) = glas.entries(tmp_path)
    assert entry.patient == "patient4"
    sample = glas.read(entry)
    assert sample.semantic_map.sum() == 4 * 5 + 2 * 10
    np.testing.assert_array_equal(sample.instance_map, instance_map)


def test_glas_mask_of_another_size(tmp_path):
    glas_set(tmp_path, np.zeros((20, 31), np.uint8))
    with pytest.raises(DataError, match=r"train_1_anno.bmp: 31x20 px, but its image train_1.bmp has 30x20 px"):
        glas.read(glas.entries(tmp_path)[0])


def test_glas_needs_grade_csv(tmp_path):
    glas_set(tmp_path, np.zeros((20, 30), np.uint8))
    (tmp_path / "Grade.csv").unlink()
    with pytest.raises(DataError, match=r"Grade.csv: not found"):
        glas.entries(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"), [("name,patient ID\ntrain_2,1\n", "no row for train_1"), ("a,b\n1,2\n", "expected name and")]
)
def test_glas_grade_csv_faults(tmp_path, text, message):
    glas_set(tmp_path, np.zeros((20, 30), np.uint8))
    write(tmp_path / "Grade.csv", text)
    with pytest.raises(DataError, match=message):
        glas.entries(tmp_path)


def test_annotation_in_colour_is_refused(tmp_path):
    coloured = grey(20, 30)
    coloured[0, 0] = (255, 0, 0)
    glas_set(tmp_path, coloured)
    with pytest.raises(DataError, match="expected one channel of class ids or numbers; save"):
        glas.read(glas.entries(tmp_path)[0])


# DigestPath


def test_digestpath_masks_are_cut_at_127_and_negatives_are_empty(tmp_path):
    save(tmp_path / "tissue-train-pos-v1" / "0.jpg", grey(16, 16))
    mask = np.zeros((16, 16), np.uint8)
    mask[:, :8] = 255
    save(tmp_path / "tissue-train-pos-v1" / "0_mask.jpg", mask)  # A block edge at 8: JPEG keeps it exactly.
    save(tmp_path / "tissue-train-neg" / "1.jpg", grey(16, 16))
    (entry,) = digestpath.entries(tmp_path)
    np.testing.assert_array_equal(digestpath.read(entry).semantic_map, mask // 255)
    negative = digestpath.entries(tmp_path, negatives="with")[1]
    assert not digestpath.read(negative).semantic_map.any()


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("2018_61918_1-3_2019-02-25 21_58_22-lv1-22183-14306-5103-3475", "2018_61918"),
        ("18-09926A_2019-05-08 23_45_46-lv1-100-200-300-400", "18-09926"),
        ("D201900213_2019-05-21 10_52_37-lv1-1-2-3-4", "D201900213"),
        ("17", "17"),  # A renamed file tells nothing.
    ],
)
def test_digestpath_patient_is_the_case_number(tmp_path, name, patient):
    save(tmp_path / "tissue-train-pos-v1" / f"{name}.jpg", grey(8, 8))
    save(tmp_path / "tissue-train-pos-v1" / f"{name}_mask.jpg", np.zeros((8, 8)))
    assert digestpath.entries(tmp_path)[0].patient == patient


# Gleason 2019


def gleason_set(root, **maps):
    save(root / "Train_imgs" / "slide001_core003.jpg", grey(4, 4))
    for rater, labels in maps.items():
        save(root / f"Maps{rater[-1]}_T" / "slide001_core003_classimg_nonconvex.png", labels)


def test_gleason_ids_above_5_are_benign_before_the_vote(tmp_path):
    benign, slip = np.full((4, 4), 1), np.full((4, 4), 6)
    slip[0, 0] = 7
    gleason_set(tmp_path, rater1=benign, rater2=slip, rater3=np.full((4, 4), 3))
    (entry,) = gleason2019.entries(tmp_path, consensus="majority")
    # 1, 6 -> 1 and 3: two votes for benign everywhere; had 6 counted as a label of its own, there would be a tie.
    assert (gleason2019.read(entry).semantic_map == 1).all()
    assert entry.patient == "slide001"


def test_gleason_undecided_pixels_are_ignored(tmp_path):
    gleason_set(tmp_path, rater1=np.full((4, 4), 3), rater5=np.full((4, 4), 4))
    (entry,) = gleason2019.entries(tmp_path, consensus="majority")
    assert (gleason2019.read(entry).semantic_map == IGNORE).all()  # One vote each.


def test_gleason_single_rater_and_his_missing_cores(tmp_path, caplog):
    gleason_set(tmp_path, rater1=np.full((4, 4), 3), rater5=np.full((4, 4), 4))
    (entry,) = gleason2019.entries(tmp_path, consensus="rater5")
    assert (gleason2019.read(entry).semantic_map == 4).all()
    with caplog.at_level("INFO"):
        assert gleason2019.entries(tmp_path, consensus="rater2") == []
    assert "1 of 1 cores left out" in caplog.text


def test_gleason_map_of_another_size(tmp_path):
    gleason_set(tmp_path, rater1=np.zeros((4, 5)))
    with pytest.raises(DataError, match=r"5x4 px, but its core has 4x4 px"):
        gleason2019.read(gleason2019.entries(tmp_path)[0])


def test_gleason_unknown_consensus(tmp_path):
    with pytest.raises(ConfigError, match="choose from staple, majority, rater1"):
        gleason2019.entries(tmp_path, consensus="mean")


# Synthetic


def test_class_id_out_of_range(tmp_path):
    image = save(tmp_path / "image.png", grey(4, 4))
    mask = save(tmp_path / "mask.png", np.full((4, 4), 3))
    entry = Entry(key="a", patient="a", files={"image": image, "annotation": mask})
    with pytest.raises(DataError, match=r"mask.png: class id 3; expected 0 to 2, or 255 for not labelled; correct"):
        synthetic.read(entry)


def test_labels_that_a_byte_cannot_hold(tmp_path):
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png: .* to 3000; expected whole numbers, values up to 255; correct"):
        read_labels(tmp_path / "mask.png")
