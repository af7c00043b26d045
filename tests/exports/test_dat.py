"""The `.dat` as joblib reads it and, where there is one, as TIAToolbox imports it."""

import joblib
import numpy as np
import pytest
import shapely

from histoseg.exports import dat
from tests.exports import made
from tests.tiatoolbox import needs_tiatoolbox, run_tiatoolbox


@pytest.fixture
def path(tmp_path, slide):
    assert dat.write(tmp_path / "slide.dat", slide) == 4
    return tmp_path / "slide.dat"


def test_the_layout_is_that_of_cerberus(path):
    found = joblib.load(path)
    assert list(found) == [
        "Nuclei", "Gland", "proc_resolution", "base_resolution", "proc_dimensions", "base_dimensions",
    ]  # fmt: skip
    assert found["proc_resolution"] == {"resolution": 0.5, "units": "mpp"}
    assert found["base_resolution"] == {"resolution": 0.25, "units": "mpp"}
    assert tuple(found["proc_dimensions"]) == (15_000, 20_000)
    assert tuple(found["base_dimensions"]) == (30_000, 40_000)
    assert (len(found["Nuclei"]), len(found["Gland"])) == (3, 1)
    for key, info in {**found["Nuclei"], **found["Gland"]}.items():
        assert len(key) == 32
        assert list(info)[:4] == ["box", "centroid", "contour", "type"]
        assert info["contour"].dtype == np.int32
        assert info["contour"].shape[1] == 2


def test_coordinates_are_pixels_of_the_network(path):
    nuclei = {info["type"]: info for info in joblib.load(path)["Nuclei"].values()}
    assert sorted(nuclei) == [0, 1, 2]  # Without a class, round, long
    left, top = made.ORIGIN
    assert nuclei[0]["box"].tolist() == [left, top, left + 3, top + 2]
    assert nuclei[0]["centroid"].tolist() == [left + 1.5, top + 1]
    assert shapely.Polygon(nuclei[0]["contour"]).equals(shapely.box(left, top, left + 3, top + 2))
    assert "type_prob" not in nuclei[0]
    assert nuclei[2]["type_prob"] == pytest.approx(0.8)


def test_of_pieces_the_largest_stays_and_holes_are_filled(path):
    nuclei = {info["type"]: info for info in joblib.load(path)["Nuclei"].values()}
    left, top = made.ORIGIN
    assert shapely.Polygon(nuclei[2]["contour"]).equals(shapely.box(left + 5, top + 1, left + 7, top + 3))
    assert shapely.Polygon(nuclei[1]["contour"]).area == 9


def test_more_rows_than_are_written_at_once(tmp_path, slide, monkeypatch):
    dat.write(tmp_path / "whole.dat", slide)
    monkeypatch.setattr(dat, "ROWS_AT_ONCE", 1)
    dat.write(tmp_path / "parts.dat", slide)
    whole, parts = joblib.load(tmp_path / "whole.dat"), joblib.load(tmp_path / "parts.dat")
    assert list(whole) == list(parts)
    for name in ("Nuclei", "Gland"):
        assert list(whole[name]) == list(parts[name])
        for key, info in whole[name].items():
            for field, value in info.items():
                np.testing.assert_array_equal(value, parts[name][key][field])


def test_outlines_that_follow_another_grid_are_not_rounded(tmp_path):
    store = made.results(tmp_path, rows=lambda: made.tables(scale=1.7))
    dat.write(tmp_path / "slide.dat", made.slide_of(store))
    rows = {row["id"]: shapely.from_wkb(row["geometry"]) for row in made.rows_of(store)}
    areas = sorted(
        shapely.Polygon(info["contour"]).area for info in joblib.load(tmp_path / "slide.dat")["Nuclei"].values()
    )
    largest = [max(shapely.get_parts(shape), key=lambda part: part.area) for shape in rows.values()]
    expected = sorted(shapely.Polygon(shape.exterior).area / made.SCALE**2 for shape in largest)[:3]
    assert areas == pytest.approx(expected)


def test_no_objects_are_a_file_too(tmp_path):
    store = made.results(tmp_path, rows=list)
    assert dat.write(tmp_path / "slide.dat", made.slide_of(store)) == 0
    assert joblib.load(tmp_path / "slide.dat")["proc_resolution"]["units"] == "mpp"


@needs_tiatoolbox
def test_tiatoolbox_imports_it(path, store):
    found = run_tiatoolbox(
        f"""
        from tiatoolbox.utils.misc import store_from_dat
        store = store_from_dat({str(path)!r})
        answer["objects"] = [[a.geometry.wkt, a.properties] for a in store.values()]
        """
    )["objects"]
    rows = made.rows_of(store)
    assert len(found) == len(rows)
    largest = [max(shapely.get_parts(shapely.from_wkb(row["geometry"])), key=lambda part: part.area) for row in rows]
    expected = [shapely.Polygon(shape.exterior) for shape in largest]  # In base pixels, as it scales by the resolutions
    assert all(any(shapely.from_wkt(text).equals(shape) for shape in expected) for text, _ in found)
    assert sorted(properties["type"] for _, properties in found) == ["Gla: 0", "Nuc: 0", "Nuc: 1", "Nuc: 2"]
