"""What the small install is for, where nothing can be imported that only the larger ones have."""

import os
import re
import subprocess
import sys

import pytest

# Python asks these finders in turn, so none of the packages is found, though it is installed.
WITHOUT = """
import sys

class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"albumentations", "matplotlib", "ray", "safetensors", "skimage", "torch"}:
            raise ModuleNotFoundError(f"{name} is not in the small install")

sys.meta_path.insert(0, Lacking())
"""
PLANS = """
from histoseg.runs import catalog
from histoseg.pipeline.plan import data_of

for name in catalog.tables():
    for scale in catalog.load("histoseg.experiments", name).SCALES:
        print(name, scale, data_of(name, scale, []).layout)
"""
NO_IMAGES = """
from histoseg.runs import catalog
from histoseg.errors import ConfigError

for name in catalog.names("histoseg.methods"):
    method = catalog.load("histoseg.methods", name).METHOD
    field = "batch" if "batch" in method.__annotations__ else "support"
    try:
        method(**{field: 0})
    except ConfigError as error:
        print(name, error)
"""


@pytest.fixture
def python(tmp_path):
    """Runs Python without those packages, and the processes it starts likewise; gives what it prints."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WITHOUT)

    def run(*words):
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("package", ["albumentations", "matplotlib", "ray", "skimage", "torch"])
def test_what_it_lacks_cannot_be_imported(python, package):
    with pytest.raises(AssertionError, match=f"{package} is not in the small install"):
        python("-c", f"import {package}")


def test_every_experiment_says_how_it_cuts_patches(python):
    lines = python("-c", PLANS).splitlines()
    assert "table1 paper 768px" in lines  # MetaHistoSeg, Sec. 3.1: patches of 768
    assert {line.split()[0] for line in lines} >= {"smoke", "table1", "cerberus", "cerberus_table5"}


def test_data_is_prepared_for_an_experiment(python, demo, tmp_path):
    url = f"file://{tmp_path / 'store'}"
    words = ["synthetic", "glas", "--raw", demo, "--store", url, "--experiment", "smoke"]
    assert python("-m", "histoseg.cli", "prepare", *words).splitlines()[-1] == url
    for source in ("synthetic", "glas"):
        assert (tmp_path / "store" / "shards" / source / "64px" / "index.json").exists()  # smoke's patches
    found = python("-m", "histoseg.cli", "doctor", "--no-machine", "--store", url, "--experiment", "smoke")
    assert "ok   experiment smoke (laptop): 2 runs of synthetic, glas" in found


def test_everything_there_is_can_be_listed(python):
    out = python("-m", "histoseg.cli", "list")
    for name in ("pannuke", "maml", "subtyping", "table1"):
        assert name in out


def test_hyperparameters_are_checked(python):
    lines = python("-c", NO_IMAGES).splitlines()
    assert [line.split()[0] for line in lines] == [
        "detection",
        "maml",
        "multitask",
        "probe",
        "simclr",
        "subtyping",
        "transfer",
    ]
    assert all(re.search(r"= 0: must be [12] or more", line) for line in lines)


def test_the_exporter_can_be_imported(python):
    python("-c", "import histoseg.records.exporter")


def test_a_cluster_can_be_given_jobs(python):
    python("-c", "import ray_jobs.submit, ray_jobs.remote")
