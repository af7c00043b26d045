import io
import json
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from histoseg.errors import StorageError
from histoseg.inference import predict as predicting
from histoseg.inference.objects import list_objects
from histoseg.inference.predict import Options, look, predict_images, summarise
from histoseg.maps.windows import MarginWindows
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.cerberus.published import PUBLISHED_CLASSES
from histoseg.models.prediction import Prediction
from histoseg.models.spec import Heads
from histoseg.models.unet import UNetSpec
from histoseg.models.weights import Model, load_model, save_model
from histoseg.shards.pool import ReaderPool
from histoseg.store.objects import FileStore
from tests.command import run

WINDOWS = ["--window-px", "96", "--margin-px", "16"]
FILES = ["gland.png", "lumen.png", "nuclei.png", "objects.csv", "objects.geojson", "overlay.png", "tissue.json"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a small model with random numbers."""
    decoders = {"gland": 3, "lumen": 3, "nuclei": 3, "nuclei_type": 7, "gland_type": 3}
    network = build(CerberusParts(encoder="unet", width=8, decoders=decoders, tissue=9, tissue_cells=2), 0)
    spec = CerberusSpec(encoder="unet", width=8, contour=True)
    folder = tmp_path_factory.mktemp("model")
    model = Model(spec=spec, network=network, classes=PUBLISHED_CLASSES, mpp=0.5, origin="a test")
    save_model(model, FileStore(folder), "")
    return folder


def draw_pixels(height=60, width=80):
    pixels = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3)).astype(np.uint8)
    return pixels.repeat(4, axis=0).repeat(4, axis=1)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "slide.png"
    PillowImage.fromarray(draw_pixels()).save(path)
    return path


def predict(capsys, model, out, images, *words):
    return run(capsys, "predict", *images, "--model", model, "--out", out, *WINDOWS, *words)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_everything_is_written_and_again_the_same(capsys, model, image, tmp_path):
    code, out, err = predict(capsys, model, tmp_path / "out", [image], "--mpp", 0.5)
    assert code == 0, err
    first, line, last = out.splitlines()
    assert first == f"1 images with a test; results go to {tmp_path / 'out'}"
    assert line.startswith("slide.png: ")
    assert last == str(tmp_path / "out")
    written = contents(tmp_path / "out" / "slide")
    assert sorted(written) == sorted([*FILES, "summary.json"])
    summary = json.loads(written["summary.json"])
    assert summary["image"] == "slide.png"
    assert summary["size_px"] == [80, 60]
    assert summary["files"] == FILES
    assert summary["model"]["origin"] == "a test"
    assert summary["model"]["sha256"] == json.loads((model / "model.json").read_text())["sha256"]
    assert summary["histoseg"]
    assert sum(summary["tissue"].values()) == pytest.approx(1, abs=1e-3)
    rows = len(written["objects.csv"].splitlines()) - 1
    assert rows == sum(counts["all"] for counts in summary["counts"].values())
    assert rows == len(json.loads(written["objects.geojson"])["features"])
    with PillowImage.open(tmp_path / "out" / "slide" / "nuclei.png") as labels:
        assert labels.size == (80, 60)
        assert labels.mode == "I;16"
    predict(capsys, model, tmp_path / "again", [image], "--mpp", 0.5)
    assert contents(tmp_path / "again" / "slide") == written


def test_a_model_that_has_learnt_nothing_real_says_so_everywhere(capsys, caplog, model, image, tmp_path):
    poor = tmp_path / "poor"
    shutil.copytree(model, poor)
    about = json.loads((poor / "model.json").read_text())
    (poor / "model.json").write_text(json.dumps({**about, "steps": 6, "made_up": ["glas", "synthetic"]}))
    code, _, err = predict(capsys, poor, tmp_path / "out", [image], "--mpp", 0.25)
    assert code == 0, err
    made_up, steps, resolution = expected = [
        "the model was trained on made-up images (demo data of glas, synthetic)",
        "the model was trained for 6 steps only",
        "the model was trained at 0.5 microns per pixel; this image has 0.25 and was resampled",
    ]
    lines = caplog.messages
    assert [line for line in lines if made_up in line or steps in line] == lines[:2]
    assert f"slide: {resolution}" in lines
    written = contents(tmp_path / "out" / "slide")
    assert json.loads(written["objects.geojson"])["caveats"] == expected
    assert json.loads(written["summary.json"])["caveats"] == expected
    predict(capsys, model, tmp_path / "good", [image], "--mpp", 0.5)
    good = contents(tmp_path / "good" / "slide")
    assert "caveats" not in json.loads(good["objects.geojson"])
    assert json.loads(good["summary.json"])["caveats"] == []


def test_what_is_there_is_kept_until_something_changes(capsys, model, image, tmp_path):
    def line(*words):
        code, out, err = predict(capsys, model, tmp_path / "out", [image], *words)
        assert code == 0, err
        return out.splitlines()[1]

    assert "already there" not in line("--mpp", 0.5)
    assert line("--mpp", 0.5) == "slide.png: already there"
    assert "already there" not in line("--mpp", 0.5, "--overwrite")
    assert "already there" not in line("--mpp", 0.25)
    assert line("--mpp", 0.25) == "slide.png: already there"
    assert "already there" not in line("--mpp", 0.25, "--margin-px", 24, "--window-px", 112)
    PillowImage.fromarray(255 - draw_pixels()).save(image)
    assert "already there" not in line("--mpp", 0.25)
    (tmp_path / "out" / "slide" / "nuclei.png").unlink()
    assert "already there" not in line("--mpp", 0.25)
    (tmp_path / "out" / "slide" / "summary.json").write_text("[]")
    assert "already there" not in line("--mpp", 0.25)


def test_a_summary_is_never_beside_files_of_another_run(model, image, tmp_path, monkeypatch):
    store, loaded = FileStore(tmp_path / "out"), load_model(model)
    list(predict_images([image], loaded, store, Options(mpp=0.5)))
    assert "slide/summary.json" in store.list()

    def full(key, body):
        raise StorageError("no space left")

    monkeypatch.setattr(store, "put", full)
    with pytest.raises(StorageError, match="no space left"):
        list(predict_images([image], loaded, store, Options(mpp=0.4)))
    assert "slide/summary.json" not in store.list()


def test_files_of_structures_that_a_model_has_not_are_removed(model, image, tmp_path):
    store = FileStore(tmp_path / "out")
    list(predict_images([image], load_model(model), store, Options(mpp=0.5)))
    network = build(CerberusParts(encoder="unet", width=4, decoders={"lumen": 2}), 0).eval()
    other = Model(spec=CerberusSpec(encoder="unet", width=4), network=network, classes={}, mpp=0.5, origin="")
    list(predict_images([image], other, store, Options(mpp=0.5)))
    names = [key.removeprefix("slide/") for key in store.list()]
    assert names == ["lumen.png", "objects.csv", "objects.geojson", "overlay.png", "summary.json"]


def test_bad_images_do_not_keep_others_from_being_done(capsys, model, image, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    whole = image.read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    images = [tmp_path / "text.png", tmp_path / "missing.png", tmp_path / "cut.png", tmp_path, image]
    code, out, err = predict(capsys, model, tmp_path / "out", images, "--mpp", 0.5)
    assert code == 1
    assert f"{tmp_path / 'text.png'}: not a readable image" in err
    assert f"{tmp_path / 'missing.png'}: cannot be read (No such file" in err
    assert f"{tmp_path / 'cut.png'}: not a readable image" in err
    assert err.splitlines()[-1].startswith("histoseg: 4 of 5 images failed: ")
    assert err.count("\n") == 5
    assert "slide.png: " in out
    assert (tmp_path / "out" / "slide" / "summary.json").exists()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["slide"]


def test_what_reading_changed_is_said_and_kept(capsys, model, tmp_path):
    pixels = np.dstack([draw_pixels(), np.full((60, 80), 255, np.uint8)])
    pixels[:10, :10, 3] = 0
    PillowImage.fromarray(pixels).save(tmp_path / "slide.png")
    _, out, _ = predict(capsys, model, tmp_path / "out", [tmp_path / "slide.png"], "--mpp", 0.5)
    assert "; transparent pixels read as white glass: 100" in out
    summary = json.loads((tmp_path / "out" / "slide" / "summary.json").read_text())
    assert summary["notes"] == {"transparent pixels read as white glass": 100}


def test_one_image_that_fails_anyhow_is_one_line(capsys, model, image, tmp_path, monkeypatch):
    """A fault while it is segmented, such as too little memory, and a process that ends while it is read."""
    (tmp_path / "deadly.png").write_bytes(image.read_bytes())
    (tmp_path / "large.png").write_bytes(image.read_bytes())
    looking, reading = predicting.look, predicting.read_apart

    def look_at(name, *rest):
        if name == "large":
            raise MemoryError("could not allocate\n1000 bytes")
        return looking(name, *rest)

    class Deadly(ThreadPoolExecutor):
        def submit(self, *_):
            return super().submit(ReaderPool(1).submit(os._exit, 1).result)

    def read_or_die(path, mpp, readers):
        return reading(path, mpp, Deadly(1) if path.stem == "deadly" else readers)

    monkeypatch.setattr(predicting, "look", look_at)
    monkeypatch.setattr(predicting, "read_apart", read_or_die)
    images = [tmp_path / "deadly.png", tmp_path / "large.png", image]
    code, out, err = predict(capsys, model, tmp_path / "out", images, "--mpp", 0.5)
    assert code == 1
    assert f"{tmp_path / 'deadly.png'}: reading it ended the process" in err
    assert f"{tmp_path / 'large.png'}: cannot be segmented (MemoryError: could not allocate 1000 bytes)" in err
    assert err.count("\n") == 3
    assert "slide.png: " in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mpp", "0"], "--mpp 0: must be between 0.05 and 5"),
        (["--mpp", "-1"], "--mpp -1: must be between 0.05 and 5"),
        (["--mpp", "nan"], "--mpp nan: must be between 0.05 and 5"),
        (["--mpp", "500"], "--mpp 500: must be between 0.05 and 5"),
        (["--mpp", "0.5", "--window-px", "100"], "windows.window_px = 100"),
        (["--mpp", "0.5", "--margin-px", "200"], "windows.window_px = 96"),
        (["--mpp", "0.5", "--model", "/nonexistent"], "holds no model.json"),
        ([], "does not say how large a pixel is; give --mpp"),
    ],
)
def test_what_cannot_be_is_one_clear_line(capsys, model, image, tmp_path, words, message):
    code, _, err = predict(capsys, model, tmp_path / "out", [image], *words)
    assert code == 1
    assert message in err
    assert not (tmp_path / "out").exists()


def test_two_images_of_one_name_are_refused_before_anything_is_done(capsys, model, image, tmp_path):
    twin = tmp_path / "other" / "slide.tif"
    code, out, err = predict(capsys, model, tmp_path / "out", [image, twin], "--mpp", 0.5)
    assert (code, out) == (1, "")
    assert f"{image} and {twin} would both be written to slide/" in err


def test_an_image_is_seen_at_the_resolution_of_the_model(model, monkeypatch):
    loaded, sizes = load_model(model), []
    predict = CerberusSpec.predict

    def watched(self, network, image, windows, **options):
        sizes.append(image.shape[:2])
        return predict(self, network, image, windows, **options)

    monkeypatch.setattr(CerberusSpec, "predict", watched)
    for mpp, expected in [(0.25, (30, 40)), (1.0, (120, 160)), (0.505, (60, 80))]:  # 1 % off is not resampled.
        seen = look("slide", draw_pixels(), mpp, loaded, MarginWindows(window_px=96, margin_px=16))
        assert sizes[-1] == seen.seen_px == expected
        assert seen.image_px == (60, 80)


def squares(spec, network, image, windows, **_):
    """Stands for the network: a nucleus is what is dark, at least 3 pixels wide."""
    dark = cv2.morphologyEx((image[..., 0] < 100).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    nuclei = cv2.connectedComponents(dark, ltype=cv2.CV_32S)[1]
    count = int(nuclei.max())
    maps = {name: np.zeros(nuclei.shape, np.int32) for name in ("gland", "lumen")} | {"nuclei": nuclei}
    return Prediction(
        instance_maps=maps,
        classes={name: np.full(count if name == "nuclei" else 0, 2, np.uint8) for name in maps},
        class_probabilities={name: np.ones(count if name == "nuclei" else 0) for name in maps},
        tissue=None,
        tissue_px=32,
    )


def test_places_are_right_whatever_the_resolution(capsys, model, tmp_path, monkeypatch):
    """The same tissue at 0.25 and at 0.5 µm: the same areas and places in microns."""
    monkeypatch.setattr(CerberusSpec, "predict", squares)
    pixels = np.full((80, 80, 3), 255, np.uint8)
    pixels[10:30, 40:60] = pixels[50:56, 8:20] = 0
    PillowImage.fromarray(pixels).save(tmp_path / "fine.png")
    PillowImage.fromarray(pixels[::2, ::2]).save(tmp_path / "coarse.png")
    for name, mpp in [("fine", 0.25), ("coarse", 0.5)]:
        code, out, _ = predict(capsys, model, tmp_path / "out", [tmp_path / f"{name}.png"], "--mpp", mpp)
        assert code == 0
        assert f"{name}.png: no gland, no lumen, 2 nuclei in " in out
        folder = tmp_path / "out" / name
        features = json.loads((folder / "objects.geojson").read_text())["features"]
        areas = [feature["properties"]["measurements"]["Area µm^2"] for feature in features]
        assert areas == pytest.approx([25, 4.5])  # 20 · 20 and 6 · 12 pixels of 0.0625 µm²
        ring = np.array(features[0]["geometry"]["coordinates"][0]) * mpp
        assert ring.min(axis=0) == pytest.approx([10, 2.5])
        assert ring.max(axis=0) == pytest.approx([15, 7.5])
        with PillowImage.open(folder / "nuclei.png") as labels:
            found = np.array(labels)
        assert found.shape == ((80, 80) if name == "fine" else (40, 40))
        np.testing.assert_array_equal(found > 0, (pixels if name == "fine" else pixels[::2, ::2])[..., 0] == 0)
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["counts"]["nuclei"]["classes"]["epithelial"] == 2
        assert summary["counts"]["nuclei"]["not_in_map"] == 0


def test_objects_too_small_for_the_map_are_counted(model, tmp_path, monkeypatch):
    """At 2 µm per pixel the image has a sixteenth of the pixels that are segmented."""
    nuclei = np.zeros((80, 80), np.int32)
    nuclei[0, 0], nuclei[40:60, 40:60] = 1, 2  # The first is not in the middle of a pixel of the image.
    found = Prediction(
        instance_maps={"nuclei": nuclei},
        classes={"nuclei": np.zeros(2, np.uint8)},
        class_probabilities={"nuclei": np.zeros(2)},
        tissue=None,
        tissue_px=32,
    )
    monkeypatch.setattr(CerberusSpec, "predict", lambda *_, **__: found)
    loaded = load_model(model)
    seen = look("slide", draw_pixels(20, 20), 2.0, loaded, MarginWindows())
    counts = summarise(seen, list_objects(seen), loaded)["counts"]["nuclei"]
    assert counts["all"] == 2
    assert counts["not_in_map"] == 1
    assert counts["classes"][""] == 2
    assert math.isclose(list_objects(seen)[0].area_um2, 0.25)


def test_a_network_of_semantic_maps_is_predicted_with_too(capsys, image, tmp_path):
    tasks = {"glas": ("background", "gland"), "lab": ("background", "fat", "muscle")}
    spec = UNetSpec(width=4)
    network = spec.rebuild(Heads(num_classes={name: len(names) for name, names in tasks.items()}))
    save_model(Model(spec=spec, network=network, classes=tasks, mpp=0.5, origin="U-Net"), FileStore(tmp_path / "m"), "")
    code, out, err = predict(capsys, tmp_path / "m", tmp_path / "out", [image], "--mpp", 0.25)
    assert code == 0, err
    assert "slide.png: classes of glas, lab in " in out
    written = contents(tmp_path / "out" / "slide")
    summary = json.loads(written["summary.json"])
    assert summary["files"] == ["glas.png", "lab.png", "objects.csv", "objects.geojson", "overlay.png"]
    assert summary["counts"] == {}
    for task, names in tasks.items():
        with PillowImage.open(io.BytesIO(written[f"{task}.png"])) as labels:
            found = np.array(labels)
        assert found.shape == (60, 80)  # The network saw 30 x 40.
        assert found.dtype == np.uint8
        # Each pixel that was predicted stands for four of the image, so shares are the same.
        shares = np.bincount(found.ravel(), minlength=len(names)) / found.size
        assert summary["pixels"][task] == pytest.approx(dict(zip(names, shares, strict=True)), abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 200)])
def test_odd_sizes(capsys, model, tmp_path, size):
    PillowImage.fromarray(np.full((*size, 3), 128, np.uint8)).save(tmp_path / "odd.tif")
    code, _, err = predict(capsys, model, tmp_path / "out", [tmp_path / "odd.tif"], "--mpp", 0.5)
    assert code == 0, err


def test_images_of_other_modes_are_taken_as_rgb(capsys, model, tmp_path):
    PillowImage.fromarray(draw_pixels()).convert("RGBA").save(tmp_path / "rgba.png")
    PillowImage.fromarray(draw_pixels()).convert("P").save(tmp_path / "palette.png")
    PillowImage.fromarray(draw_pixels()).save(tmp_path / "photo.jpg")
    images = [tmp_path / name for name in ("rgba.png", "palette.png", "photo.jpg")]
    code, out, err = predict(capsys, model, tmp_path / "out", images, "--mpp", 0.5)
    assert code == 0, err
    assert len(out.splitlines()) == 5


def test_an_image_that_takes_much_memory_is_told_beforehand(capsys, model, image, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("histoseg.inference.predict.LARGE_PX", 80 * 60 - 1)
    code, _, err = predict(capsys, model, tmp_path / "out", [image], "--mpp", 0.5)
    assert code == 0, err
    # 19 classes of five decoders, 4 bytes each, for 80 x 60 pixels: far below a tenth of a gigabyte
    wanted = "slide: 80 x 60 px at 0.5 microns per pixel; its maps alone take 0.0 GB of memory; where there is less"
    assert [text.startswith(wanted) for text in caplog.messages] == [True]
