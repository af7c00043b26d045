"""A result folder with a slide of known objects, as `segment` would leave it."""

import numpy as np

from histoseg.exports._slide import SlideObjects
from histoseg.slides.objects import ObjectFile, ObjectsAbout, tabulate, write_objects
from histoseg.slides.summary import OBJECTS, SUMMARY, Counts, MaskAbout, ModelAbout, StructureAbout, Summary
from histoseg.store.objects import FileStore

NAME = "slide-7"
CLASSES = ["round", "long"]
COLOURS = {"": "#8a8f96", "round": "#009E73", "long": "#F0E442"}
SCALE = 2.0  # 0.25 microns per pixel on the slide, 0.5 for the network
ORIGIN = (1000, 3000)
CAVEAT = "trained on made-up images only"


def drawn(*rows):
    return np.array([[int(digit) for digit in row] for row in rows], np.int32)


# Of nuclei: a rectangle without a class, one in two pieces, and one with a hole; of glands, one.
NUCLEI = drawn(
    "11100000",
    "11100220",
    "00000220",
    "33300000",
    "30300002",
    "33300000",
)
GLANDS = np.pad(np.ones((4, 6), np.int32), 1)


def tables(scale=SCALE):
    common = {"origin_xy": ORIGIN, "scale_xy": (scale, scale), "mpp": 0.25}
    yield tabulate(
        NUCLEI,
        "nuclei",
        class_names=("background", *CLASSES),
        classes=np.array([0, 2, 1], np.uint8),
        class_probabilities=np.array([1.0, 0.8, 0.75]),
        **common,
    )
    nothing = {"class_names": (), "classes": np.zeros(0, np.uint8), "class_probabilities": np.zeros(0)}
    yield tabulate(GLANDS, "gland", **nothing, **common)


def summary(name=NAME, **changed):
    values = {
        "name": name,
        "address": f"/slides/{name}.svs",
        "size_px": (40_000, 30_000),
        "mpp": 0.25,
        "model": ModelAbout(sha256="ab12", origin="made up", mpp=0.5),
        "structures": {
            "nuclei": StructureAbout(singular="nucleus", plural="nuclei", classes=CLASSES, colours=COLOURS),
            "gland": StructureAbout(singular="gland", plural="glands", colours={"": "#D55E00"}),
            "lumen": StructureAbout(singular="lumen", plural="lumina", colours={"": "#000000"}),
        },
        "counts": {"nuclei": Counts(all=3), "gland": Counts(all=1), "lumen": Counts(all=0)},
        "mask": MaskAbout(kind="none", area_mm2=1.0),
        "caveats": [CAVEAT],
        "files": [OBJECTS],
        "made_of": "of this",
        "histoseg": "0",
        "seconds": 1.0,
    }
    return Summary(**{**values, **changed})


def results(folder, names=(NAME,), rows=tables, **changed):
    """A store with slides of these objects."""
    store = FileStore(folder)
    for name in names:
        about = ObjectsAbout(name=name, size_px=(40_000, 30_000), mpp=0.25, model_sha256="ab12")
        write_objects(store.path(f"{name}/{OBJECTS}"), rows(), about)
        store.put(f"{name}/{SUMMARY}", summary(name, **changed).model_dump_json().encode())
    return store


def rows_of(store, name=NAME):
    """The rows of a slide, by structure and place."""
    return ObjectFile.open(store, f"{name}/{OBJECTS}").read().to_pylist()


def slide_of(store, name=NAME, **changed):
    """What an export of a slide is made from."""
    return SlideObjects(objects=ObjectFile.open(store, f"{name}/{OBJECTS}"), summary=summary(name, **changed))
