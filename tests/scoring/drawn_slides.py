"""A segmented slide of 200 x 160 px of 0.25 µm, whose objects were found on a grid of 100 x 80 px of 0.5 µm."""

import json

import numpy as np

from histoseg.slides.objects import ObjectsAbout, tabulate, write_objects
from histoseg.slides.summary import SUMMARY, Counts, MaskAbout, ModelAbout, StructureAbout, Summary

SIZE_PX, MPP, SCALE = (200, 160), 0.25, 2
TYPES = ("epithelial", "lymphocyte")


def grid(*boxes):
    """A map of the grid with an object in each box: left, top, right, bottom."""
    found = np.zeros((80, 100), np.int32)
    for number, (left, top, right, bottom) in enumerate(boxes, start=1):
        found[top:bottom, left:right] = number
    return found


def write_slide(store, name, *, nuclei, kinds=(), glands=None, types=TYPES):
    """The results of a slide: its objects as maps of the grid, and the class of each nucleus, 0 for none."""
    about = ObjectsAbout(name=name, size_px=SIZE_PX, mpp=MPP, model_sha256="abc")
    count = int(nuclei.max())
    classes = np.array(kinds if kinds else [1] * count)
    maps = {"nuclei": nuclei} | ({} if glands is None else {"gland": glands})
    tables = (
        tabulate(
            found,
            structure,
            class_names=("background", *types) if structure == "nuclei" and types else (),
            classes=classes if structure == "nuclei" and types else np.zeros(0),
            class_probabilities=np.ones(count) if structure == "nuclei" and types else np.zeros(0),
            origin_xy=(0, 0),
            scale_xy=(float(SCALE), float(SCALE)),
            mpp=MPP,
        )
        for structure, found in maps.items()
    )
    write_objects(store.path(f"{name}/objects.parquet"), tables, about)
    words = {"nuclei": ("nucleus", "nuclei"), "gland": ("gland", "glands")}
    summary = Summary(
        name=name,
        address="",
        size_px=SIZE_PX,
        mpp=MPP,
        model=ModelAbout(sha256="abc", origin="demo", mpp=0.5),
        structures={
            each: StructureAbout(
                singular=words[each][0], plural=words[each][1], classes=list(types) if each == "nuclei" else []
            )
            for each in maps
        },
        counts={each: Counts(all=int(found.max())) for each, found in maps.items()},
        mask=MaskAbout(kind="none", area_mm2=0.002),
        files=[],
        made_of="1",
        histoseg="0",
        seconds=1.0,
    )
    store.put(f"{name}/{SUMMARY}", summary.model_dump_json().encode())


def feature(name, *box, ring=None):
    """A rectangle of QuPath, in pixels of the slide."""
    left, top, right, bottom = box or (0, 0, 0, 0)
    ring = ring or [(left, top), (right, top), (right, bottom), (left, bottom)]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*map(list, ring), list(ring[0])]]},
        "properties": {"objectType": "annotation", **({"classification": {"name": name}} if name else {})},
    }


def write_geojson(folder, slide, *features):
    folder.mkdir(exist_ok=True)
    (folder / f"{slide}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
