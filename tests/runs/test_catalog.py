"""Files that are found by their names, and what is wrong with those that cannot be used."""

from dataclasses import replace

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
    "import sys\nsys.exit('usage: labset')": r"cannot be imported \(SystemExit: usage: labset\); correct it",
    GOOD.replace("TASK = Task(", "TASK = dict("): r"labset_of_.*\.py: TASK is of type dict; it must be .*Task",
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


def test_a_name_that_two_modules_claim_is_refused(install):
    install(glas=GOOD.replace("labset", "glas"))
    with pytest.raises(
        ConfigError, match=r"glas_of_.* and histoseg\.sources\.glas claim the name 'glas' in sources; ren"
    ):
        catalog.load("histoseg.sources", "glas")
    assert catalog.names("histoseg.sources").count("glas") == 1


def test_a_name_that_two_distributions_claim_is_refused(tmp_path, monkeypatch):
    for number in (1, 2):
        folder = write_lab(tmp_path / f"lab{number}" / "lab", {"labset": GOOD}, distribution=f"lab{number}")
        monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(ConfigError, match="labset_of_lab1 and labset_of_lab2 claim the name 'labset' in sources"):
        catalog.load("histoseg.sources", "labset")


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(ConfigError, match=r"no 'nope' in sources; choose from .*glas, gleason2019"):
        catalog.load("histoseg.sources", "nope")


def test_networks_are_folders_and_not_what_they_share():
    assert {"cerberus", "unet"} <= set(catalog.names("histoseg.models"))
    assert not {"losses", "weights", "norm"} & set(catalog.names("histoseg.models"))


# The orders in which results were computed so far: the sampler of mixed batches depends on it.
@pytest.mark.parametrize(
    ("structure", "names"),
    [
        ("gland", ["glas", "crag", "cerberus_gland"]),
        ("lumen", ["cerberus_lumen"]),
        ("nuclei", ["lizard", "cerberus_nuclei", "consep", "monuseg", "pannuke", "synthetic_nuclei"]),
        ("tissue", ["kather5k", "nct_crc_he", "crc_tp"]),
    ],
)
def test_sources_that_teach_a_structure(structure, names):
    assert named(catalog.teaching(structure)) == names


@pytest.mark.parametrize(
    ("prepared", "used"),
    [
        ("glas crag cerberus_gland", "glas crag cerberus_gland"),
        ("lizard cerberus_nuclei consep monuseg pannuke", "lizard cerberus_nuclei"),
        ("consep monuseg pannuke synthetic_nuclei", "consep monuseg"),
        ("pannuke synthetic_nuclei", "pannuke"),
        ("synthetic_nuclei", "synthetic_nuclei"),
        ("consep monuseg pannuke ours", "consep monuseg ours"),
        ("lizard consep ours", "lizard ours"),
        ("synthetic_nuclei ours", "ours"),
        ("ours", "ours"),
        ("", ""),
    ],
)
def test_sources_that_are_learnt_together(prepared, used):
    """Those of a lab beside what is published, and drawn ones only where there is nothing else."""
    ours = replace(catalog.load_source("monuseg").TASK, name="ours", year=0, reserve=None)
    known = {task.name: task for task in (*catalog.teaching("nuclei"), *catalog.teaching("gland"), ours)}
    assert named(catalog.used_together([known[name] for name in prepared.split()])) == used.split()


def named(tasks):
    return [task.name for task in tasks]


def test_a_source_of_a_lab_teaches_after_the_published_ones(install, caplog):
    nuclei = GOOD.replace('licence="ours"', 'licence="ours", kind="instance", structure="nuclei"')
    last = nuclei.replace('structure="nuclei"', 'structure="nuclei", reserve=7')
    install(labset=nuclei, rareset=last.replace("labset", "rareset"), broken="TASK = nothing")
    found = "lizard cerberus_nuclei labset consep monuseg pannuke rareset synthetic_nuclei"
    assert named(catalog.teaching("nuclei")) == found.split()
    assert "source broken is left out: broken_of_" in caplog.text


def test_a_source_of_ours_that_another_distribution_claims_teaches_nothing_silently(install):
    install(glas=GOOD.replace("labset", "glas"))
    with pytest.raises(ConfigError, match="claim the name 'glas'"):
        catalog.teaching("gland")


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
