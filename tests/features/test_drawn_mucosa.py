"""Drawn mucosa through `tabulate` and objects.parquet, against what its label maps say pixel by pixel."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.measure import regionprops_table

from histoseg.demo.mucosa import draw_mucosa
from histoseg.features.measure import measure_glands
from histoseg.features.reading import read_slide
from histoseg.maps.objects import vote_types
from histoseg.slides.objects import ObjectsAbout, tabulate, write_objects
from histoseg.slides.summary import MaskAbout, ModelAbout, StructureAbout, Summary
from histoseg.sources.lizard import TASK
from histoseg.store.objects import FileStore

MPP = 0.5
WORDS = {"gland": ("gland", "glands"), "lumen": ("lumen", "lumina"), "nuclei": ("nucleus", "nuclei")}


@pytest.fixture(scope="module", params=[False, True], ids=["normal", "malignant"])
def measured(request, tmp_path_factory):
    """Label maps, classes of nuclei by id, and the features of the glands, ordered by id."""
    drawn = draw_mucosa(np.random.default_rng(3), malignant=request.param)
    maps = {"gland": drawn.glands, "lumen": drawn.lumina, "nuclei": drawn.nuclei}
    store = FileStore(tmp_path_factory.mktemp("mucosa"))
    height, width = drawn.image.shape[:2]
    summary = Summary(
        name="drawn",
        address="",
        size_px=(width, height),
        mpp=MPP,
        model=ModelAbout(sha256="", origin="demo", mpp=MPP),
        structures={
            name: StructureAbout(singular=one, plural=many, classes=list(TASK.classes[1:]) if name == "nuclei" else [])
            for name, (one, many) in WORDS.items()
        },
        counts={},
        mask=MaskAbout(kind="none", area_mm2=0.02),
        files=[],
        made_of="",
        histoseg="",
        seconds=0.0,
    )
    tables = (_rows(name, objects) for name, objects in maps.items())
    about = ObjectsAbout(name="drawn", size_px=(width, height), mpp=MPP, model_sha256="")
    write_objects(store.path("drawn/objects.parquet"), tables, about)
    slide = read_slide(store, summary, "drawn")
    found = measure_glands(slide)
    return drawn, pd.DataFrame(found.columns)


def _rows(name, objects):
    is_typed = name == "nuclei"
    count = len(np.unique(objects.instance_map)) - 1
    return tabulate(
        objects.instance_map,
        name,
        class_names=TASK.classes if is_typed else (),
        classes=classes_of(objects) if is_typed else np.zeros(0, np.uint8),
        class_probabilities=np.ones(count) if is_typed else np.zeros(0),
        origin_xy=(0, 0),
        scale_xy=(1.0, 1.0),
        mpp=MPP,
    )


def classes_of(objects):
    return vote_types(objects.instance_map, objects.semantic_map, TASK.num_classes)[0]


def ids_by_area(instance_map):
    ids, areas = np.unique(instance_map[instance_map > 0], return_counts=True)
    assert len({*areas}) == len(areas)  # Else the order is not known.
    return ids[np.argsort(areas)]


def sorted_by_area(features):
    return features.sort_values("area_um2").reset_index(drop=True)


def test_shapes_are_those_of_scikit_image(measured):
    drawn, features = measured
    names = ("area", "axis_major_length", "axis_minor_length", "solidity")
    judged = pd.DataFrame(regionprops_table(drawn.glands.instance_map, properties=names)).sort_values("area")
    found = sorted_by_area(features)
    assert found["area_um2"].to_numpy() == pytest.approx(judged["area"].to_numpy() * MPP**2)
    # A pixel counts as a square, there as a point: 16/12 in the square of an axis.
    axes = np.sqrt((found["major_axis_um"].to_numpy() / MPP) ** 2 - 16 / 12)
    assert axes == pytest.approx(judged["axis_major_length"].to_numpy(), rel=1e-6)
    assert found["solidity"].to_numpy() == pytest.approx(judged["solidity"].to_numpy(), abs=0.02)


def test_contents_are_those_of_the_maps(measured):
    drawn, features = measured
    glands, lumina, nuclei = (one.instance_map for one in (drawn.glands, drawn.lumina, drawn.nuclei))
    ids = np.unique(nuclei)[1:]
    rows, columns = np.array(ndimage.center_of_mass(nuclei > 0, nuclei, ids)).T.round().astype(int)
    gland_of, in_lumen = glands[rows, columns], lumina[rows, columns] > 0
    order = ids_by_area(glands)
    found = sorted_by_area(features)
    # A centroid beside a border may be rounded across it.
    assert found["nuclei_all_count"].to_numpy() == pytest.approx([np.sum(gland_of == i) for i in order], abs=1)
    lymphocyte = classes_of(drawn.nuclei) == TASK.classes.index("lymphocyte")
    inside = [np.sum((gland_of == i) & ~in_lumen & lymphocyte) for i in order]
    assert found["intraepithelial_lymphocyte_count"].to_numpy() == pytest.approx(inside, abs=1)
    shares = [np.mean(lumina[glands == i] > 0) for i in order]
    assert found["lumen_share"].to_numpy() == pytest.approx(shares, abs=1e-6)
    assert found["lumen_count"].tolist() == [len({*np.unique(lumina[glands == i])} - {0}) for i in order]


def test_layers_are_those_of_distances_within_the_maps(measured):
    drawn, features = measured
    glands, lumina, nuclei = (one.instance_map for one in (drawn.glands, drawn.lumina, drawn.nuclei))
    chosen = np.unique(nuclei)[1:][classes_of(drawn.nuclei) == TASK.classes.index("epithelial")]
    rows, columns = np.array(ndimage.center_of_mass(nuclei > 0, nuclei, chosen)).T.round().astype(int)
    found = sorted_by_area(features)
    for place, number in enumerate(ids_by_area(glands)):
        inside = (glands[rows, columns] == number) & (lumina[rows, columns] == 0)
        # To the nearest pixel outside of the gland as a whole, half a pixel more than to its border
        depths = (
            ndimage.distance_transform_edt(ndimage.binary_fill_holes(glands == number))[rows, columns][inside] - 0.5
        )
        sizes = [np.count_nonzero(nuclei == one) for one in chosen[inside]]
        if len(sizes) < 5:
            continue
        expected = np.median(depths) / np.median(2 * np.sqrt(np.array(sizes) / np.pi))
        assert found.loc[place, "epithelial_depth_median_diameters"] == pytest.approx(expected, abs=0.12)
