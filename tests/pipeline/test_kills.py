"""A process that is killed at any write and repeated leaves what an undisturbed one does: records, models, predictions.

`make test-kills` tries all points; else of a training's, and of those on S3, only a sample is tried.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from histoseg.inference.segment import SegmentOptions, segment_slide
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.spec import Heads
from histoseg.models.unet import UNetSpec
from histoseg.models.weights import Model, load_model, save_model
from histoseg.pipeline import complete as completing
from histoseg.pipeline import stage as staging
from histoseg.pipeline.complete import complete
from histoseg.store import conditional
from histoseg.store.objects import FileStore, connect
from histoseg.training import loop
from histoseg.training.process import Process
from ray_jobs.local_store import local_store
from tests.methods import test_detection
from tests.pipeline.kills import Killed, MortalStore, Point, kill_process, objects_of, points_of, restore
from tests.pipeline.small_runs import (
    folds_run,
    folds_store,
    leave_one_out_run,
    leave_one_out_store,
    probe_run,
    rounds_run,
    without_times,
)

pytestmark = pytest.mark.slow
EVERY = 1 if os.environ.get("HISTOSEG_KILLS") else 13  # Of many points; odd, so that all moments are tried.
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Work:
    """What is killed and repeated: what a store holds before, what is done, and what must be the same afterwards."""

    prepare: object  # (a file store, a folder)
    do: object  # (a store, a folder)
    outcome: object  # (a store)


def training(make_store, make_run):
    """A run from its shards to its record, with a checkpoint at each step."""

    def do(store, folder):
        complete([make_run()], store, folder / "cache", Process())

    return Work(prepare=lambda store, _folder: make_store(store.root), do=do, outcome=records_and_models)


def records_and_models(store):
    keys = store.list("runs/")
    assert not [key for key in keys if "/step-" in key]
    models = {key: store.get(key) for key in keys if "/model/" in key}
    (key,) = (key for key in store.list("records/") if "panels" not in key)
    panels = {key: store.get(key) for key in store.list("records/") if "panels" in key}
    return {key: without_times(json.loads(store.get(key))), **models, **panels}


def prepare_prediction(store, folder):
    """An image, two models, and what the first of them predicts, of which not all is predicted by the second."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    PillowImage.fromarray(pixels).save(folder / "slide.png")
    spec = UNetSpec(width=4)
    unet = spec.rebuild(Heads(num_classes={"lab": 3}))
    put_model(folder / "unet", spec, unet, {"lab": ("nothing", "fat", "muscle")})
    network = build(CerberusParts(encoder="unet", width=4, decoders={"gland": 3, "nuclei": 3}), 0)
    put_model(folder / "cerberus", CerberusSpec(encoder="unet", width=4, contour=True), network, {})
    predict(store, folder, "unet")


def put_model(folder, spec, network, classes):
    save_model(Model(spec=spec, network=network, classes=classes, mpp=0.5, origin="a test"), FileStore(folder), "")


def predict(store, folder, model="cerberus"):
    options = SegmentOptions(mpp=0.5, overwrite=True)
    segment_slide(str(folder / "slide.png"), load_model(folder / model), store, options)


def results(store):
    """All objects, the summary without the time that it took."""
    found = objects_of(store)
    return found | {"slide/summary.json": {**json.loads(found["slide/summary.json"]), "seconds": 0}}


WORKS = {
    "leave one out": training(leave_one_out_store, leave_one_out_run),
    "folds with subtyping": training(folds_store, folds_run),
    "SimCLR and a probe": training(folds_store, probe_run),
    "rounds of annotation": training(folds_store, rounds_run),
    "detection": training(lambda folder: test_detection.put(f"file://{folder}"), lambda: test_detection.RUN),
    "prediction": Work(prepare=prepare_prediction, do=predict, outcome=results),
}


@pytest.fixture(scope="module")
def s3_url(tmp_path_factory):
    with local_store(tmp_path_factory.mktemp("s3")) as server:
        yield server.url


@contextmanager
def checkpoints_each_step():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
        for module in (completing, staging):  # Which takes longer than all the rest.
            patch.setattr(module, "git_commit", lambda: "commit")
        yield


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path):
    if request.param == "file":
        return FileStore(tmp_path / "store")
    return connect(f"{request.getfixturevalue('s3_url')}/{tmp_path.name}")


def prepared(work, store, folder):
    """The objects that a store holds before the work; they are put there."""
    files = FileStore(folder / "prepared")
    work.prepare(files, folder)
    objects = objects_of(files)
    restore(store, objects)
    return objects


def attempt(work, store, folder):
    """Do it as a new process would, which tries the store first."""
    conditional._tested.clear()
    with checkpoints_each_step():
        work.do(store, folder)


def done_undisturbed(work, store, folder):
    """The store with what was written, and the outcome, of one attempt that nothing disturbs."""
    undisturbed = MortalStore(store)
    attempt(work, undisturbed, folder)
    return undisturbed, work.outcome(store)


@pytest.mark.parametrize("name", WORKS)
def test_what_is_killed_at_any_write_and_repeated_has_the_same_outcome(name, store, tmp_path):
    work = WORKS[name]
    before = prepared(work, store, tmp_path)
    undisturbed, expected = done_undisturbed(work, store, tmp_path)
    points = points_of(undisturbed)
    assert len(points) > (12 if name == "prediction" else 50)
    is_quick = len(points) <= 50 and isinstance(store, FileStore)
    for point in points[:: 1 if is_quick else EVERY]:
        restore(store, before)
        with pytest.raises(Killed):
            attempt(work, MortalStore(store, point), tmp_path)
        attempt(work, store, tmp_path)
        assert work.outcome(store) == expected, (point, undisturbed.written[point.write])


@pytest.mark.parametrize("name", WORKS)
def test_so_has_a_process_that_the_system_killed(name, store, tmp_path):
    work = WORKS[name]
    before = prepared(work, store, tmp_path)
    undisturbed, expected = done_undisturbed(work, store, tmp_path)
    restore(store, before)
    halves = [point.write for point in points_of(undisturbed) if point.moment == "within"]
    words = [sys.executable, "-m", "tests.pipeline.test_kills", name, store.url, str(tmp_path)]
    middle = str(halves[len(halves) // 2])
    done = subprocess.run([*words, middle], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    attempt(work, store, tmp_path)
    assert work.outcome(store) == expected


def main(name, url, folder, write):
    """Be killed within a write of some work."""
    mortal = MortalStore(connect(url), Point(int(write), "within"), kill_process)
    attempt(WORKS[name], mortal, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
