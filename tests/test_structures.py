"""Structures: the built-in rows, and one that another distribution declares, through everything that depends on it."""

import csv
import json
from dataclasses import replace

import cv2
import importlib_metadata  # noqa: F401  # takes the place of the standard library's entry points, as with MLflow
import numpy as np
import pytest
from PIL import Image as PillowImage

from histoseg import structures as module
from histoseg.errors import ConfigError
from histoseg.inference.overlay import draw_overlay
from histoseg.inference.pictures import write_pictures
from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.windows import MarginWindows
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.postprocess import separate
from histoseg.models.cerberus.regions import CerberusRegions
from histoseg.models.cerberus.targets import instance_target
from histoseg.models.otsu import otsu_objects
from histoseg.models.spec import Heads
from histoseg.runs import catalog
from histoseg.slides.reader import open_slide
from histoseg.slides.settle import Sides, settle
from histoseg.structures import Flood, Growth, Separation, Structure, enclosing, is_structure, structure, structures
from histoseg.types import Task
from tests.lab import SOURCE, write_lab
from tests.slides.mapped import slide_of

ROW = """
from histoseg.structures import Growth, Separation, Structure

VESSEL = Structure(
    name="vessel",
    singular="blood vessel",
    plural="blood vessels",
    separation=Separation(
        mpp=1.0,
        element_px=5,
        without_contour=Growth(threshold=0.6, min_px=40, element_px=5),
        with_contour=Growth(min_px=40),
    ),
    is_bright=True,
    colour="#D55E00",
    outline_px=4,
)
"""
TEACHES = 'licence="ours", kind="instance", structure="vessel")'


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes a distribution known, whose structures have the given modules, all named VESSEL there."""

    def install(**modules):
        folder = tmp_path / "lab"
        write_lab(folder, modules)
        about = folder / "lab-1.0.dist-info" / "entry_points.txt"
        points = [line for line in about.read_text().splitlines() if "=" in line]
        sources = [line for line in points if "TASK" in modules[line.split()[0]]]
        rows = [f"{line}:VESSEL" for line in points if line not in sources]
        about.write_text("\n".join(["[histoseg.sources]", *sources, "[histoseg.structures]", *rows]) + "\n")
        monkeypatch.syspath_prepend(str(folder))

    return install


@pytest.fixture
def vessels(install):
    """Blood vessels, and a source that teaches them."""
    install(vessel=ROW, labset=SOURCE.replace("NAME", "labset").replace('licence="ours")', TEACHES))


def test_the_built_in_rows_have_the_published_numbers():
    """Of the code published with Cerberus, at 0.5 microns per pixel; blur is 8, 2 and 1 pixels there."""
    assert list(module.BUILT_IN) == [structures()[name] for name in ("gland", "lumen", "nuclei", "tissue")]
    found = {name: structure(name).separation for name in ("gland", "lumen", "nuclei")}
    assert {row.mpp for row in found.values()} == {0.5}
    assert {name: row.element_px for name, row in found.items()} == {"gland": 11, "lumen": 3, "nuclei": 3}
    assert found["gland"].without_contour == Growth(threshold=0.5, min_px=1500, element_px=11)
    assert found["gland"].with_contour == Growth(threshold=0.55, min_px=1000, element_px=10)
    assert found["lumen"].without_contour == Growth(threshold=0.5, min_px=150, element_px=3)
    assert found["lumen"].with_contour == Growth(threshold=0.5, min_px=150, element_px=2)
    assert found["nuclei"].without_contour == Growth(threshold=0.5, min_px=8, element_px=3)
    assert found["nuclei"].with_contour == Flood(
        mask_threshold=0.5, mask_element_px=3, mask_min_px=8, marker_threshold=0.5, marker_min_px=4
    )
    assert {name: structure(name).blur_um / 0.5 for name in found} == {"gland": 8, "lumen": 2, "nuclei": 1}


def test_sizes_are_scaled_to_pixels_of_another_size():
    gland = structure("gland").separation
    assert gland.at(0.5) is gland
    assert gland.at(0.0) is gland  # Of an unknown size
    # Half as large pixels: lengths are twice as many, areas four times.
    assert gland.at(0.25) == Separation(
        mpp=0.25,
        element_px=22,
        without_contour=Growth(threshold=0.5, min_px=6000, element_px=22),
        with_contour=Growth(threshold=0.55, min_px=4000, element_px=20),
    )
    nuclei = structure("nuclei").separation.at(2.0)
    assert nuclei.element_px == 3  # Less would erode nothing.
    assert nuclei.with_contour == Flood(mask_min_px=1, marker_min_px=1)
    assert Separation().at(0.25).at(0.5).without_contour == Separation().without_contour


def test_lumina_lie_within_glands():
    assert enclosing("lumen") == ("gland",)
    assert enclosing("nuclei") == ()


def test_an_unknown_structure_is_refused_with_the_choices(vessels):
    with pytest.raises(ConfigError, match="no 'nerve' in structures; choose from gland, lumen, nuclei, tissue, vessel"):
        structure("nerve")
    with pytest.raises(ConfigError, match=r"task lab: structure is 'nerve'; choose from '', 'gland', .*'vessel'"):
        Task(name="lab", title="Lab", classes=("a", "b"), mpp=0.5, licence="", structure="nerve")


def test_a_declared_structure_is_known_while_its_distribution_is_installed(vessels, monkeypatch):
    assert list(structures()) == ["gland", "lumen", "nuclei", "tissue", "vessel"]
    assert is_structure("vessel")
    assert catalog.load("histoseg.sources", "labset").TASK.structure == "vessel"
    monkeypatch.undo()
    assert not is_structure("vessel")


def draw_rings(count=3, side=300):
    """Rings that touch, as vessels cut across."""
    drawn = np.zeros((side, side), np.int32)
    for i in range(count):
        cv2.circle(drawn, (60 + 80 * i, 150), 40, i + 1, cv2.FILLED)
    return drawn


@pytest.mark.parametrize("contour", [False, True])
def test_what_a_declared_structure_loses_in_a_target_comes_back(vessels, contour):
    true = draw_rings()
    target = instance_target(true, "vessel", contour, mpp=1.0)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))  # As the row states at 1 micron per pixel
    inner = sum(cv2.erode((true == i).astype(np.uint8), element) for i in (1, 2, 3))
    np.testing.assert_array_equal(target.classes == 1, inner == 1)
    one_hot = (np.arange(2 + contour)[:, None, None] == target.classes).astype(np.float32)
    found = separate(one_hot, "vessel", contour, mpp=1.0)
    assert found.max() == 3
    assert (found == true).mean() > 0.98
    # Pixels of half the size: the element has ten of them.
    assert (instance_target(true, "vessel", contour).classes == 1).sum() < inner.sum()


def test_otsu_takes_a_declared_structure_as_bright(vessels):
    true = draw_rings() > 0
    image = np.where(true[..., None], 230, 90).astype(np.uint8).repeat(3, axis=2)
    found = otsu_objects(image, "vessel")
    assert ((found > 0) == true).mean() > 0.99


def test_a_declared_structure_is_exported_and_drawn_in_its_colour(vessels, tmp_path):
    pixels = np.full((300, 300, 3), 200, np.uint8)
    PillowImage.fromarray(pixels).save(tmp_path / "slide.png")
    maps = {"nuclei": (draw_rings(1) > 5).astype(np.int32), "vessel": draw_rings()}
    slide = slide_of(tmp_path, maps, mpp=0.25)
    about = slide.summary
    assert about.describe() == "no nucleus, 3 blood vessels in 1.0 mm2 of tissue"
    with open_slide(tmp_path / "slide.png", 0.25) as opened:
        write_pictures(tmp_path, opened, about, None, {})
    rows = list(csv.DictReader((tmp_path / "objects.csv").read_text().splitlines()))
    assert [row["structure"] for row in rows] == ["vessel"] * 3
    for feature in json.loads((tmp_path / "objects.geojson").read_text())["features"]:
        assert feature["properties"]["objectType"] == "annotation"
        assert feature["properties"]["classification"] == {"name": "blood vessel", "color": [213, 94, 0]}
    assert slide.colour_of("nuclei", "") != slide.colour_of("vessel", "") == "#D55E00"
    picture = draw_overlay(pixels, about, [*slide.rows()])
    assert tuple(picture[150, 20]) == (213, 94, 0)  # The leftmost point of the first ring, which is four pixels wide
    assert picture[150, 10:20, 2].max() > 210  # In blue, which its colour lacks: a white rim on grey of 200
    assert {"nuclei.png", "vessel.png", "overlay.png"} < {path.name for path in tmp_path.iterdir()}


def test_a_network_learns_and_finds_a_declared_structure(vessels, monkeypatch):
    spec = CerberusSpec(encoder="unet", width=4)
    task = catalog.load("histoseg.sources", "labset").TASK
    network = spec.build({"labset": task}, 0, 144).eval()
    assert spec.heads(network).num_classes == {"vessel": 2}
    true = draw_rings()
    classes = spec.target(true, "vessel", 1.0).classes
    seen = RegionEvidence(objects={"vessel": Evidence(mask=classes == 1)})
    monkeypatch.setattr(CerberusRegions, "evidence", lambda *_: seen)
    found = spec.predict(network, np.zeros((300, 300, 3), np.uint8), MarginWindows(), mpp=1.0)
    assert list(found.instance_maps) == ["vessel"]
    assert found.instance_maps["vessel"].max() == 3


def test_structures_may_lie_within_each_other_in_a_chain(install):
    inside = ROW.replace('"vessel"', '"clot"').replace("is_bright=True", 'within="vessel"')
    install(clot=inside, vessel=ROW.replace("is_bright=True", 'within="gland"'))
    assert enclosing("clot") == ("vessel", "gland")
    masks = np.zeros((3, 90, 90), bool)
    masks[0, :, 30:], masks[1, :, :60], masks[2, :, 20:70] = True, True, True
    names = ("clot", "gland", "vessel")
    heads = Heads(num_classes=dict.fromkeys(names, 2))
    regions = CerberusRegions(CerberusSpec(encoder="unet", width=4).rebuild(heads), 0.5)
    assert regions.structures == ("gland", "vessel", "clot")
    drawn = dict(zip(regions.structures, masks, strict=True))
    settled = settle({name: Evidence(mask=mask) for name, mask in drawn.items()}, regions, Sides(), ("all", 0, 0))
    columns = {one.structure: np.flatnonzero(one.instance_map.any(axis=0)) for one in settled.found}
    assert columns["gland"].tolist() == list(range(25, 90))  # Grown by an ellipse of 11 pixels
    assert columns["vessel"].tolist() == list(range(25, 65))  # By one of 5 pixels of 1 micron
    assert columns["clot"].tolist() == list(range(25, 65))


FAULTY = {
    "raises": ("raise RuntimeError('no\\nlicence')", r"cannot be loaded \(RuntimeError: no licence\)"),
    "has no value": ("x = 1", r"cannot be loaded \(AttributeError"),
    "is something else": ("VESSEL = 'vessel'", r"is of type str; it must be a histoseg Structure"),
    "has another name": (ROW.replace('"vessel"', '"artery"'), r"has the name 'artery'; it must be 'vessel'"),
    "is a patch": (ROW.replace("is_bright=True", 'kind="patch"'), r"has kind 'patch'; it must be 'objects'"),
    "lies within nothing": (ROW.replace("is_bright=True", 'within="nerve"'), r"within 'nerve'; choose from gland"),
    "lies within tissue": (
        ROW.replace("is_bright=True", 'within="tissue"'),
        r"lies within 'tissue'; choose from gland",
    ),
    "lies within itself": (ROW.replace("is_bright=True", 'within="vessel"'), r"lies within itself"),
    "has no colour": (ROW.replace("#D55E00", "red"), r"colour = 'red': must be empty or as '#D55E00'"),
}


@pytest.mark.parametrize(("text", "message"), FAULTY.values(), ids=FAULTY)
def test_an_entry_point_that_cannot_be_used_is_one_line_with_its_distribution(install, text, message):
    install(vessel=text)
    with pytest.raises(ConfigError, match=message) as error:
        structures()
    assert str(error.value).startswith("lab 1.0: entry point vessel = vessel_of_")
    assert "\n" not in str(error.value)
    assert is_structure("gland")  # Tasks of built-in structures can still be defined.


def test_a_structure_cannot_be_declared_twice(install):
    install(gland=ROW.replace('"vessel"', '"gland"'))
    with pytest.raises(ConfigError, match=r"lab 1\.0: entry point gland = .* declares 'gland' again; choose a name"):
        structures()


def test_structures_that_are_of_two_distributions_are_named(install, tmp_path, monkeypatch):
    install(vessel=ROW)
    other = tmp_path / "other"
    write_lab(other, {"vessel": ROW}, "histoseg.structures")
    about = other / "lab-1.0.dist-info"
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2.0\n")
    text = (about / "entry_points.txt").read_text()
    (about / "entry_points.txt").write_text(text.rstrip() + ":VESSEL\n")
    about.rename(other / "other-2.0.dist-info")
    monkeypatch.syspath_prepend(str(other))
    with pytest.raises(ConfigError, match=r"(lab 1\.0|other 2\.0): entry point vessel .* declares 'vessel' again"):
        structures()


VESSEL = Structure(name="vessel", singular="vessel", plural="vessels")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Vessel"}, "name = 'Vessel'"),
        ({"name": "a.b"}, "name = 'a.b'"),
        ({"name": "vessel_type"}, "name = 'vessel_type'"),
        ({"name": "overlay"}, r"name = 'overlay': must be .*objects, overlay, summary"),
        ({"name": "mask"}, r"name = 'mask': must be .*mask, objects"),
        ({"kind": "line"}, "kind = 'line': must be 'objects' or 'patch'"),
        ({"separation": Separation(mpp=0.0)}, r"separation = .*: must be of sizes above 0"),
        ({"blur_um": 0.0}, "blur_um = 0.0"),
        ({"colour": "#12"}, "colour = '#12'"),
        ({"outline_px": 0}, "outline_px = 0"),
        ({"object_type": "cell"}, "object_type = 'cell': must be 'annotation' or 'detection'"),
    ],
)
def test_a_row_that_cannot_be_is_refused(changes, message):
    row = replace(VESSEL)
    for name, value in changes.items():
        object.__setattr__(row, name, value)  # Its annotations would refuse some in tests, as they do not elsewhere.
    with pytest.raises(ConfigError, match=message):
        row.__post_init__()


def test_a_row_without_numbers_has_those_of_medium_size():
    assert VESSEL.separation == Separation(
        mpp=0.5,
        element_px=3,
        without_contour=Growth(threshold=0.5, min_px=150, element_px=3),
        with_contour=Growth(threshold=0.5, min_px=150, element_px=2),
    )
    assert VESSEL.type_decoder == "vessel_type"
