"""Images small enough to be one picture, by the command: all that their folders hold, and what can go wrong."""

import io
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage

from histoseg.commands.segment import open_results
from histoseg.errors import ConfigError, StorageError
from histoseg.inference import segment as segmenting
from histoseg.inference.segment import SegmentOptions, segment_slide
from histoseg.maps.windows import MarginWindows
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.cerberus.published import PUBLISHED_CLASSES
from histoseg.models.spec import Heads
from histoseg.models.unet import UNetSpec
from histoseg.models.weights import Model, load_model, save_model
from histoseg.shards.pool import ReaderPool
from histoseg.slides.tissue_map import read_tissue
from histoseg.store.objects import FileStore
from tests.command import run

WINDOWS = ["--window-px", "96", "--margin-px", "16"]
OF_ANY_SLIDE = ["mask.png", "objects.parquet", "thumbnail.jpg"]
OF_IMAGES = ["objects.csv", "objects.geojson", "overlay.png"]
FILES = sorted(["gland.png", "lumen.png", "nuclei.png", "tissue.tif", *OF_IMAGES, *OF_ANY_SLIDE])
OPTIONS = SegmentOptions(mpp=0.5, windows=MarginWindows(window_px=96, margin_px=16))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a small model with random numbers."""
    decoders = {"gland": 3, "lumen": 3, "nuclei": 3, "nuclei_type": 7, "gland_type": 3}
    branches = {"gland_type": "gland"}  # One head on the branch of another, one decoder of its own
    parts = CerberusParts(encoder="unet", width=8, decoders=decoders, branches=branches, tissue=9, tissue_cells=2)
    network = build(parts, 0)
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


def segment(capsys, model, out, images, *words):
    return run(capsys, "segment", *images, "--model", model, "--out", out, *WINDOWS, *words)


def contents(folder):
    """The files of a slide by name, the summary without the time that it took."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    summary = json.loads(files["summary.json"])
    return files | {"summary.json": json.dumps({**summary, "seconds": 0}).encode()}


def test_everything_is_written_and_again_the_same(capsys, model, image, tmp_path):
    code, out, err = segment(capsys, model, tmp_path / "out", [image], "--mpp", 0.5)
    assert code == 0, err
    first, line, last = out.splitlines()
    assert first == f"1 slide with a test; results go to {tmp_path / 'out'}"
    assert line.startswith("slide: ")
    assert last == str(tmp_path / "out")
    written = contents(tmp_path / "out" / "slide")
    assert sorted(written) == sorted([*FILES, "summary.json"])
    summary = json.loads(written["summary.json"])
    assert (summary["name"], summary["address"]) == ("slide", str(image))
    assert summary["size_px"] == [80, 60]
    assert summary["files"] == FILES
    assert summary["model"]["origin"] == "a test"
    assert summary["model"]["sha256"] == json.loads((model / "model.json").read_text())["sha256"]
    assert summary["histoseg"]
    assert sum(summary["tissue"]["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert read_tissue(tmp_path / "out" / "slide" / "tissue.tif").class_map.shape == (2, 3)  # Squares of 32 pixels
    rows = len(written["objects.csv"].splitlines()) - 1
    assert rows == sum(counts["all"] for counts in summary["counts"].values())
    assert rows == len(json.loads(written["objects.geojson"])["features"])
    with PillowImage.open(tmp_path / "out" / "slide" / "nuclei.png") as labels:
        assert labels.size == (80, 60)
        assert labels.mode == "I;16"
    segment(capsys, model, tmp_path / "again", [image], "--mpp", 0.5)
    assert contents(tmp_path / "again" / "slide") == written


def test_predict_is_another_name_of_the_command(capsys, model, image, tmp_path):
    words = [image, "--model", model, "--mpp", 0.5, *WINDOWS]
    assert run(capsys, "predict", *words, "--out", tmp_path / "one")[0] == 0
    assert run(capsys, "segment", *words, "--out", tmp_path / "other")[0] == 0
    assert contents(tmp_path / "one" / "slide") == contents(tmp_path / "other" / "slide")


def test_a_model_that_has_learnt_nothing_real_says_so_everywhere(capsys, caplog, model, image, tmp_path):
    poor = tmp_path / "poor"
    shutil.copytree(model, poor)
    about = json.loads((poor / "model.json").read_text())
    (poor / "model.json").write_text(json.dumps({**about, "steps": 6, "made_up": ["glas", "synthetic"]}))
    code, out, err = segment(capsys, poor, tmp_path / "out", [image], "--mpp", 0.25)
    assert code == 0, err
    made_up, steps, resolution = expected = [
        "the model was trained on made-up images (demo data of glas, synthetic)",
        "the model was trained for 6 steps only",
        "the model was trained at 0.5 microns per pixel; this image has 0.25 and was resampled",
    ]
    lines = caplog.messages
    assert [line for line in lines if made_up in line or steps in line] == lines[:2]
    assert out.splitlines()[1].endswith(f"; {made_up}; {steps}; {resolution}")
    written = contents(tmp_path / "out" / "slide")
    assert json.loads(written["objects.geojson"])["caveats"] == expected
    assert json.loads(written["summary.json"])["caveats"] == expected
    segment(capsys, model, tmp_path / "good", [image], "--mpp", 0.5)
    good = contents(tmp_path / "good" / "slide")
    assert "caveats" not in json.loads(good["objects.geojson"])
    assert json.loads(good["summary.json"])["caveats"] == []


def test_what_is_there_is_kept_until_something_changes(capsys, model, image, tmp_path):
    """What is of other inputs is replaced only if that is asked for; what is not whole is made again."""

    def line(*words):
        code, out, err = segment(capsys, model, tmp_path / "out", [image], *words)
        return out.splitlines()[1] if code == 0 else err

    def changes(*words):
        assert "made with another file or other options; remove it, give --overwrite" in line(*words)
        return "already there" not in line(*words, "--overwrite")

    assert "already there" not in line("--mpp", 0.5)
    assert line("--mpp", 0.5) == "slide: already there"
    assert line("--mpp", 0.5, "--overwrite") == "slide: already there"
    assert changes("--mpp", 0.25)
    assert line("--mpp", 0.25) == "slide: already there"
    assert changes("--mpp", 0.25, "--margin-px", 24, "--window-px", 112)
    PillowImage.fromarray(255 - draw_pixels()).save(image)
    assert changes("--mpp", 0.25)
    (tmp_path / "out" / "slide" / "nuclei.png").unlink()
    assert "already there" not in line("--mpp", 0.25)
    assert (tmp_path / "out" / "slide" / "nuclei.png").exists()
    (tmp_path / "out" / "slide" / "summary.json").write_text("[]")
    assert "summary.json: the file: Input should be an object; delete it" in line("--mpp", 0.25)
    assert "already there" not in line("--mpp", 0.25, "--overwrite")
    assert line("--mpp", 0.25) == "slide: already there"


def test_a_byte_in_the_middle_of_a_file_changes_it(tmp_path, model):
    """Of an image that is not compressed, size and ends stay."""
    path, store = tmp_path / "slide.bmp", FileStore(tmp_path / "out")
    PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (1200, 1200, 3)).astype(np.uint8)).save(path)
    body = bytearray(path.read_bytes())
    loaded = load_model(model)
    before = segmenting._made_of(str(path), loaded, OPTIONS)
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    assert len(body) > 4 * segmenting.ENDS_BYTES
    assert segmenting._made_of(str(path), loaded, OPTIONS) != before
    assert store.list() == []


def test_a_summary_is_never_beside_files_of_another_run(model, image, tmp_path, monkeypatch):
    store, loaded = FileStore(tmp_path / "out"), load_model(model)
    segment_slide(str(image), loaded, store, OPTIONS)
    assert "slide/summary.json" in store.list()
    put = store.put

    def full(key, body):
        if ".parts" not in key:
            raise StorageError("no space left")
        put(key, body)

    monkeypatch.setattr(store, "put", full)
    other = replace(OPTIONS, mpp=0.4, overwrite=True)
    with pytest.raises(StorageError, match="no space left"):
        segment_slide(str(image), loaded, store, other)
    assert "slide/summary.json" not in store.list()


def test_files_of_structures_that_a_model_has_not_are_removed(model, image, tmp_path):
    store = FileStore(tmp_path / "out")
    segment_slide(str(image), load_model(model), store, OPTIONS)
    store.put("slide/notes.txt", b"a person's own")
    network = build(CerberusParts(encoder="unet", width=4, decoders={"lumen": 2}), 0).eval()
    other = Model(spec=CerberusSpec(encoder="unet", width=4), network=network, classes={}, mpp=0.5, origin="")
    with pytest.raises(ConfigError, match="made with another model"):
        segment_slide(str(image), other, store, OPTIONS)
    segment_slide(str(image), other, store, replace(OPTIONS, overwrite=True))
    names = [key.removeprefix("slide/") for key in store.list()]
    assert names == sorted(["lumen.png", "notes.txt", "summary.json", *OF_IMAGES, *OF_ANY_SLIDE])


def test_bad_images_do_not_keep_others_from_being_done(capsys, model, image, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    whole = image.read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    images = [tmp_path / "text.png", tmp_path / "cut.png", image]
    code, out, err = segment(capsys, model, tmp_path / "out", images, "--mpp", 0.5)
    assert code == 1
    assert f"{tmp_path / 'text.png'}: not a readable image" in err
    assert f"{tmp_path / 'cut.png'}: not a readable image" in err
    assert err.splitlines()[-1].startswith("histoseg: 2 of 3 slides failed: ")
    assert err.count("\n") == 3
    assert "slide: " in out
    assert (tmp_path / "out" / "slide" / "summary.json").exists()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["slide"]


def test_a_name_of_no_file_is_refused_before_anything_is_done(capsys, model, image, tmp_path):
    images = [tmp_path / "missing.png", image]
    code, out, err = segment(capsys, model, tmp_path / "out", images, "--mpp", 0.5)
    assert (code, out) == (1, "")
    assert f"{tmp_path / 'missing.png'}: there is no such file or folder" in err
    assert not (tmp_path / "out").exists()


def test_what_reading_changed_is_said_and_kept(capsys, model, tmp_path):
    pixels = np.dstack([draw_pixels(), np.full((60, 80), 255, np.uint8)])
    pixels[:10, :10, 3] = 0
    PillowImage.fromarray(pixels).save(tmp_path / "slide.png")
    _, out, _ = segment(capsys, model, tmp_path / "out", [tmp_path / "slide.png"], "--mpp", 0.5)
    assert "; transparent pixels read as white glass: 100" in out
    summary = json.loads((tmp_path / "out" / "slide" / "summary.json").read_text())
    assert summary["notes"] == {"transparent pixels read as white glass": 100}


def test_one_image_that_fails_anyhow_is_one_line(capsys, model, image, tmp_path, monkeypatch):
    """A fault while it is segmented, such as too little memory, and a process that ends while it is read."""
    (tmp_path / "deadly.png").write_bytes(image.read_bytes())
    (tmp_path / "large.png").write_bytes(image.read_bytes())
    finishing, opening = segmenting.finish, segmenting.open_slide

    def finish(work, begun):
        if work.slide.name == "large":
            raise MemoryError("could not allocate\n1000 bytes")
        return finishing(work, begun)

    class Deadly(ReaderPool):
        def submit(self, *_):
            return super().submit(os._exit, 1)

    def open_or_die(address, mpp, readers):
        with Deadly(1) as deadly:
            return opening(address, mpp, readers=deadly if "deadly" in address else readers)

    monkeypatch.setattr(segmenting, "finish", finish)
    monkeypatch.setattr(segmenting, "open_slide", open_or_die)
    images = [tmp_path / "deadly.png", tmp_path / "large.png", image]
    code, out, err = segment(capsys, model, tmp_path / "out", images, "--mpp", 0.5)
    assert code == 1
    assert f"{tmp_path / 'deadly.png'}: reading it ended the process" in err
    assert f"{tmp_path / 'large.png'}: cannot be segmented (MemoryError: could not allocate 1000 bytes)" in err
    assert err.count("\n") == 3
    assert "slide: " in out


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
        ([], "does not say how large a pixel is; give --mpp (SET=mpp=…)"),
    ],
)
def test_what_cannot_be_is_one_clear_line(capsys, model, image, tmp_path, words, message):
    code, _, err = segment(capsys, model, tmp_path / "out", [image], *words)
    assert code == 1
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_structure_without_a_head_is_one_line_however_many_slides(capsys, model, image, tmp_path):
    images = [image, shutil.copy(image, tmp_path / "second.png")]
    code, out, err = segment(capsys, model, tmp_path / "out", images, "--mpp", 0.5, "--structures", "vessel")
    assert (code, out) == (1, "")
    assert err == "histoseg: the model does not find vessel; choose from gland, lumen, nuclei\n"


def test_two_images_of_one_name_are_refused_before_anything_is_done(capsys, model, image, tmp_path):
    twin = tmp_path / "other" / "slide.tif"
    twin.parent.mkdir()
    twin.write_bytes(b"")
    code, out, err = segment(capsys, model, tmp_path / "out", [image, twin], "--mpp", 0.5)
    assert (code, out) == (1, "")
    assert f"{image} and {twin} would both be written to slide/" in err


def test_a_network_of_semantic_maps_is_predicted_with_too(capsys, image, tmp_path):
    tasks = {"glas": ("background", "gland"), "lab": ("background", "fat", "muscle")}
    spec = UNetSpec(width=4)
    network = spec.rebuild(Heads(num_classes={name: len(names) for name, names in tasks.items()}))
    save_model(Model(spec=spec, network=network, classes=tasks, mpp=0.5, origin="U-Net"), FileStore(tmp_path / "m"), "")
    code, out, err = segment(capsys, tmp_path / "m", tmp_path / "out", [image], "--mpp", 0.25)
    assert code == 0, err
    assert "slide: classes of glas, lab in " in out
    written = contents(tmp_path / "out" / "slide")
    summary = json.loads(written["summary.json"])
    assert summary["files"] == sorted(["glas.png", "glas.tif", "lab.png", "lab.tif", *OF_IMAGES, *OF_ANY_SLIDE])
    assert summary["counts"] == {}
    for task, names in tasks.items():
        with PillowImage.open(io.BytesIO(written[f"{task}.png"])) as labels:
            found = np.array(labels)
        assert found.shape == (60, 80)  # The network saw 30 x 40.
        assert found.dtype == np.uint8
        # Each pixel that was predicted stands for four of the image, so shares are the same.
        shares = np.bincount(found.ravel(), minlength=len(names)) / found.size
        assert summary["pixels"][task]["shares"] == pytest.approx(dict(zip(names, shares, strict=True)), abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 200)])
def test_odd_sizes(capsys, model, tmp_path, size):
    PillowImage.fromarray(np.full((*size, 3), 128, np.uint8)).save(tmp_path / "odd.tif")
    code, _, err = segment(capsys, model, tmp_path / "out", [tmp_path / "odd.tif"], "--mpp", 0.5)
    assert code == 0, err


def test_images_of_other_modes_are_taken_as_rgb(capsys, model, tmp_path):
    PillowImage.fromarray(draw_pixels()).convert("RGBA").save(tmp_path / "rgba.png")
    PillowImage.fromarray(draw_pixels()).convert("P").save(tmp_path / "palette.png")
    PillowImage.fromarray(draw_pixels()).save(tmp_path / "photo.jpg")
    images = [tmp_path / name for name in ("rgba.png", "palette.png", "photo.jpg")]
    code, out, err = segment(capsys, model, tmp_path / "out", images, "--mpp", 0.5)
    assert code == 0, err
    assert len(out.splitlines()) == 5


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_results_go_into_no_file(out, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="taken is a file; name a folder for results"):
        open_results(str(tmp_path / out))
