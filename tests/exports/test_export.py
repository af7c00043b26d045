"""The command over a result folder: all slides, what is there already, what cannot be read."""

import json

import pytest

from histoseg.cli import main
from histoseg.runs import catalog
from histoseg.store.objects import connect
from ray_jobs.local_store import local_store
from tests.exports import made


def run(*arguments):
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        main(["export", *map(str, arguments)])
    return ended.value.code


@pytest.fixture
def two(tmp_path):
    return made.results(tmp_path / "results", names=("a", "b"))


def test_all_slides_are_written_beside_their_objects(two, capsys):
    assert run(two.root, "--to", "geojson") == 0
    for name in "ab":
        assert len(json.loads(two.get(f"{name}/objects.geojson"))["features"]) == 4
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("2 slides as geojson")
    assert printed[1:3] == ["a: 4 objects in objects.geojson", "b: 4 objects in objects.geojson"]
    assert printed[-1] == str(two.root)


def test_what_is_there_and_unchanged_is_kept(two, capsys):
    run(two.root, "--to", "csv")
    before = two.path("a/objects.csv").stat().st_mtime_ns
    two.put("b/summary.json", made.summary("b", made_of="of that").model_dump_json().encode())
    capsys.readouterr()
    assert run(two.root, "--to", "csv") == 0
    assert "a: objects.csv is already there" in capsys.readouterr().out
    assert two.path("a/objects.csv").stat().st_mtime_ns == before
    two.delete("a/objects.csv")
    run(two.root, "--to", "csv")
    printed = capsys.readouterr().out
    assert "a: 4 objects" in printed
    assert "b: objects.csv is already there" in printed
    run(two.root, "--to", "csv", "--overwrite")
    assert "b: 4 objects" in capsys.readouterr().out


def test_some_slides_elsewhere_and_compressed(two, tmp_path):
    out = tmp_path / "out"
    assert run(two.root, "--to", "geojson", "--gzip", "--slide", "b", "--out", out) == 0
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        ".objects.geojson.gz.json", "objects.geojson.gz",
    ]  # fmt: skip
    assert not two.path("b/objects.geojson.gz").exists()


def test_a_slide_that_cannot_be_read_does_not_stop_the_others(two, capsys):
    two.put("a/objects.parquet", b"PAR1 and no more")
    assert run(two.root, "--to", "annotation_store") == 1
    assert two.size("b/objects.db")
    assert two.size("a/objects.db") is None
    said = capsys.readouterr().err
    assert "a/objects.parquet" in said
    assert "1 of 2 slides failed: a" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--to", "shapefile"],
            "no 'shapefile' in exports; choose from annotation_store, csv, dat",
        ),
        (["--to", "csv", "--slide", "c"], "lacks c; it has a, b"),
    ],
)
def test_what_does_not_exist_is_one_line(two, capsys, arguments, said):
    assert run(two.root, *arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_folder_without_results_is_one_line(tmp_path, capsys):
    assert run(tmp_path, "--to", "csv") == 1
    assert "has no finished slide" in capsys.readouterr().err


def test_every_form_has_what_a_module_needs():
    forms = [catalog.load("histoseg.exports", name) for name in catalog.names("histoseg.exports")]
    assert len({form.NAME for form in forms}) == len(forms) == 5


def test_results_in_an_object_store(two, tmp_path, monkeypatch):
    with local_store(tmp_path) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        remote = connect(f"{server.url}/cohort")
        for key in two.list():
            remote.put(key, two.get(key))
        assert run(remote.url, "--to", "dat") == 0
        assert remote.size("a/objects.dat") == remote.size("b/objects.dat")
