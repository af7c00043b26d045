"""Made-up raw data: drawn once, never mixed with other files."""

import pytest

from histoseg.demo.write import find_demo, write_demo_data
from histoseg.errors import DataError, StorageError
from tests.lab import SOURCE, write_lab


def test_what_is_drawn_is_kept(tmp_path):
    write_demo_data(tmp_path / "demo", sources=["synthetic"])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*.png")}
    write_demo_data(tmp_path / "demo", sources=["synthetic"])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*.png")} == before != {}


def test_two_seeds_are_not_mixed(tmp_path):
    write_demo_data(tmp_path / "demo", sources=["synthetic"])
    with pytest.raises(DataError, match=r"demo holds demo data of seed 0, not 1; name a new folder or delete it"):
        write_demo_data(tmp_path / "demo", seed=1, sources=["synthetic"])


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match=r"file: cannot write demo data there \(Not a directory\); name another"):
        write_demo_data(tmp_path / "file", sources=["synthetic"])


def test_a_source_of_a_lab_draws_itself(tmp_path, monkeypatch):
    text = SOURCE.replace("NAME", "labset")
    drawing = "\n\ndef write_demo(root, rng):\n    (root / 'labset').mkdir()\n    (root / 'labset' / 'a.raw').touch()\n"
    write_lab(tmp_path / "lab", {"labset": text + drawing, "plainset": text.replace("labset", "plainset")})
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    write_demo_data(tmp_path / "demo", sources=["labset", "plainset"])
    assert [path.name for path in (tmp_path / "demo").rglob("*.raw")] == ["a.raw"]
    assert find_demo("plainset") is None
