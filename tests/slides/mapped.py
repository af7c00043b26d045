"""The objects of maps, as the folder of a finished slide holds them."""

from collections import Counter

import numpy as np

from histoseg.exports._slide import SlideObjects
from histoseg.inference.finish import _count, _describe_structures
from histoseg.slides.objects import ObjectFile, ObjectsAbout, tabulate, write_objects
from histoseg.slides.summary import OBJECTS, MaskAbout, ModelAbout, Summary
from histoseg.store.objects import FileStore
from histoseg.structures import structure


def slide_of(folder, maps, kinds=None, classes=None, *, scale=1, mpp=0.5, **changed):
    """Objects by structure on a slide that has `scale` times as many pixels along each side as their maps.

    Args:
        folder: Where the file of objects is written.
        maps: By structure; 0 is background.
        kinds: By structure, the class of each object by ascending id; none without.
        classes: Names by head, background first, as a model has them.
        scale: Base pixels along the side of a pixel of the maps.
        mpp: Microns per base pixel.
        changed: Fields of the summary.
    """
    height, width = (round(side * scale) for side in next(iter(maps.values())).shape)
    names = {name: (classes or {}).get(structure(name).type_decoder, ()) for name in maps}
    tables = []
    for name, label_map in maps.items():
        own = np.array((kinds or {}).get(name, np.zeros(len(np.unique(label_map[label_map > 0])))), np.uint8)
        tables.append(
            tabulate(
                label_map,
                name,
                class_names=names[name],
                classes=own if names[name] else np.zeros(0, np.uint8),
                class_probabilities=np.full(len(own) if names[name] else 0, 0.75),
                origin_xy=(0, 0),
                scale_xy=(scale, scale),
                mpp=mpp,
            )
        )
    counts = count_kinds(tables)
    values = {
        "name": "slide",
        "address": "slide.png",
        "size_px": (width, height),
        "mpp": mpp,
        "model": ModelAbout(sha256="", origin="a test", mpp=mpp * scale),
        "structures": _describe_structures(names),
        "counts": {name: _count(name, counts, names[name]) for name in maps},
        "mask": MaskAbout(kind="none", area_mm2=1.0),
        "files": [OBJECTS],
        "made_of": "",
        "histoseg": "",
        "seconds": 0,
    }
    about = ObjectsAbout(name="slide", size_px=(width, height), mpp=mpp, model_sha256="")
    write_objects(folder / OBJECTS, tables, about)
    summary = Summary(**{**values, **changed})
    return SlideObjects(objects=ObjectFile.open(FileStore(folder), OBJECTS), summary=summary)


def count_kinds(tables):
    """How many objects there are of each structure and class."""
    return Counter(
        (row["structure"], row["class"] or "")
        for table in tables
        for row in table.select(["structure", "class"]).to_pylist()
    )
