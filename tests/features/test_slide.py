"""Features of slides and classes of tissue: by hand, against SciPy and pandas' kind of sums, and what must hold."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from histoseg.features.definition import Feature
from histoseg.features.measure import FEATURES, measure_slide
from histoseg.features.names import column_words
from histoseg.features.slide import TissueSquares, scopes
from histoseg.features.tissue import near_tumour
from tests.features.drawn import TYPES, busy_slide, moved, slide, table, tissue_map


def values(drawn):
    return {value.column: value for value in measure_slide(drawn).values}


def numbers(drawn):
    return {name: value.number for name, value in values(drawn).items() if value.is_column}


# Squares of 100 µm: background, tumour and stroma; two of stroma.
SQUARES = [[0, 1], [2, 2]]
# Two lymphocytes in stroma, one epithelial nucleus and one without a class in tumour, one lymphocyte in background.
NUCLEI = table(
    [(10, 150), (40, 190), (150, 50), (150, 20), (50, 50)],
    [2, 2, 1, -1, 2],
    classes=TYPES,
    areas=[20, 30, 60, 10, 1000],
)


def test_counts_and_densities_by_hand():
    found = numbers(slide(tissue_map(SQUARES), nuclei=NUCLEI))
    assert found["tissue_area_mm2"] == pytest.approx(0.03)
    assert found["tissue_area_mm2_in_stroma"] == pytest.approx(0.02)
    assert found["tissue_share_in_stroma"] == pytest.approx(2 / 3)
    assert found["nuclei_all_count"] == 4  # The one in background counts nowhere.
    assert found["nuclei_lymphocyte_count"] == 2
    assert found["nuclei_lymphocyte_density_per_mm2"] == pytest.approx(2 / 0.03)
    assert found["nuclei_lymphocyte_density_per_mm2_in_stroma"] == pytest.approx(2 / 0.02)
    assert found["nuclei_lymphocyte_density_per_mm2_in_abnormal_epithelium"] == 0  # There is tissue, but none in it.
    assert found["nuclei_lymphocyte_share"] == pytest.approx(2 / 3)  # Of those with a class
    assert found["nuclei_all_area_um2_mean"] == pytest.approx(30)
    assert found["nuclei_lymphocyte_area_um2_mean"] == pytest.approx(25)
    assert found["nuclei_lymphocyte_area_um2_sd"] == pytest.approx(50**0.5)  # (25 + 25) / (2 - 1)
    assert found["nuclei_all_area_um2_q25"] == pytest.approx(17.5)  # Of 10, 20, 30, 60
    assert found["nuclei_area_fraction"] == pytest.approx(120e-6 / 0.03)


def test_distances_by_hand():
    found = numbers(slide(tissue_map(SQUARES), nuclei=NUCLEI))
    # Of the lymphocytes (10, 150), (40, 190) and, in background, (50, 50), those in tissue count: 50 to each other.
    assert found["nuclei_lymphocyte_to_lymphocyte_nearest_um_median"] == pytest.approx(50)
    # From (150, 50), the only epithelial one, to (50, 50): neighbours may lie in other tissue.
    assert found["nuclei_epithelial_to_lymphocyte_nearest_um_median"] == pytest.approx(100)
    both = [np.hypot(140, 100), np.hypot(110, 140)]
    assert found["nuclei_lymphocyte_to_epithelial_nearest_um_median"] == pytest.approx(np.mean(both))
    assert found["nuclei_lymphocyte_to_epithelial_nearest_um_median_in_stroma"] == pytest.approx(np.mean(both))


def test_what_is_undefined_is_null_with_a_reason():
    found = values(slide(tissue_map(SQUARES), nuclei=NUCLEI))
    for column in (
        "nuclei_all_density_per_mm2_in_muscle",  # No square of muscle
        "nuclei_neutrophil_area_um2_mean",  # No neutrophil
        "nuclei_epithelial_area_um2_sd",  # One nucleus
        "nuclei_epithelial_to_epithelial_nearest_um_median",  # One nucleus
        "nuclei_lymphocyte_to_neutrophil_nearest_um_median",  # No neutrophil
    ):
        assert found[column].number is None, column
        assert found[column].reason, column
    assert found["nuclei_neutrophil_count"].number == 0
    assert found["nuclei_neutrophil_count_in_muscle"].number == 0
    assert all((value.number is None) == bool(value.reason) for value in found.values())


def test_tumour_and_stroma():
    found = numbers(slide(tissue_map([[1, 2, 2], [0, 3, 2]])))
    assert found["tumour_stroma_ratio"] == pytest.approx(1 / 3)
    assert found["stroma_share_of_tumour_and_stroma"] == pytest.approx(3 / 4)
    without = values(slide(tissue_map([[3, 3]])))
    assert without["tumour_stroma_ratio"].number is None
    assert without["stroma_share_of_tumour_and_stroma"].number is None
    only = numbers(slide(tissue_map([[2, 3]])))
    assert only["tumour_stroma_ratio"] == 0  # Stroma was found, tumour not.


def test_lymphocytes_near_tumour():
    # In a row of squares of 100 µm, tumour first: the middles of the next five lie at 100 to 500 µm.
    squares = [[1, 2, 2, 0, 3, 2, 2, 2]]
    assert near_tumour(tissue_map(squares)).tolist() == [[False, True, True, False, True, True, False, False]]
    lymphocytes = [(50, 50), (150, 50), (250, 50), (350, 50), (550, 50), (650, 50)]
    found = numbers(slide(tissue_map(squares), nuclei=table(lymphocytes, [2] * 6, classes=TYPES)))
    assert found["near_tumour_area_mm2"] == pytest.approx(0.04)
    assert found["lymphocyte_density_near_tumour_per_mm2"] == pytest.approx(3 / 0.04)
    no_tumour = values(slide(tissue_map([[2, 2]]), nuclei=NUCLEI))
    assert no_tumour["near_tumour_area_mm2"].number == 0
    assert no_tumour["lymphocyte_density_near_tumour_per_mm2"].number is None


def test_squares_beyond_the_slide_count_in_part():
    found = numbers(slide(tissue_map([[2, 2], [1, 1]], size=(150.0, 120.0))))
    assert found["tissue_area_mm2_in_stroma"] == pytest.approx(0.015)
    assert found["tissue_area_mm2_in_abnormal_epithelium"] == pytest.approx(0.003)
    assert found["tissue_area_mm2"] == pytest.approx(150 * 120e-6)


def test_numbers_that_are_no_class_are_background():
    tissue = tissue_map([[2, 255]])
    assert [scope.area_mm2 for scope in scopes(slide(tissue))] == pytest.approx([0.01, 0, 0.01, 0])


def test_without_tissue_the_mask_is_the_area():
    found = values(slide(mask_mm2=0.5, nuclei=NUCLEI))
    assert found["tissue_area_mm2"].number == 0.5
    assert found["nuclei_all_density_per_mm2"].number == 10  # All five nuclei
    assert found["tumour_stroma_ratio"].reason == "the slide has no classes of tissue"
    assert not [name for name in numbers(slide(nuclei=NUCLEI)) if "_in_stroma" in name]
    assert found["nuclei_{class}_share_in_{tissue}".replace("nuclei", "{structure}")].reason


def test_without_classes_there_are_no_columns_of_classes():
    found = values(slide(tissue_map(SQUARES), nuclei=table([(150, 50), (150, 60)])))
    assert found["nuclei_all_density_per_mm2"].number == pytest.approx(2 / 0.03)
    assert found["nuclei_all_to_all_nearest_um_median"].number == pytest.approx(10)
    assert not [name for name in found if "lymphocyte_count" in name or ("_share_in" in name and "nuclei" in name)]
    assert "no class of nuclei" in found["lymphocyte_density_near_tumour_per_mm2"].reason
    assert found["{structure}_{class}_share"].reason == "the model knows no classes of nuclei"


def test_a_slide_without_objects_has_counts_of_0():
    nothing = slide(tissue_map(SQUARES), gland=table(shapes=[]), lumen=table(shapes=[]), nuclei=table(classes=TYPES))
    found = values(nothing)
    assert found["nuclei_all_count"].number == 0
    assert found["gland_all_density_per_mm2"].number == 0
    assert found["gland_area_um2_median"].number is None
    assert "no gland" in found["gland_area_um2_median"].reason


def test_quartiles_of_glands_are_those_of_the_table():
    drawn = busy_slide()
    measured = measure_slide(drawn)
    found = {value.column: value.number for value in measured.values}
    held = drawn.tissue.is_tissue[drawn.tissue.rows_columns(drawn.objects["gland"].points_um)]
    for name, column in measured.glands.columns.items():
        chosen = column[held & np.isfinite(column)]
        expected = np.percentile(chosen, 50) if len(chosen) else None
        assert found[f"gland_{name}_median"] == (None if expected is None else pytest.approx(expected)), name


def test_distances_are_those_of_all_pairs():
    nuclei = busy_slide().objects["nuclei"]
    found = numbers(slide(nuclei=nuclei))
    for kind, word in enumerate(TYPES):
        for other_kind, other in enumerate(TYPES):
            pairs = cdist(nuclei.points_um[nuclei.kinds == kind], nuclei.points_um[nuclei.kinds == other_kind])
            if kind == other_kind:
                np.fill_diagonal(pairs, np.inf)
            expected = np.median(pairs.min(axis=1))
            assert found[f"nuclei_{word}_to_{other}_nearest_um_median"] == pytest.approx(expected, rel=1e-6)


def test_parts_of_tissue_add_up():
    found = numbers(busy_slide())
    for name in ("nuclei_all_count", "nuclei_lymphocyte_count", "gland_all_count", "tissue_area_mm2"):
        parts = [found[f"{name}_in_{word}"] for word in ("abnormal_epithelium", "stroma", "muscle")]
        assert sum(parts) == pytest.approx(found[name]), name


# How values grow with lengths, by unit.
POWERS = {"": 0, "µm": 1, "µm²": 2, "mm²": 2, "1/mm²": -2, "nuclear diameters": 0}
# Made with lengths in microns: corners of 1.5 µm, 500 µm around tumour.
BY_LENGTH = ("perimeter", "circularity", "nuclear_rows", "near_tumour")


def power_of(value, by_name):
    if value.feature.unit != "that of the feature":
        return POWERS[value.feature.unit]
    names = [name for name in by_name if value.column.startswith(f"gland_{name}_")]
    return POWERS[by_name[max(names, key=len)].unit]


@pytest.mark.parametrize(
    ("matrix", "turn", "factor"),
    [
        pytest.param(((0, 1, 0), (-1, 0, 800)), np.rot90, 1, id="a quarter turn"),
        pytest.param(((-1, 0, 800), (0, 1, 0)), np.fliplr, 1, id="a mirror"),
        pytest.param(((1, 0, 300), (0, 1, 200)), lambda squares: np.pad(squares, ((2, 0), (3, 0))), 1, id="a shift"),
        pytest.param(((2, 0, 0), (0, 2, 0)), np.asarray, 2, id="twice the size"),
    ],
)
def test_place_changes_nothing_and_size_as_units_say(matrix, turn, factor):
    drawn = busy_slide()
    before = measure_slide(drawn)
    after = {value.column: value for value in measure_slide(moved(drawn, matrix, turn(drawn.tissue.squares))).values}
    assert {value.column for value in before.values} == {*after}
    for value in before.values:
        if factor != 1 and any(word in value.column for word in BY_LENGTH):
            continue
        if value.number is None:
            assert after[value.column].number is None, value.column
            continue
        expected = value.number * factor ** power_of(value, before.glands.features)
        tolerance = 0.03 if "surface_share" in value.column else 1e-6  # Of pieces of 5 µm
        assert after[value.column].number == pytest.approx(expected, rel=tolerance, abs=1e-6), value.column


def test_the_order_of_objects_changes_nothing():
    drawn = busy_slide()
    nuclei = drawn.objects["nuclei"]
    order = np.random.default_rng(0).permutation(len(nuclei))
    other = table(nuclei.points_um[order], nuclei.kinds[order], classes=TYPES, areas=nuclei.areas_um2[order])
    found, again = numbers(drawn), numbers(slide(drawn.tissue, **{**drawn.objects, "nuclei": other}))
    for name, number in found.items():
        assert again[name] == (None if number is None else pytest.approx(number, rel=1e-6)), name


def test_each_feature_of_slides_has_values_or_a_reason():
    of_slides = {feature for feature in FEATURES if feature.level != "gland"}
    for drawn in (busy_slide(), slide(nuclei=NUCLEI), slide(tissue_map(SQUARES), nuclei=table([(1, 1)]))):
        found = measure_slide(drawn).values
        assert {value.feature for value in found} == of_slides
        assert len({value.column for value in found}) == len(found)


def test_other_structures_are_counted_as_well():
    vessels = table([(150, 50)], [0], classes=("CD31+", "cd31"), areas=[400])
    found = numbers(slide(tissue_map(SQUARES), vessel=vessels))
    assert found["vessel_cd31_density_per_mm2"] == pytest.approx(1 / 0.03)
    assert found["vessel_cd31_2_count"] == 0
    assert found["vessel_area_fraction"] == pytest.approx(400e-6 / 0.03)


def test_words_of_columns_differ():
    assert column_words(["Gleason 3", "gleason-3", "all", "µ", "Non-neoplastic epithelial"]) == [
        "gleason_3",
        "gleason_3_2",
        "all_2",
        "class",
        "non_neoplastic_epithelial",
    ]


def test_names_of_features_differ_and_carry_their_unit():
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)
    for feature in FEATURES:
        ending = {"µm": "_um", "µm²": "_um2", "mm²": "_mm2", "1/mm²": "_per_mm2", "nuclear diameters": "_diameters"}
        assert ending.get(feature.unit, "") in feature.name, feature


def test_arrays_of_a_wrong_shape_are_refused():
    with pytest.raises(Exception, match="squares"):
        TissueSquares(squares=np.zeros(4, np.uint8), classes=("a",), side_um=(1.0, 1.0), size_um=(1.0, 1.0))
    with pytest.raises(Exception, match="squares"):
        TissueSquares(squares=np.zeros((2, 2)), classes=("a",), side_um=(1.0, 1.0), size_um=(1.0, 1.0))


def test_a_value_is_a_number_or_a_reason():
    feature = Feature(name="{class}_um", unit="µm", meaning="", level="slide")
    assert feature.value(np.nan, "why", "_in_x", **{"class": "a"}).number is None
    assert feature.value(1.0, "why", "_in_x", **{"class": "a"}).reason == ""
    assert feature.value(1, "", "_in_x", **{"class": "a"}).column == "a_um_in_x"
    assert not feature.absent("why").is_column
