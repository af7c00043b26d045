"""Files that are found by their names, and what is wrong with those that cannot be used."""

import pytest

from histoseg import cli
from histoseg.errors import ConfigError
from histoseg.runs import catalog
from tests.lab import SOURCE, write_lab

GOOD = SOURCE.replace("NAME", "labset")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes modules known under their names."""

    def install(**modules):
        write_lab(tmp_path / "lab", modules)
        monkeypatch.syspath_prepend(str(tmp_path / "lab"))

    return install


def test_a_source_of_another_distribution_is_found(install):
    install(labset=GOOD)
    assert "labset" in catalog.names("histoseg.sources")
    assert catalog.load("histoseg.sources", "labset").TASK.title == "Lab"


FAULTY = {
    "def entries(:": r"labset_of_.* cannot be imported \(SyntaxError: .*line 1\)\); correct it",
    "import nothing_like_that": "cannot be imported \\(ModuleNotFoundError: No module named 'nothing_like_that'",
    "": r"labset_of_.*\.py has no TASK, entries, read; CONTRIBUTING.md says",
    GOOD.replace('"labset"', '"synthetic"', 1): r"labset_of_.*\.py: TASK.name is 'synthetic'; it must be 'labset'",
}


@pytest.mark.parametrize(("text", "message"), FAULTY.items(), ids=range(len(FAULTY)))
def test_a_faulty_file_is_named_with_its_fault(install, text, message):
    install(labset=text)
    with pytest.raises(ConfigError, match=message):
        catalog.load("histoseg.sources", "labset")


def test_a_faulty_file_does_not_hide_the_others(install, capsys):
    install(labset=GOOD, broken="TASK = nothing")
    with pytest.raises(SystemExit) as ended:
        cli.main(["list"])
    assert ended.value.code == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "cannot be used: broken_of_" in lines["broken"]
    assert "NameError" in lines["broken"]
    assert "Lab: background, gland" in lines["labset"]
    assert {"glas", "maml", "table1"} <= set(lines)
