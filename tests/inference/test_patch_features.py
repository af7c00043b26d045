"""Features of patches by the command: where they are taken, what the file says, and what is refused."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

from histoseg.maps.objects import find_objects
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.spec import Heads
from histoseg.models.weights import Model, load_model, save_model
from histoseg.representation.patches import cut_patches
from histoseg.representation.pool import pooled
from histoseg.store.objects import FileStore
from tests.command import run, succeed

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
SPEC = CerberusSpec(encoder="resnet18", width=4)


def save(folder, spec, heads):
    network = spec.rebuild(Heads(num_classes=heads)).eval()
    save_model(Model(spec=spec, network=network, classes={}, mpp=0.5, origin="a test"), FileStore(folder), "")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model"), SPEC, {"nuclei": 2})


@pytest.fixture
def image(tmp_path):
    PillowImage.fromarray(PIXELS).save(tmp_path / "slide.png")
    return tmp_path / "slide.png"


@pytest.fixture
def labels(tmp_path):
    """Three objects, one of them at the border."""
    found = np.zeros((60, 80), np.uint8)
    found[2:8, 3:9], found[20:30, 30:40], found[55:60, 70:80] = 9, 4, 2
    (tmp_path / "labels").mkdir()
    PillowImage.fromarray(found).save(tmp_path / "labels" / "slide.png")
    return tmp_path / "labels"


def features(capsys, image, model, out, *words):
    return run(capsys, "features", image, "--model", model, "--out", out, "--mpp", "0.5", *words)


def numbers(table):
    return np.stack([table[f"f{i}"].to_numpy() for i in range(60)], axis=1)


def test_objects_of_a_label_image(capsys, image, model, labels, tmp_path):
    out = tmp_path / "out"
    succeed(capsys, "features", image, "--model", model, "--out", out, "--mpp", "0.5", "--objects", labels)
    table = pq.read_table(out / "slide.parquet")
    found = find_objects(np.array(PillowImage.open(labels / "slide.png")).astype(np.int32))
    wanted = pooled(load_model(model).network, cut_patches(PIXELS, found.centroids, 32))
    assert table["id"].to_pylist() == [2, 4, 9]
    assert numbers(table) == pytest.approx(wanted, abs=1e-6)
    assert table["x_px"].to_pylist() == (found.centroids[:, 0] + 0.5).tolist()  # Middles of pixels, as in QuPath
    assert table["y_um"].to_pylist() == ((found.centroids[:, 1] + 0.5) * 0.5).tolist()
    about = json.loads(table.schema.metadata[b"histoseg"])
    assert (about["image"], about["patch_px"], about["depths"], about["model_mpp"]) == ("slide", 32, 4, 0.5)
    assert about["model_sha256"] == load_model(model).sha256


def test_without_objects_patches_lie_side_by_side(capsys, image, model, tmp_path):
    code, printed, _ = features(capsys, image, model, tmp_path / "one.parquet", "--patch-px", "20")
    assert code == 0
    assert printed.splitlines()[-1] == str(tmp_path / "one.parquet")
    table = pq.read_table(tmp_path / "one.parquet")
    blocks = PIXELS.reshape(3, 20, 4, 20, 3).transpose(0, 2, 1, 3, 4).reshape(12, 20, 20, 3)
    assert numbers(table) == pytest.approx(pooled(load_model(model).network, blocks), abs=1e-5)
    assert table["x_px"].to_pylist()[:4] == [10.5, 30.5, 50.5, 70.5]


def test_objects_that_segment_found_or_that_the_model_finds(capsys, image, model, tmp_path):
    succeed(capsys, "segment", image, "--model", model, "--out", tmp_path / "found", "--mpp", "0.5")
    assert features(capsys, image, model, tmp_path / "a", "--objects", tmp_path / "found")[0] == 0
    wanted, table = (pq.read_table(tmp_path / name) for name in ("found/slide/objects.parquet", "a/slide.parquet"))
    assert len(wanted)
    assert table["id"].to_pylist() == wanted["id"].to_pylist()
    assert table["x_px"].to_pylist() == wanted["x"].to_pylist()
    assert set(table["structure"].to_pylist()) == {"nuclei"}
    assert features(capsys, image, model, tmp_path / "b", "--objects", "model")[0] == 0
    assert pq.read_table(tmp_path / "b" / "slide.parquet")["x_px"].to_pylist() == wanted["x"].to_pylist()


def test_what_is_there_stays_unless_it_is_to_be_replaced(capsys, image, model, tmp_path):
    out = tmp_path / "out"
    assert features(capsys, image, model, out)[0] == 0
    before = (out / "slide.parquet").read_bytes()
    assert "already there" in features(capsys, image, model, out)[1]
    code, _, errors = features(capsys, image, model, out, "--depths", "2")
    assert (code, "has features of other options; give another --out, or --overwrite" in errors) == (1, True)
    assert (out / "slide.parquet").read_bytes() == before
    assert features(capsys, image, model, out, "--depths", "2", "--overwrite")[0] == 0
    assert pq.read_table(out / "slide.parquet").num_columns == 7 + 16 + 32


def test_features_of_an_image_or_of_objects_that_changed_are_not_taken_for_theirs(
    capsys, image, model, labels, tmp_path
):
    out, words = tmp_path / "out", ("--objects", labels)
    assert features(capsys, image, model, out, *words)[0] == 0
    assert "already there" in features(capsys, image, model, out, *words)[1]
    found = np.array(PillowImage.open(labels / "slide.png"))
    PillowImage.fromarray(np.roll(found, 3)).save(labels / "slide.png")
    code, _, errors = features(capsys, image, model, out, *words)
    assert (code, "other objects" in errors) == (1, True)
    assert features(capsys, image, model, out, *words, "--overwrite")[0] == 0
    PillowImage.fromarray(PIXELS[::-1]).save(image)
    code, _, errors = features(capsys, image, model, out, *words)
    assert (code, "another image" in errors) == (1, True)


def test_features_of_another_model_are_not_taken_for_its_own(capsys, image, model, tmp_path):
    other = save(tmp_path / "other", SPEC, {"nuclei": 3})
    assert features(capsys, image, model, tmp_path / "out")[0] == 0
    code, _, errors = features(capsys, image, other, tmp_path / "out")
    assert (code, "has features of another model; give another --out, or --overwrite" in errors) == (1, True)


def test_another_file_of_that_name_is_none_of_features(capsys, image, model, tmp_path):
    assert features(capsys, image, model, tmp_path / "out")[0] == 0
    path = tmp_path / "out" / "slide.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({"histoseg": "[]"}), path)
    code, _, errors = features(capsys, image, model, tmp_path / "out")
    assert (code, "is damaged, or no file of features; give another --out" in errors) == (1, True)


def test_what_cannot_be_is_refused_in_one_line(capsys, image, model, labels, tmp_path):
    empty = tmp_path / "empty.png"
    PillowImage.fromarray(np.zeros((60, 80), np.uint8)).save(empty)
    small = tmp_path / "small.png"
    PillowImage.fromarray(np.ones((9, 80), np.uint8)).save(small)
    cases = {
        "holds no model.json": (tmp_path, ()),
        "no objects there": (model, ("--objects", empty)),
        "labels of (9, 80) px": (model, ("--objects", small)),
        "neither slide/objects.parquet nor a label image": (model, ("--objects", tmp_path / "nowhere")),
        "--depths = 5": (model, ("--depths", "5")),
        "--patch-px = 4": (model, ("--patch-px", "4")),
    }
    for text, (folder, words) in cases.items():
        code, _, errors = features(capsys, image, folder, tmp_path / "out", *words)
        assert (code, text in errors) == (1, True), errors
        assert not list((tmp_path / "out").glob("**/*.parquet"))


def test_one_file_holds_one_image(capsys, image, model, tmp_path):
    PillowImage.fromarray(PIXELS).save(tmp_path / "other.png")
    words = ("features", image, tmp_path / "other.png", "--model", model, "--mpp", "0.5")
    code, _, errors = run(capsys, *words, "--out", tmp_path / "one.parquet")
    assert (code, "there are 2 images" in errors) == (1, True)


def test_weights_are_put_into_a_store(capsys, model, tmp_path):
    store = FileStore(tmp_path / "store")
    name = succeed(capsys, "put-weights", model, "--store", store.url).strip()
    assert store.size(f"weights/{name}.safetensors")
    code, _, errors = run(capsys, "put-weights", model, "--store", store.url, "--encoder", "resnet18")
    assert (code, "timm/NAME" in errors) == (1, True)
