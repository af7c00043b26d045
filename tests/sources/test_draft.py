"""What `histoseg declare` sees in folders as laboratories have them."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from histoseg.errors import DataError
from histoseg.sources._declared import find_declarations, load_source
from histoseg.sources._draft import look_at
from histoseg.sources._draft_file import to_toml
from histoseg.types import IGNORE
from tests.command import run

SIZE = (40, 48)


def draw(folder, *names):
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(path)


def read_all(folder, draft):
    """The samples of the folder when the draft is declared, by key."""
    (folder / "source.toml").write_text(to_toml(draft, folder, 0.5))
    (name,) = declared = find_declarations(folder)
    source = load_source(name, declared)
    return {entry.key: source.read(entry) for entry in source.entries(folder)}


def test_label_maps_may_number_more_objects_than_a_byte_holds(tmp_path):
    draw(tmp_path / "nuclei", *(f"tissue/case{i}_{j}.tif" for i in "12" for j in "ab"))
    numbers = np.zeros(SIZE, np.uint16)
    numbers[2:8, 2:8], numbers[20:30, 20:30] = 300, 830
    for image in sorted((tmp_path / "nuclei" / "tissue").iterdir()):
        tifffile.imwrite(tmp_path / "nuclei" / "tissue" / f"{image.stem}_labels.tif", numbers)
    draft = look_at(tmp_path / "nuclei")
    assert (draft.kind, draft.labels, draft.patients) == ("instance", "tissue/{name}_labels.tif", ["case1", "case2"])
    sample = read_all(tmp_path / "nuclei", draft)["case1_a"]
    np.testing.assert_array_equal(sample.instance_map, numbers)


def test_images_may_have_several_formats_and_labels_be_arrays(tmp_path):
    draw(tmp_path / "nuclei", "images/x1.tif", "images/x2.PNG", "images/x3.png")
    (tmp_path / "nuclei" / "maps").mkdir()
    for name in ("x1", "x2"):
        np.save(tmp_path / "nuclei" / "maps" / f"{name}.npy", np.eye(*SIZE, dtype=np.int32) * 3)
    draft = look_at(tmp_path / "nuclei")
    assert (draft.images, draft.labels) == ("images/{name}.*", "maps/{name}.npy")
    assert draft.remarks[0].startswith("1 images have no label as maps/{name}.npy: ")
    (tmp_path / "nuclei" / "images" / "x3.png").unlink()
    assert read_all(tmp_path / "nuclei", draft).keys() == {"x1", "x2"}


def test_transparent_pixels_of_a_mask_have_a_meaning_of_their_own(tmp_path):
    folder = tmp_path / "tissue"
    draw(folder, *(f"patient {i}/train_{i}.jpg" for i in range(3)), "patient 2/train_7.jpg")
    mask = np.zeros((*SIZE, 4), np.uint8)
    mask[:20], mask[20:30] = (200, 0, 0, 255), (255, 255, 255, 90)
    for image in sorted(folder.rglob("*.jpg")):
        Image.fromarray(mask).save(image.with_name(f"{image.stem}_mask.png"))
    draft = look_at(folder)
    assert list(draft.values) == ["transparent", "#c80000", "#ffffff"]
    assert draft.patients == ["patient 0", "patient 1", "patient 2"]
    path = folder / "source.toml"
    samples = read_all(folder, draft)
    np.testing.assert_array_equal(samples["patient-2-train_7"].semantic_map[[0, 20, 30], 0], [1, 2, 0])
    path.write_text(path.read_text().replace('"transparent" = "background"', '"transparent" = "ignored"'))
    source = load_source("tissue", find_declarations(folder))
    assert source.read(source.entries(folder)[0]).semantic_map[30, 0] == IGNORE
    path.write_text(path.read_text().replace('"transparent" = "ignored"', ""))
    source = load_source("tissue", find_declarations(folder))
    with pytest.raises(DataError, match=r"480 pixels are transparent; .* say in its \[values\] what transparent means"):
        source.read(source.entries(folder)[0])


def test_one_file_of_coco_is_found(tmp_path):
    folder = tmp_path / "nuclei"
    draw(folder, "images/a1.png", "images/a2.png")
    images = [{"id": i, "file_name": f"raw/a{i}.png"} for i in (1, 2)]
    outline = {"id": 1, "image_id": 1, "category_id": 4, "segmentation": [[2, 2, 8, 2, 8, 8, 2, 8]]}
    categories = [{"id": 4, "name": "nucleus"}]
    text = json.dumps({"images": images, "annotations": [outline], "categories": categories})
    (folder / "all.json").write_text(text)
    draft = look_at(folder)
    assert (draft.images, draft.labels, draft.kind) == ("images/{name}.png", "all.json", "instance")
    assert [int((sample.instance_map > 0).sum()) for sample in read_all(folder, draft).values()] == [36, 0]


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (("P1_roi1", "P1_roi2", "P2_roi1"), ["P1", "P2"]),
        (("train_1", "train_2", "testA_1"), []),
        (
            ("TCGA-A7-A13E-01Z-00-DX1", "TCGA-A7-A13E-01Z-00-DX2", "TCGA-B0-5698-01Z-00-DX1"),
            ["TCGA-A7-A13E", "TCGA-B0-5698"],
        ),
        (("case 1/train_1", "case 1/train_2", "case 2/train_1"), ["case 1", "case 2"]),
    ],
)
def test_patients_are_sought_where_laboratories_name_them(tmp_path, names, patients):
    draw(tmp_path, *(f"{name}.png" for name in names))
    for name in names:
        Image.fromarray(np.eye(*SIZE, dtype=np.uint8)).save(tmp_path / f"{name}_mask.png")
    assert look_at(tmp_path).patients == patients


def test_names_of_single_objects_are_no_classes(tmp_path):
    for image in "ab":
        draw(tmp_path, f"{image}.png")
        outline = {"type": "Polygon", "coordinates": [[[2, 2], [8, 2], [8, 8], [2, 2]]]}
        names = [{"classification": {"name": f"{image}{i}"}} for i in range(4)]
        cells = [{"type": "Feature", "geometry": outline, "properties": name} for name in names]
        (tmp_path / f"{image}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": cells}))
    assert look_at(tmp_path).classes == ["background", "object"]


def test_a_resolution_that_no_slide_has_is_refused(tmp_path, capsys):
    code, _, errors = run(capsys, "declare", tmp_path, "--mpp", "40")
    assert code == 1
    assert "--mpp 40: must be between 0.05 and 5 microns per pixel" in errors
