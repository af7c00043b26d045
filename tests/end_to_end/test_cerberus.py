"""Cerberus as a user has it: one job from raw files to a page and a model, and the model on an image."""

import json

import pytest

from histoseg.cli import main
from tests.end_to_end.job import Job

pytestmark = pytest.mark.slow
SETS = "optim.steps=4 subtype_gland.optim.steps=2 subtype.optim.steps=2 method.batch=4 subtype.method.batch=2"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("cerberus"), "--experiment", "cerberus", "--set", SETS)
    code, output = job.finish()
    assert code == 0, output
    return job.folder, output


def test_the_page_names_every_structure(finished):
    folder, output = finished
    page = folder / "results" / "cerberus" / "index.html"
    assert output.splitlines()[-1] == str(page.resolve())
    text = page.read_text()
    for word in ("Gland", "Lumen", "Nuclei", "Tissue", "Demo data", "histoseg segment"):
        assert word in text
    assert "runs: 0 of 1 are recorded already" in output


def test_the_model_predicts(finished, tmp_path, capsys):
    folder, _ = finished
    image = next((folder / ".histoseg" / "demo").rglob("Lizard_Images1/*.png"))
    words = ["segment", str(image), "--model", str(folder / "results/cerberus/model"), "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--mpp", "0.5", "--window-px", "384", "--margin-px", "48"])
    found = {path.name for path in (tmp_path / image.stem).iterdir()}
    assert {
        "gland.png",
        "lumen.png",
        "nuclei.png",
        "objects.csv",
        "objects.geojson",
        "tissue.tif",
        "overlay.png",
    } <= found
    geojson = json.loads((tmp_path / image.stem / "objects.geojson").read_text())
    assert geojson["type"] == "FeatureCollection"
    assert str(tmp_path) in capsys.readouterr().out
