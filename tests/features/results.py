"""Folders of results as `histoseg predict` leaves them, of drawn slides."""

import io
import json

import cv2
import numpy as np
import pyarrow as pa
import shapely
import tifffile

from histoseg.slides.objects import SCHEMA, ObjectsAbout, write_objects

NAMES = {"gland": ("gland", "glands"), "lumen": ("lumen", "lumina"), "nuclei": ("nucleus", "nuclei")}
COLOURS = ["#ffffff", "#E69F00", "#56B4E9", "#009E73"]


def rows_of(structure, objects, mpp):
    """A table in the layout of objects.parquet."""
    shapes = objects.shapes
    if shapes is None:
        shapes = shapely.buffer(shapely.points(objects.points_um), np.sqrt(objects.areas_um2 / np.pi), quad_segs=2)
    shapes = shapely.transform(shapes, lambda corners: corners / mpp)
    boxes = shapely.bounds(shapes).astype(np.float32).reshape(-1, 4)
    x, y = (objects.points_um / mpp).astype(np.float32).T
    classes = [objects.classes[kind] if kind >= 0 else None for kind in objects.kinds]
    fields = SCHEMA.field("bbox").type
    columns = [
        pa.array(objects.ids),
        pa.array([structure] * len(objects), pa.string()),
        pa.array(classes, pa.string()),
        pa.array([None if name is None else 0.9 for name in classes], pa.float32()),
        pa.array(objects.areas_um2.astype(np.float32)),
        pa.array(x),
        pa.array(y),
        pa.StructArray.from_arrays([pa.array(side) for side in boxes.T], fields=[*fields]),
        pa.array(shapely.to_wkb(shapes).tolist(), pa.binary()),
    ]
    return pa.Table.from_arrays(columns, names=SCHEMA.names).cast(SCHEMA)


def write_results(store, slide, *, name="", size_um=(800.0, 600.0), made_of="1", caveats=()):
    """The files of a slide."""
    name, mpp = name or slide.name, slide.mpp
    size = tuple(round(side / mpp) for side in size_um)
    about = ObjectsAbout(name=name, size_px=size, mpp=mpp, model_sha256="abc")
    path = store.path(f"{name}/objects.parquet")
    write_objects(path, (rows_of(structure, found, mpp) for structure, found in slide.objects.items()), about)
    tissue = None
    if slide.tissue is not None:
        file = io.BytesIO()
        tifffile.imwrite(file, slide.tissue.squares)
        store.put(f"{name}/tissue.tif", file.getvalue())
        square_px = slide.tissue.side_um[0] / mpp
        tissue = {"classes": slide.tissue.classes, "colours": COLOURS, "square_px": square_px, "shares": {}}
    store.put(f"{name}/thumbnail.jpg", thumbnail(slide))
    summary = {
        "format": 1,
        "name": name,
        "address": f"/slides/{name}.svs",
        "size_px": size,
        "mpp": mpp,
        "model": {"sha256": "abc" * 20, "origin": "raw", "mpp": 0.5},
        "caveats": list(caveats),
        "structures": {
            structure: {"singular": NAMES[structure][0], "plural": NAMES[structure][1], "classes": found.classes}
            for structure, found in slide.objects.items()
        },
        "mask": {"kind": "automatic", "area_mm2": slide.mask_mm2},
        "tissue": tissue,
        "made_of": made_of,
    }
    store.put(f"{name}/summary.json", json.dumps(summary).encode())


def thumbnail(slide):
    """Squares of tissue with the glands in pink."""
    picture = np.full((384, 512, 3), 245, np.uint8)
    if slide.tissue is not None:
        shade = (245 - 30 * slide.tissue.squares).astype(np.uint8)
        picture[...] = cv2.resize(shade, (512, 384), interpolation=cv2.INTER_NEAREST)[..., None]
    for shape in slide.objects["gland"].shapes if "gland" in slide.objects else ():
        corners = shapely.get_coordinates(shape.exterior) * 512 / 800
        cv2.fillPoly(picture, [np.round(corners).astype(np.int32)], (160, 90, 190))
    return np.asarray(cv2.imencode(".jpg", picture)[1]).tobytes()
