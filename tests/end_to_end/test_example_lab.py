"""The example distribution of docs/example-lab, installed and used as its README says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import histoseg
from histoseg.records.schema import Record

pytestmark = pytest.mark.slow
EXAMPLE = Path(histoseg.__file__).parents[1] / "docs" / "example-lab"


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """Runs `histoseg` in a folder of its own, where the distribution is installed; gives what it prints."""
    folder = tmp_path_factory.mktemp("lab")
    copy = shutil.copytree(EXAMPLE, folder / "example-lab")  # A build leaves files beside the sources.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(copy)], check=True, capture_output=True)
    path = os.pathsep.join([str(Path(histoseg.__file__).parents[1]), str(folder / "site")])

    def call(*words):
        command = [sys.executable, "-m", "histoseg.cli", *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    call.folder = folder
    return call


@pytest.fixture(scope="module")
def store(call):
    """A store with what both experiments read."""
    program = "from pathlib import Path; from histoseg.demo.write import write_demo_data as write; "
    program += "write(Path('demo'), sources=['our_nuclei', 'synthetic'])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLE.parents[1]), str(call.folder / "site")])}
    subprocess.run([sys.executable, "-c", program], cwd=call.folder, env=environment, check=True)
    url = f"file://{call.folder / 'store'}"
    for experiment in ("our_table", "our_cerberus"):
        words = ["--raw", "demo", "--store", url, "--experiment", experiment, "--scale", "smoke"]
        assert "our_nuclei: 18 images of 9 patients" in call("prepare", "all", *words)
    return url


def test_its_names_are_listed(call):
    out = call("list")
    assert "Our nuclei: background, nucleus; 0.5 µm/px" in out
    assert re.search(r"our_table +Our nuclei as the new task .* Scales: smoke, laptop, paper\.", out)
    assert re.search(r"our_cerberus +One network of nuclei .* Scales: smoke, laptop, real-cpu, paper", out)


@pytest.mark.parametrize(
    ("experiment", "cell", "score"),
    [
        ("our_table", "our_nuclei synthetic.transfer", "miou_pooled"),
        ("our_cerberus", "contour fold1+fold2 to fold3", "test.nuclei.pq"),
    ],
)
def test_its_experiments_train_report_and_leave_a_model_that_predicts(call, store, experiment, cell, score, tmp_path):
    asked = [experiment, "--store", store, "--scale", "smoke"]
    out = call("evaluate", *asked, "--cell", cell)
    model = re.search(r"^model: (.*)$", out, re.MULTILINE)[1]
    key = out.splitlines()[-1].removeprefix("file://")
    found = Record.model_validate_json(Path(key).read_text()).scores[score]
    assert 0 <= found <= 1
    assert f"{found:.3f}" in call("report", *asked, "--out", tmp_path / "results")
    image = call.folder / "demo" / "our_nuclei" / "case01_1.png"
    windows = ["--window-px", 192, "--margin-px", 16]
    call("segment", image, "--model", model, "--mpp", 0.5, "--out", tmp_path / "out", *windows)
    assert (tmp_path / "out" / "case01_1" / "overlay.png").is_file()


def test_its_images_are_looked_at(call, store, tmp_path):
    out = call("look", "our_nuclei", "--store", store, "--layout", "64px", "--out", tmp_path)
    assert out.splitlines() == ["our_nuclei (64px): 18 images", f"{tmp_path}/index.html"]
