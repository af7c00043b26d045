"""A laboratory's own structure and its own nuclei: from raw files to exported objects with no edit in the package."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import histoseg
from histoseg.demo.write import write_demo_data
from histoseg.records.schema import Record
from histoseg.runs.names import from_json
from histoseg.store.keys import model_folder
from tests.lab import write_lab

pytestmark = pytest.mark.slow
BUILT_IN = ("cerberus_gland", "cerberus_lumen", "cerberus_nuclei", "kather5k")
STEPS = ["optim.steps=2", "subtype_gland.optim.steps=1", "subtype.optim.steps=1"]
STAGES = [*STEPS, "method.batch=4", "subtype.method.batch=2"]
TINY = [*STAGES, "network.width=4", "evaluator.window_px=192", "evaluator.margin_px=16"]
SETS = [f"--set={each}" for each in TINY]
WINDOWS = ["--window-px", 192, "--margin-px", 16]
COLOUR = (0xD5, 0x5E, 0x00)  # As STRUCTURE says
CELL = "cerberus_plus fold1+fold2 to fold3"
NUM_PATIENTS = 9  # Three in each fold

STRUCTURE = """
from histoseg.structures import Growth, Separation, Structure

# An almost untrained network knows nothing, so a low threshold makes sure that it finds something.
VESSEL = Structure(
    name="vessel",
    singular="blood vessel",
    plural="blood vessels",
    separation=Separation(with_contour=Growth(threshold=0.01, min_px=4)),
    colour="#D55E00",
)
"""
SOURCE = """
import numpy as np
from PIL import Image

from histoseg.errors import MissingSourceError
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="NAME", title="NAME of the lab", classes=CLASSES, mpp=0.5, licence="ours", kind="instance", structure="TEACHES"
)


def entries(root):
    paths = sorted((root / "NAME").glob("*.png"))
    if not paths:
        raise MissingSourceError(f"{root}: no NAME found")
    files = [{"image": path, "objects": path.with_suffix(".npy")} for path in paths]
    return [Entry(key=path.stem, patient=path.stem, files=each) for path, each in zip(paths, files, strict=True)]


def read(entry):
    objects = np.load(entry.files["objects"])
    with Image.open(entry.files["image"]) as image:
        pixels = np.asarray(image)
    labels = (objects > 0).astype(np.uint8)
    key, patient = entry.key, entry.patient
    return Sample(key=key, patient=patient, image=pixels, semantic_map=labels, mpp=0.5, instance_map=objects)
"""


def fill(name, classes, teaches):
    return SOURCE.replace("NAME", name).replace("CLASSES", repr(classes)).replace("TEACHES", teaches)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The folder of an installed distribution with a structure, a source that teaches it, and a source of nuclei."""
    sources = {
        "vessels": fill("vessels", ("background", "vessel"), "vessel"),
        "our_nuclei": fill("our_nuclei", ("background", "nucleus"), "nuclei"),
    }
    folder = write_lab(tmp_path_factory.mktemp("declared") / "lab", sources)
    (folder / "our_vessels.py").write_text(STRUCTURE)
    with (folder / "lab-1.0.dist-info" / "entry_points.txt").open("a") as points:
        points.write("[histoseg.structures]\nvessel = our_vessels:VESSEL\n")
    return folder


def draw(folder, name, radius, rng):
    """Images with dark rings on pink noise, each of a patient of its own."""
    (folder / name).mkdir()
    for i in range(NUM_PATIENTS):
        objects = np.zeros((128, 128), np.int32)
        for j in range(3):
            x, y = rng.integers(20, 108, 2).tolist()
            cv2.circle(objects, (x, y), radius, j + 1, cv2.FILLED)
        pixels = rng.integers(170, 256, (128, 128, 3), np.uint8)
        pixels[objects > 0] //= 2
        Image.fromarray(pixels).save(folder / name / f"case{i}.png")
        np.save(folder / name / f"case{i}.npy", objects)


@pytest.fixture(scope="module")
def call(lab):
    """Runs the command in a process in which the laboratory's distribution is installed; gives what it prints."""

    def call(*words):
        path = os.pathsep.join([str(Path(histoseg.__file__).parents[1]), str(lab)])
        command = [sys.executable, "-m", "histoseg.cli", *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, cwd=lab, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Demo data of built-in sources, and the laboratory's images beside them."""
    raw = tmp_path_factory.mktemp("raw") / "raw"
    write_demo_data(raw, sources=BUILT_IN)
    rng = np.random.default_rng(0)
    draw(raw, "vessels", 14, rng)
    draw(raw, "our_nuclei", 5, rng)
    return raw


@pytest.fixture(scope="module")
def store(tmp_path_factory, call, raw):
    """A store after one run of the experiment."""
    store = tmp_path_factory.mktemp("store")
    out = call("prepare", "all", "--raw", raw, "--store", f"file://{store}", "--experiment", "cerberus")
    assert "vessels: 9 images of 9 patients" in out
    call("evaluate", "cerberus", "--cell", CELL, "--store", f"file://{store}", *SETS)
    return store


@pytest.fixture
def record(store):
    (path,) = (store / "records" / "cerberus").glob("*.json")
    return Record.model_validate_json(path.read_text())


def test_the_experiment_learns_and_scores_it(record):
    assert 0 <= record.scores["test.vessel.pq"] <= 1
    assert {image.source for image in record.images if image.structure == "vessel"} == {"vessels"}
    assert sum(image.structure == "vessel" for image in record.images) == NUM_PATIENTS // 3


def test_a_nuclei_set_of_the_lab_joins_the_built_in_one(record):
    """Classes are learnt from the set with several classes alone."""
    assert {image.source for image in record.images if image.structure == "nuclei"} == {"cerberus_nuclei", "our_nuclei"}
    learn, *later = from_json(record.run).stages  # One for the classes of glands, one for those of nuclei
    assert set(learn.select.sources) == {*BUILT_IN, "our_nuclei", "vessels"}
    typed = {source for stage in later for source in stage.select.sources}
    assert "cerberus_nuclei" in typed
    assert not {"our_nuclei", "vessels"} & typed


def test_the_report_has_a_column_for_it(call, store, record, tmp_path):
    call("report", "cerberus", "--store", f"file://{store}", "--out", tmp_path, *SETS)
    table, page = ((tmp_path / "cerberus" / name).read_text() for name in ("cerberus.md", "index.html"))
    head, _, row = next(part for part in table.split("\n\n") if "Vessel PQ" in part).splitlines()[:3]
    scores = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert scores["Vessel PQ"] == f"{record.scores['test.vessel.pq']:.3f}"
    assert "Vessel PQ" in page
    assert "blood vessels" in page


def test_the_model_finds_and_exports_it(call, raw, store, record, tmp_path):
    model = store / model_folder(record.stages[-1].stage)
    image = raw / "vessels" / "case0.png"
    call("segment", image, "--model", model, "--out", tmp_path, "--mpp", 0.5, *WINDOWS)
    folder = tmp_path / "case0"
    with Image.open(folder / "vessel.png") as found:
        num_vessels = np.count_nonzero(np.unique(np.asarray(found)))
    assert num_vessels > 0
    rows = list(csv.DictReader((folder / "objects.csv").read_text().splitlines()))
    assert sum(row["structure"] == "vessel" for row in rows) == num_vessels
    features = json.loads((folder / "objects.geojson").read_text())["features"]
    vessels = [each for each in features if each["properties"]["classification"]["name"] == "blood vessel"]
    assert len(vessels) == num_vessels
    with Image.open(folder / "overlay.png") as overlay:
        assert (np.asarray(overlay) == COLOUR).all(axis=-1).any()
