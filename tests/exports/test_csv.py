import pandas as pd
import pytest

from histoseg.exports import csv
from tests.exports import made


def test_pandas_reads_what_the_file_of_record_says(tmp_path, slide, store):
    path = tmp_path / "objects.csv.gz"
    assert csv.write(path, slide) == 4
    found, rows = pd.read_csv(path), made.rows_of(store)
    assert found["structure"].tolist() == [row["structure"] for row in rows]
    assert found["id"].tolist() == [1, 2, 3, 4]
    assert found["area_um2"].tolist() == pytest.approx([row["area_um2"] for row in rows])
    assert found["centroid_x_px"].tolist() == pytest.approx([row["x"] for row in rows], abs=0.01)
    assert found["bottom_px"].tolist() == [row["bbox"]["ymax"] for row in rows]
    assert found["class"].isna().sum() == 2
