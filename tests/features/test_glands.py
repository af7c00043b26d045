"""What glands contain, how their nuclei are layered, and what is around them, by hand."""

import numpy as np
import pytest
import shapely

from histoseg.features.inside import NOWHERE, find_inside
from histoseg.features.measure import measure_glands
from histoseg.features.surroundings import nearest_distances
from tests.features.drawn import TYPES, busy_slide, slide, table, tissue_map

NEUTROPHIL, EPITHELIAL, LYMPHOCYTE, NONE = 0, 1, 2, -1


def column(drawn, name):
    return measure_glands(drawn).columns[name]


def lacking(drawn):
    return {value.column: value.reason for value in measure_glands(drawn).lacking}


def boxes(*corners):
    return np.array([*(shapely.box(*each) for each in corners), None], object)[:-1]


# A gland of 100 x 100 µm whose lumen is its inner 40 x 40; beside it one of 20 x 100 without a lumen.
GLANDS = boxes((0, 0, 100, 100), (150, 0, 170, 100))
LUMINA = boxes((30, 30, 70, 70))


def test_nuclei_are_counted_where_their_centroids_lie():
    nuclei = [(10, 10), (20, 50), (90, 90), (50, 50), (160, 50), (120, 50)]
    kinds = [EPITHELIAL, LYMPHOCYTE, NONE, LYMPHOCYTE, NEUTROPHIL, EPITHELIAL]
    drawn = slide(gland=table(shapes=GLANDS), lumen=table(shapes=LUMINA), nuclei=table(nuclei, kinds, classes=TYPES))
    # The fourth lies in the lumen, the last between the glands.
    assert column(drawn, "nuclei_all_count").tolist() == [4, 1]
    assert column(drawn, "nuclei_epithelial_count").tolist() == [1, 0]
    assert column(drawn, "nuclei_lymphocyte_count").tolist() == [2, 0]
    assert column(drawn, "nuclei_neutrophil_count").tolist() == [0, 1]
    assert column(drawn, "nuclei_in_lumen_count").tolist() == [1, 0]
    assert column(drawn, "intraepithelial_lymphocyte_count").tolist() == [1, 0]
    # One lymphocyte beside one epithelial nucleus; the second gland has none to compare with.
    assert column(drawn, "intraepithelial_lymphocytes_per_100_epithelial_nuclei") == pytest.approx(
        [100, np.nan], nan_ok=True
    )
    # Three nuclei in 100² - 40² = 8400 µm², and one in 2000.
    assert column(drawn, "epithelium_nuclei_density_per_mm2") == pytest.approx([3 / 8400e-6, 1 / 2000e-6])
    assert column(drawn, "lumen_count").tolist() == [1, 0]
    assert column(drawn, "lumen_share") == pytest.approx([0.16, 0])


def test_a_lumen_belongs_to_the_gland_that_it_shares_most_with():
    glands = boxes((0, 0, 50, 50), (50, 0, 100, 50))
    lumina = boxes((40, 0, 80, 10), (200, 0, 210, 10), (10, 20, 20, 30))  # The second lies in none.
    found = find_inside(glands, lumina, np.zeros((0, 2)))
    assert found.gland_of_lumen.tolist() == [1, NOWHERE, 0]
    assert found.shared_um2 == pytest.approx([300, 0, 100])
    drawn = slide(gland=table(shapes=glands), lumen=table(shapes=lumina))
    assert column(drawn, "lumen_share") == pytest.approx([100 / 2500, 300 / 2500])


def test_a_nucleus_on_a_shared_border_counts_once():
    glands = boxes((0, 0, 50, 50), (50, 0, 100, 50))
    found = find_inside(glands, np.zeros(0, object), np.array([[50.0, 25.0], [75.0, 25.0]]))
    assert found.gland_of_nucleus.tolist() == [0, 1]


def test_a_hole_is_not_the_gland():
    ring = shapely.box(0, 0, 100, 100).difference(shapely.box(40, 40, 60, 60))
    found = find_inside(np.array([ring]), np.zeros(0, object), np.array([[50.0, 50.0], [10.0, 10.0]]))
    assert found.gland_of_nucleus.tolist() == [NOWHERE, 0]


# Six epithelial nuclei of 10 µm in a row 5 µm from the border of the first gland, then three at 20 µm and one at 10.
ROW = [(20 + 10 * i, 5) for i in range(6)]
AREA = np.pi * 25


def test_one_row_of_nuclei_is_not_stratified():
    drawn = slide(gland=table(shapes=GLANDS), nuclei=table(ROW, [EPITHELIAL] * 6, classes=TYPES, areas=[AREA] * 6))
    assert column(drawn, "epithelial_nucleus_diameter_um")[0] == pytest.approx(10)
    assert column(drawn, "epithelial_depth_median_diameters")[0] == pytest.approx(0.5)
    assert column(drawn, "epithelial_depth_iqr_diameters")[0] == pytest.approx(0)
    assert column(drawn, "stratified_share")[0] == 0
    # 6 nuclei of 10 µm beside each other take 60 of the 400 µm, less what is cut at the four corners.
    assert column(drawn, "nuclear_rows")[0] == pytest.approx(60 / (400 + 4 * (1.5 * np.sqrt(2) - 3)))
    assert np.isnan(column(drawn, "stratified_share")[1])  # No nuclei at all


def test_nuclei_behind_the_first_row_are():
    points = [*ROW, (50, 20), (60, 20), (40, 80), (30, 10)]
    kinds = [EPITHELIAL] * 10
    drawn = slide(gland=table(shapes=GLANDS), nuclei=table(points, kinds, classes=TYPES, areas=[AREA] * 10))
    # Depths in diameters: 0.5 six times, 2 three times, 1 once. Only the 2 are above 1.5.
    assert column(drawn, "stratified_share")[0] == pytest.approx(0.3)
    assert column(drawn, "epithelial_depth_median_diameters")[0] == pytest.approx(0.5)
    # Sorted 0.5 x 6, 1, 2 x 3; quartiles lie at places 2.25 and 6.75: 0.5 and 1 + 0.75 (2 - 1).
    assert column(drawn, "epithelial_depth_iqr_diameters")[0] == pytest.approx(1.25)


def test_other_nuclei_and_those_in_lumina_are_not_layered():
    points = [*ROW, *[(50, 50)] * 10, *[(10, 50)] * 10]
    kinds = [*[EPITHELIAL] * 16, *[LYMPHOCYTE] * 10]
    areas = [*[AREA] * 6, *[1.0] * 20]
    drawn = slide(
        gland=table(shapes=GLANDS),
        lumen=table(shapes=LUMINA),
        nuclei=table(points, kinds, classes=TYPES, areas=areas),
    )
    assert column(drawn, "epithelial_nucleus_diameter_um")[0] == pytest.approx(10)
    assert column(drawn, "epithelial_depth_median_diameters")[0] == pytest.approx(0.5)


def test_few_nuclei_have_no_layers():
    drawn = slide(gland=table(shapes=GLANDS), nuclei=table(ROW[:4], [EPITHELIAL] * 4, classes=TYPES))
    assert np.isnan(column(drawn, "stratified_share")).all()


def test_the_next_gland():
    # 50 µm between the two; the third is 10 right of and 20 below the second: the root of 100 + 400.
    glands = [*GLANDS, shapely.box(180, 120, 190, 130)]
    drawn = slide(gland=table(shapes=glands))
    assert column(drawn, "nearest_gland_distance_um") == pytest.approx([50, 500**0.5, 500**0.5])
    assert np.isnan(column(slide(gland=table(shapes=GLANDS[:1])), "nearest_gland_distance_um")).all()
    assert column(slide(gland=table(shapes=[])), "nearest_gland_distance_um").tolist() == []


def test_the_next_gland_is_the_one_that_all_pairs_say():
    rng = np.random.default_rng(3)
    shapes = shapely.buffer(shapely.points(rng.uniform(0, 2000, (60, 2))), rng.uniform(2, 15, 60))
    pairs = shapely.distance(shapes[:, None], shapes[None])
    np.fill_diagonal(pairs, np.inf)
    assert nearest_distances(shapes) == pytest.approx(pairs.min(axis=1))


def test_glands_at_the_surface():
    # Squares of 100 µm: the first column is background, so the second is its neighbour.
    squares = [[0, 2, 2, 2]] * 3
    glands = boxes((150, 110, 250, 210), (260, 110, 360, 210))
    drawn = slide(tissue_map(squares), gland=table(shapes=glands))
    # Of the first, the left side and half of the upper and lower ones lie in the second column: 200 of 400 µm.
    assert column(drawn, "surface_share") == pytest.approx([0.5, 0], abs=0.02)


def test_what_is_not_known_has_no_column_but_a_reason():
    alone = slide(gland=table(shapes=GLANDS))
    assert "lumen_count" not in measure_glands(alone).columns
    assert lacking(alone)["lumen_count"] == "the model finds no lumina"
    assert lacking(alone)["nuclei_{class}_count"] == "the model finds no nuclei"
    assert lacking(alone)["surface_share"] == "the slide has no classes of tissue"
    untyped = slide(gland=table(shapes=GLANDS), nuclei=table(ROW))
    assert column(untyped, "nuclei_all_count").tolist() == [6, 0]
    assert "nuclei_epithelial_count" not in measure_glands(untyped).columns
    assert lacking(untyped)["stratified_share"] == "no class of nuclei is called epithelial"
    assert lacking(untyped)["intraepithelial_lymphocyte_count"] == "no class of nuclei is called lymphocyte"


def test_each_feature_of_glands_has_columns_or_a_reason():
    from histoseg.features.measure import FEATURES

    of_glands = {feature for feature in FEATURES if feature.level == "gland"}
    for drawn in (
        busy_slide(),
        slide(gland=table(shapes=GLANDS)),
        slide(gland=table(shapes=GLANDS), nuclei=table(ROW)),
    ):
        found = measure_glands(drawn)
        assert {*found.features.values(), *(value.feature for value in found.lacking)} == of_glands
        assert not {*found.features.values()} & {value.feature for value in found.lacking}


def test_names_of_other_data_sets_are_understood():
    pannuke = ("neoplastic", "inflammatory", "connective", "dead", "Epithelial")
    drawn = slide(gland=table(shapes=GLANDS), nuclei=table(ROW, [0, 0, 0, 4, 4, 4], classes=pannuke, areas=[AREA] * 6))
    assert column(drawn, "stratified_share")[0] == 0  # Six are epithelial.
    assert column(drawn, "nuclei_neoplastic_count")[0] == 3
    assert "intraepithelial_lymphocyte_count" not in measure_glands(drawn).columns  # Inflammatory cells are more.
