"""Folders of results as `histoseg segment` leaves them, of drawn slides."""

import cv2
import numpy as np
import pyarrow as pa
import shapely

from histoseg.slides.objects import SCHEMA, ObjectsAbout, write_objects
from histoseg.slides.summary import (
    OBJECTS,
    SUMMARY,
    TISSUE_MAP,
    Counts,
    MaskAbout,
    ModelAbout,
    StructureAbout,
    Summary,
    TissueAbout,
)
from histoseg.slides.tissue_map import write_tissue

NAMES = {"gland": ("gland", "glands"), "lumen": ("lumen", "lumina"), "nuclei": ("nucleus", "nuclei")}
COLOURS = ["#ffffff", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#000000"]


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


def write_results(store, slide, *, name="", size_um=(800.0, 600.0), made_of="1", caveats=(), model="abc" * 20):
    """The files of a slide."""
    name, mpp = name or slide.name, slide.mpp
    size = tuple(round(side / mpp) for side in size_um)
    about = ObjectsAbout(name=name, size_px=size, mpp=mpp, model_sha256="abc")
    path = store.path(f"{name}/objects.parquet")
    write_objects(path, (rows_of(structure, found, mpp) for structure, found in slide.objects.items()), about)
    tissue = None
    if slide.tissue is not None:
        square_px, colours = slide.tissue.side_um[0] / mpp, COLOURS[: len(slide.tissue.classes)]
        path = store.path(f"{name}/{TISSUE_MAP}")
        write_tissue(path, slide.tissue.squares, slide.tissue.classes, colours, square_px, mpp)
        tissue = TissueAbout(classes=list(slide.tissue.classes), colours=colours, square_px=square_px, shares={})
    store.put(f"{name}/thumbnail.jpg", thumbnail(slide))
    structures = {
        structure: StructureAbout(singular=NAMES[structure][0], plural=NAMES[structure][1], classes=list(found.classes))
        for structure, found in slide.objects.items()
    }
    summary = Summary(
        name=name,
        address=f"/slides/{name}.svs",
        size_px=size,
        mpp=mpp,
        model=ModelAbout(sha256=model, origin="raw", mpp=0.5),
        structures=structures,
        counts={structure: Counts(all=len(found)) for structure, found in slide.objects.items()},
        tissue=tissue,
        mask=MaskAbout(kind="automatic", area_mm2=slide.mask_mm2),
        caveats=list(caveats),
        files=[OBJECTS],
        made_of=made_of,
        histoseg="0",
        seconds=1.0,
    )
    store.put(f"{name}/{SUMMARY}", summary.model_dump_json().encode())


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
