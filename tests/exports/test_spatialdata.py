import sys

import numpy as np
import pytest

from histoseg.errors import ConfigError
from histoseg.exports import spatialdata as export
from tests.exports import made


def test_without_the_package_the_extra_is_named(tmp_path, slide, monkeypatch):
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(ConfigError, match=r"histoseg\[spatialdata\]"):
        export.write(tmp_path / "objects.zarr", slide)


@pytest.mark.filterwarnings("default")  # Those of a large package that this project does not install
def test_spatialdata_reads_shapes_and_their_table(tmp_path, slide, store):
    spatialdata = pytest.importorskip("spatialdata", reason="install histoseg[spatialdata]")
    path = tmp_path / "objects.zarr"
    assert export.write(path, slide) == 4
    found, rows = spatialdata.read_zarr(path), made.rows_of(store)
    assert set(found.shapes) == {"nuclei", "gland"}
    assert found["nuclei"].geometry.is_valid.all()
    table = found["objects"]
    assert table.obs["instance_id"].tolist() == [row["id"] for row in rows]
    assert table.obs["region"].tolist() == [row["structure"] for row in rows]
    np.testing.assert_allclose(table.X[:, 0], [row["area_um2"] for row in rows])
    nuclei = spatialdata.join_spatialelement_table(sdata=found, spatial_element_names="nuclei", table_name="objects")[1]
    assert sorted(nuclei.obs["class"].dropna()) == ["long", "round"]
    um2 = found["nuclei"].geometry.area * 0.25**2
    np.testing.assert_allclose(um2, [row["area_um2"] for row in rows if row["structure"] == "nuclei"])
    assert found.attrs["histoseg"]["mpp"] == 0.25
