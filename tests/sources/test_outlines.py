"""Declared sources whose labels are outlines: files of several programs give the same maps, worked by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from histoseg.errors import DataError
from histoseg.sources._declared import find_declarations, load_source
from histoseg.sources._draft import look_at

# A square of 4 x 4 pixels with a hole of one, and one of 2 x 3; corners as x, y.
GLAND, HOLE = [(2, 1), (6, 1), (6, 5), (2, 5)], [(3, 2), (4, 2), (4, 3), (3, 3)]
LUMEN = [(8, 6), (10, 6), (10, 9), (8, 9)]
OBJECTS = np.zeros((10, 12), np.int32)
OBJECTS[1:5, 2:6], OBJECTS[2, 3], OBJECTS[6:9, 8:10] = 1, 0, 2


def geojson(**names):
    rings = {"gland": [GLAND, HOLE], "lumen": [LUMEN]}
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]] for ring in rings[kind]]},
            "properties": {"classification": {"name": name}},
        }
        for kind, name in names.items()
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


def labelme():
    shapes = [{"label": name, "points": ring, "shape_type": "polygon"} for name, ring in (("a", GLAND), ("b", LUMEN))]
    return json.dumps({"shapes": shapes, "imagePath": "x.png", "imageHeight": 10, "imageWidth": 12})


def coco():
    found = [
        {"id": i, "image_id": 7, "category_id": 1, "segmentation": [[value for point in ring for value in point]]}
        for i, ring in enumerate((GLAND, LUMEN))
    ]
    images = [{"id": 7, "file_name": "raw/x.png"}, {"id": 8, "file_name": "raw/y.png"}]
    return json.dumps({"images": images, "annotations": found, "categories": [{"id": 1, "name": "gland"}]})


def imagescope(*layers):
    """Each layer with the regions that are given as rings."""
    text = ""
    for i, rings in enumerate(layers, start=1):
        regions = ""
        for ring in rings:
            vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ring)
            regions += f"<Region><Vertices>{vertices}</Vertices></Region>"
        text += f'<Annotation Id="{i}" Name="layer {i}"><Regions>{regions}</Regions></Annotation>'
    return f"<Annotations>{text}</Annotations>"


def write(folder, labels, files, classes=("background", "object"), kind="instance", images=("x",), **options):
    for name in images:
        Image.fromarray(np.full((10, 12, 3), 200, np.uint8)).save(folder / f"{name}.png")
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "source.toml").write_text(
        f'name = "ours"\ntitle = "Ours"\nlicence = "ours"\nkind = "{kind}"\nclasses = {json.dumps(classes)}\n'
        f'mpp = 0.5\nimages = "{{name}}.png"\nlabels = "{labels}"\n'
    )
    source = load_source("ours", find_declarations(folder))
    return [source.read(entry) for entry in source.entries(folder, **options)]


FULL = np.maximum(OBJECTS, 0)
FULL = np.where(np.arange(120).reshape(10, 12) == 2 * 12 + 3, 1, FULL)  # Without the hole


@pytest.mark.parametrize(
    ("labels", "name", "text", "expected"),
    [
        ("{name}.geojson", "x.geojson", geojson(gland="a", lumen="b"), OBJECTS),
        ("{name}.json", "x.json", labelme(), FULL),
        ("{name}.xml", "x.xml", imagescope([GLAND, LUMEN]), FULL),
        # A frame of the field in a layer of its own is no object.
        ("{name}.xml", "x.xml", imagescope([[(0, 0), (12, 0), (12, 10), (0, 10)]], [GLAND, LUMEN]), FULL),
    ],
)
def test_outlines_of_every_program_are_objects(tmp_path, labels, name, text, expected):
    (sample,) = write(tmp_path, labels, {name: text})
    np.testing.assert_array_equal(sample.instance_map, expected)
    np.testing.assert_array_equal(sample.semantic_map, expected > 0)


def test_one_file_of_coco_is_that_of_all_images(tmp_path):
    x, y = write(tmp_path, "all.json", {"all.json": coco()}, images=("x", "y"))
    np.testing.assert_array_equal(x.instance_map, FULL)
    assert not y.instance_map.any()


def rename(text, **names):
    """The file of COCO with other names of its images x and y."""
    content = json.loads(text)
    for image in content["images"]:
        image["file_name"] = names.get(image["file_name"][4], image["file_name"])
    return json.dumps(content)


@pytest.mark.parametrize(("name", "image"), [("RAW/X.PNG", "x"), ("U\u0308.png", "\u00fc")])
def test_names_in_a_file_of_all_images_may_differ_in_case_and_form(tmp_path, name, image):
    (sample,) = write(tmp_path, "all.json", {"all.json": rename(coco(), x=name)}, images=(image,))
    np.testing.assert_array_equal(sample.instance_map, FULL)


def test_images_of_one_name_in_two_folders_are_told_apart(tmp_path):
    (tmp_path / "raw").mkdir()
    text = rename(coco(), y="other/x.png")
    with pytest.raises(DataError, match=r"all\.json: has no image 'x\.png' among 2, 2 of this name in other folders"):
        write(tmp_path, "all.json", {"all.json": text})
    (sample,) = write(tmp_path / "raw", "all.json", {"all.json": text})
    np.testing.assert_array_equal(sample.instance_map, FULL)


@pytest.mark.parametrize(
    ("labels", "name", "text"),
    [
        ("{name}.json", "x.json", labelme().replace('"imageWidth": 12', '"imageWidth": 24')),
        ("all.json", "all.json", coco().replace('"raw/x.png"', '"raw/x.png", "height": 10, "width": 24')),
        (
            "all.json",
            "all.json",
            json.dumps(
                {
                    **json.loads(coco()),
                    "annotations": [
                        {"image_id": 7, "category_id": 1, "segmentation": {"size": [10, 24], "counts": [100, 40, 100]}}
                    ],
                }
            ),
        ),
    ],
)
def test_outlines_of_an_image_of_another_size_are_refused(tmp_path, labels, name, text):
    with pytest.raises(DataError, match=rf"{name}: drawn on an image of 24x10 px, .* the image has 12x10 px"):
        write(tmp_path, labels, {name: text})


def with_types(*types):
    """GeoJSON of a frame, a gland and a lumen, which are such objects of QuPath."""
    rings = ([(0, 0), (12, 0), (12, 10), (0, 10)], GLAND, LUMEN)
    features = [
        {
            "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            "properties": {"objectType": kind},
        }
        for ring, kind in zip(rings, types, strict=True)
    ]
    return json.dumps(features)


def test_of_qupaths_objects_those_of_one_type_may_be_named(tmp_path):
    """Its detections lie within annotations; but a detection that was missed may have been added as an annotation."""
    files = {"x.geojson": with_types("annotation", "detection", "detection")}
    with pytest.raises(DataError, match=r"x\.geojson: 2 of 3 regions lie within .* such as region 1.* layer=NAME"):
        write(tmp_path, "{name}.geojson", files)
    (sample,) = write(tmp_path, "{name}.geojson", files, layer="detection")
    np.testing.assert_array_equal(sample.instance_map, FULL)
    text = json.dumps(json.loads(with_types("annotation", "detection", "annotation"))[1:])
    (sample,) = write(tmp_path, "{name}.geojson", {"x.geojson": text})
    np.testing.assert_array_equal(sample.instance_map, FULL)


@pytest.mark.parametrize(
    ("labels", "name", "text"),
    [
        ("{name}.geojson", "x.geojson", with_types(*["annotation"] * 3)),
        ("{name}.xml", "x.xml", imagescope([[(0, 0), (12, 0), (12, 10), (0, 10)], GLAND, LUMEN])),
    ],
)
def test_a_frame_among_the_objects_is_refused(tmp_path, labels, name, text):
    with pytest.raises(DataError, match=rf"{name}: 2 of 3 regions lie within others, such as region 1"):
        write(tmp_path, labels, {name: text})


def test_an_image_that_the_file_of_all_images_lacks_is_named(tmp_path):
    with pytest.raises(DataError, match=r"all\.json: has no image 'z\.png' among 2; add it"):
        write(tmp_path, "all.json", {"all.json": coco()}, images=("x", "y", "z"))


def test_outlines_have_the_classes_that_they_are_named_by(tmp_path):
    text = geojson(gland="Gland", lumen="Lumen")
    (sample,) = write(tmp_path, "{name}.geojson", {"x.geojson": text}, ("background", "lumen", "gland"), "semantic")
    np.testing.assert_array_equal(sample.semantic_map, np.array([0, 2, 1])[OBJECTS])
    assert sample.instance_map is None


def test_layers_of_imagescope_may_be_classes(tmp_path):
    classes = ("background", "layer 2", "layer 1")
    (sample,) = write(tmp_path, "{name}.xml", {"x.xml": imagescope([GLAND], [LUMEN])}, classes)
    np.testing.assert_array_equal(sample.semantic_map, np.array([0, 2, 1])[FULL])


def test_of_two_layers_with_objects_one_is_named(tmp_path):
    files = {"x.xml": imagescope([GLAND], [LUMEN])}
    with pytest.raises(DataError, match=r"x\.xml: layers 'layer 1' with 1 .*--option layer=NAME"):
        write(tmp_path, "{name}.xml", files)
    (sample,) = write(tmp_path, "{name}.xml", files, layer="layer 2")
    np.testing.assert_array_equal(sample.instance_map, OBJECTS == 2)


def test_outlines_without_a_declared_class_are_refused(tmp_path):
    text = geojson(gland="duct", lumen="vessel")
    with pytest.raises(DataError, match=r"x\.geojson: .*'duct', 'vessel'; known are gland, lumen"):
        write(tmp_path, "{name}.geojson", {"x.geojson": text}, ("background", "gland", "lumen"))


def test_a_draft_names_the_classes_of_outlines(tmp_path):
    rng = np.random.default_rng(0)
    for name in "xyz":
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.geojson").write_text(geojson(gland="gland", lumen="lumen"))
    draft = look_at(tmp_path)
    assert (draft.images, draft.labels, draft.kind) == ("{name}.png", "{name}.geojson", "instance")
    assert draft.classes == ["background", "gland", "lumen"]
