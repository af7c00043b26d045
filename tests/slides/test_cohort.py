"""Which slides are meant by folders, lists and addresses."""

import pytest

from histoseg.errors import ConfigError
from histoseg.slides.cohort import find_slides, require_distinct, slide_name


@pytest.fixture
def scans(tmp_path):
    for name in ("b.svs", "a.tif", "notes.md", "c d.SVS"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_a_folder_means_its_slides_and_each_counts_once(scans):
    found = find_slides([str(scans), str(scans / "b.svs")])
    assert found == [str(scans / name) for name in ("a.tif", "b.svs", "c d.SVS")]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_list_may_name_anything_but_a_list(scans, scheme):
    (scans / "list.txt").write_text(f"# three\n{scans}/b.svs\n\n{scans}\n")
    found = find_slides([f"{scheme}{scans}/list.txt"])
    assert [slide_name(address) for address in found] == ["b", "a", "c d"]
    (scans / "lists.txt").write_text("list.txt\n")
    with pytest.raises(ConfigError, match=r"lists\.txt: names another list, list\.txt"):
        find_slides([f"{scheme}{scans}/lists.txt"])


def test_a_list_that_names_what_is_not_there_is_named(tmp_path, monkeypatch):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "one.svs").write_bytes(b"")
    (tmp_path / "lists" / "list.txt").write_text("one.svs\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"lists/list\.txt: one\.svs: there is no such file"):
        find_slides(["lists/list.txt"])
    monkeypatch.chdir(tmp_path / "lists")
    assert find_slides([str(tmp_path / "lists" / "list.txt")]) == ["one.svs"]


def test_addresses_are_objects_or_prefixes(scans):
    assert find_slides([f"file://{scans}"]) == [f"file://{scans}/{name}" for name in ("a.tif", "b.svs", "c d.SVS")]
    assert find_slides(["s3://lab/one.svs"]) == ["s3://lab/one.svs"]


@pytest.mark.parametrize("name", ["nowhere", "empty", "empty.txt"])
def test_what_has_no_slides_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(ConfigError, match=name):
        find_slides([str(tmp_path / name)])


def test_slides_of_one_name_are_refused():
    require_distinct(["s3://lab/one.svs", "s3://lab/two.svs"])
    with pytest.raises(ConfigError, match=r"s3://lab/one\.svs and /scans/one\.tif would both be written to one/"):
        require_distinct(["s3://lab/one.svs", "/scans/one.tif"])
