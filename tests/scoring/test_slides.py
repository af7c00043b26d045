"""`histoseg evaluate-slides`: stitched objects against truth in regions, by hand and against other ways."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat

from histoseg.errors import DataError
from histoseg.metrics.panoptic import count_panoptic
from histoseg.scoring._slide_scores import score_slides
from histoseg.scoring._slide_truth import find_truth
from histoseg.scoring._slides import pooled_scores, pq_by_class
from histoseg.store.objects import FileStore
from tests.command import run, succeed
from tests.scoring.drawn_slides import feature, grid, write_geojson, write_slide

# On the grid: a nucleus of 4 x 4, one of 3 x 3, and one of 4 x 4 whose left half lies in the region below.
NUCLEI = grid((22, 12, 26, 16), (30, 20, 33, 23), (58, 30, 62, 34))
KINDS = [1, 2, 2]
# The region of 40 x 30 px of the grid whose corner is at x = 20, y = 10 there, so 40 and 20 on the slide.
TRUE = grid((22, 12, 26, 15), (40, 30, 43, 33), (58, 30, 60, 34))[10:40, 20:60]
REGION = (40, 20, 120, 80)


@pytest.fixture
def results(tmp_path):
    store = FileStore(tmp_path / "results")
    write_slide(store, "A", nuclei=NUCLEI, kinds=KINDS, glands=grid((15, 5, 50, 45)))
    return store


@pytest.fixture
def truth(tmp_path):
    folder = tmp_path / "truth"
    folder.mkdir()
    return folder


def save(folder, name, values):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(values.astype(np.uint16)).save(path)


def scored(results, truth, *structures):
    return list(score_slides(results, truth, structures))


def test_label_images_by_hand(results, truth):
    save(truth, "nuclei/A_x40_y20_mpp0.5.png", TRUE)
    [region] = scored(results, truth)
    counts = region.image.objects
    # A pair shares 12 of 16 pixels, one is cut by the border in both: 8 of 8. One was missed, one invented.
    assert (counts.tp, counts.fp, counts.fn) == (2, 1, 1)
    assert region.scores["sq"] == pytest.approx((12 / 16 + 1) / 2)
    assert region.scores["dq"] == pytest.approx(2 / 3)
    assert region.scores["pq"] == pytest.approx((12 / 16 + 1) / 3)
    # True are 12 + 9 + 8 pixels, predicted 16 + 9 + 8, both 12 + 8.
    assert region.scores["dice"] == pytest.approx(2 * 20 / (29 + 33))
    assert "mpq" not in region.scores


def test_outlines_of_qupath_by_hand(results, truth):
    objects = [
        feature("Nucleus", 44, 24, 52, 30),  # As above, in pixels of the slide
        feature("nuclei: lymphocyte", 80, 60, 86, 66),
        feature("Lymphocyte", 116, 60, 124, 68),  # Reaches beyond the region, as what was found does
        feature("lymphocyte", 150, 100, 160, 110),  # Lies elsewhere
    ]
    write_geojson(truth, "A", feature("Region*", *REGION), *objects)
    [region] = scored(results, truth)
    assert region.truth.box == REGION
    assert region.truth.instance_map.shape == (60, 80)
    counts = region.image.objects
    assert (counts.tp, counts.fp, counts.fn) == (2, 1, 1)
    assert region.scores["pq"] == pytest.approx((12 / 16 + 1) / 3)
    # The first true nucleus has no class, so it is not among these: lymphocytes are one pair, one missed, one invented.
    assert dict(zip(region.classes, region.image.by_class, strict=True))["lymphocyte"].pq == pytest.approx(1 / 2)
    assert region.scores["mpq"] == pytest.approx(1 / 2)


def test_what_was_found_is_its_own_truth_at_any_resolution(results, truth):
    save(truth, "nuclei/A_x0_y0_mpp0.5.png", NUCLEI)
    save(truth, "nuclei/A_x0_y0.png", np.kron(NUCLEI, np.ones((2, 2))))
    save(truth, "gland/A_x4_y6_mpp0.125.png", np.kron(grid((15, 5, 50, 45)), np.ones((4, 4)))[12:, 8:])
    regions = scored(results, truth)
    assert [region.truth.scale for region in regions] == [2, 1, 0.5]
    assert [region.scores["pq"] for region in regions] == [1, 1, 1]
    assert [region.scores["dice"] for region in regions] == [1, 1, 1]


@pytest.mark.parametrize("corner", [(0, 0), (7, 3), (40, 31)])
def test_regions_are_crops_of_the_whole(results, truth, corner):
    """Against the counts of the same crop of the maps that the objects were made of."""
    left, top = corner
    rng = np.random.default_rng(left)
    true = rng.permutation(200)[NUCLEI] * (NUCLEI > 0) + grid((60, 50, 64, 54))
    true = np.roll(true, (1, 0), (0, 1)).astype(np.int32)
    crop = true[top : top + 45, left : left + 50]
    save(truth, f"nuclei/A_x{2 * left}_y{2 * top}_mpp0.5.png", crop)
    [region] = scored(results, truth)
    expected = count_panoptic(crop, NUCLEI[top : top + 45, left : left + 50])
    counts = region.image.objects
    assert (counts.tp, counts.fp, counts.fn) == (expected.tp, expected.fp, expected.fn)
    assert counts.sum_iou == pytest.approx(expected.sum_iou)


def test_what_is_not_to_be_scored_counts_for_nobody(results, truth):
    nucleus = feature("nucleus", 44, 24, 52, 32)
    hidden = feature("Ignore*", 58, 38, 68, 48)  # Over the second nucleus
    write_geojson(truth, "A", feature("Region", 40, 20, 110, 80), nucleus, hidden)
    [region] = scored(results, truth)
    assert region.scores["pq"] == 1


def test_a_region_may_have_any_outline(results, truth):
    triangle = feature("Region", ring=[(40, 20), (110, 20), (40, 80)])
    write_geojson(truth, "A", triangle, feature("nucleus", 44, 24, 52, 32))
    [region] = scored(results, truth)
    # The second nucleus has its middle at 63, 43: 23 / 70 + 23 / 60 < 1, so it is in the triangle and wrong.
    assert (region.image.objects.tp, region.image.objects.fp) == (1, 1)
    assert region.truth.known.mean() == pytest.approx(0.5, abs=0.02)


def test_each_structure_that_a_file_annotates_is_scored_in_each_of_its_regions(results, truth):
    write_geojson(
        truth,
        "A",
        feature("Region", 0, 0, 110, 100),
        feature("Region", 100, 50, 200, 160),
        feature("gland", 30, 10, 100, 90),
        feature("nucleus", 116, 60, 124, 68),
    )
    regions = scored(results, truth)
    assert [(region.truth.name, region.truth.structure) for region in regions] == [
        ("region 1", "gland"),
        ("region 1", "nuclei"),
        ("region 2", "gland"),
        ("region 2", "nuclei"),
    ]
    assert [region.image.objects.tp for region in regions] == [1, 0, 0, 1]
    assert np.isnan(regions[2].scores["pq"])  # No gland, and none was found
    assert {region.truth.structure for region in scored(results, truth, "gland")} == {"gland"}


def test_scores_of_all_regions_by_hand(results, truth):
    save(truth, "nuclei/A_x40_y20_mpp0.5.png", TRUE)
    save(truth, "nuclei/A_x0_y0_mpp0.5.png", NUCLEI)
    found = pooled_scores(scored(results, truth))
    # The region by hand, and one in which all three are right.
    assert found["nuclei.pq"] == pytest.approx((1.75 / 3 + 1) / 2)
    assert found["nuclei.pq_pooled"] == pytest.approx((1.75 + 3) / (5 + 1))
    assert not [name for name in found if "otsu" in name]


def test_listed_label_images_with_classes(results, truth):
    save(truth, "one.png", TRUE)
    types = np.array([0, 9, 9, 4])[TRUE]  # Epithelial twice, lymphocyte once
    save(truth, "types.png", types.astype(np.uint8))
    entry = {"slide": "A", "structure": "nuclei", "labels": "one.png", "x": 40, "y": 20, "mpp": 0.5}
    listed = {"regions": [{**entry, "types": "types.png", "classes": {"4": "Lymphocyte", "9": "epithelial"}}]}
    (truth / "regions.json").write_text(json.dumps(listed))
    regions = scored(results, truth)
    # Epithelial: one pair, one missed. Lymphocytes: one pair, one invented.
    by_class = pq_by_class(regions)
    assert by_class["nuclei.epithelial"] == pytest.approx(0.75 / 1.5)
    assert by_class["nuclei.lymphocyte"] == pytest.approx(1 / 1.5)
    assert regions[0].scores["mpq"] == pytest.approx((0.75 + 1) / 3)


def test_lists_of_matlab_with_classes(results, truth):
    savemat(truth / "one.mat", {"inst_map": TRUE, "id": np.array([[1], [2], [3]]), "class": np.array([[1], [1], [2]])})
    entry = {"slide": "A", "structure": "nuclei", "labels": "one.mat", "x": 40, "y": 20, "mpp": 0.5}
    listed = {"regions": [{**entry, "classes": {"1": "epithelial", "2": "lymphocyte"}}]}
    (truth / "regions.json").write_text(json.dumps(listed))
    assert scored(results, truth)[0].scores["mpq"] == pytest.approx((0.75 + 1) / 3)


def test_missed_classes_count_where_nothing_was_found(tmp_path, truth):
    store = FileStore(tmp_path / "results")
    write_slide(store, "A", nuclei=grid())
    write_geojson(truth, "A", feature("Region", *REGION), feature("lymphocyte", 44, 24, 52, 30))
    [region] = scored(store, truth)
    assert region.scores["mpq"] == 0
    assert region.image.by_class[1].fn == 1


def test_slides_with_different_classes_are_pooled_by_name(results, truth):
    write_slide(results, "B", nuclei=NUCLEI, kinds=[2, 1, 1], types=("lymphocyte", "epithelial"))
    for name in "AB":
        objects = [feature("epithelial", 44, 24, 52, 32), feature("lymphocyte", 60, 40, 66, 46)]
        write_geojson(truth, name, feature("Region", 40, 20, 110, 80), *objects)
    found = pq_by_class(scored(results, truth))
    assert found == {"nuclei.epithelial": 1, "nuclei.lymphocyte": 1}
    assert pooled_scores(scored(results, truth))["nuclei.mpq"] == 1


def test_files_and_lines(results, truth, tmp_path, capsys):
    save(truth, "nuclei/A_x40_y20_mpp0.5.png", TRUE)
    save(truth, "nuclei/absent_x0_y0.png", TRUE)
    out = tmp_path / "scores"
    printed = succeed(capsys, "evaluate-slides", results.root, "--truth", truth, "--out", out)
    assert printed.splitlines()[-1] == str(out)
    assert "absent" in printed
    rows = pd.read_csv(out / "regions.csv")
    assert rows.loc[0, ["slide", "structure", "true", "found", "matched"]].tolist() == ["A", "nuclei", 3, 3, 2]
    assert rows.loc[0, ["left_px", "top_px", "right_px", "bottom_px"]].tolist() == [*REGION]
    assert rows.loc[0, "pq"] == pytest.approx(1.75 / 3, abs=1e-6)
    scores = json.loads((out / "scores.json").read_text())
    assert scores["scores"]["nuclei.pq_pooled"] == pytest.approx(1.75 / 3)
    code, _, errors = run(capsys, "evaluate-slides", results.root, "--truth", truth, "--structure", "gland")
    assert code == 1
    assert "gland" in errors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda truth: write_geojson(truth, "A", feature("nucleus", 1, 1, 9, 9)), ["A.geojson", "Region"]),
        (lambda truth: save(truth, "nuclei/A_x190_y0.png", TRUE), ["A_x190_y0.png", "40x30", "200x160"]),
        (lambda truth: save(truth, "nuclei/A_x0_y0_mpp50.png", TRUE), ["A_x0_y0_mpp50.png", "50"]),
        (lambda truth: save(truth, "vessel/A_x0_y0.png", TRUE), ["vessel", "gland"]),
        (lambda truth: save(truth, "nuclei/B_x0_y0.png", TRUE), ["B", "A"]),
        (lambda truth: (truth / "regions.json").write_text('{"regions": [{"slide": "A"}]}'), ["regions.json"]),
        (lambda truth: None, ["regions.json", ".geojson"]),
    ],
)
def test_truth_that_does_not_fit_is_refused(results, truth, change, words):
    change(truth)
    with pytest.raises(DataError) as refused:
        scored(results, truth)
    assert all(word in str(refused.value) for word in words), refused.value


def test_truth_is_found_by_slide(truth):
    save(truth, "nuclei/TCGA-AA-3660_x12_x1_y2_mpp0.25.png", TRUE)
    write_geojson(truth, "A")
    found = find_truth(truth)
    assert [*found] == ["A", "TCGA-AA-3660_x12"]
    [image] = found["TCGA-AA-3660_x12"]
    assert (image.structure, image.x, image.y, image.mpp) == ("nuclei", 1, 2, 0.25)
