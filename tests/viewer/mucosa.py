"""A made-up slide of mucosa with the results of a model that makes no mistake: for pictures, and for exact counts."""

import numpy as np
from PIL import Image

from histoseg.demo.slides import write_slide
from histoseg.maps.objects import vote_types
from histoseg.slides.colours import class_colour, colours_of
from histoseg.slides.objects import ObjectsAbout, tabulate, write_objects
from histoseg.slides.reader import open_slide
from histoseg.slides.summary import Counts, MaskAbout, ModelAbout, StructureAbout, Summary, TissueAbout
from histoseg.slides.tissue_map import write_tissue

NUCLEI = ("neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective")
CLASSES = {"gland": (), "lumen": (), "nuclei": NUCLEI}
WORDS = {"gland": ("gland", "glands"), "lumen": ("lumen", "lumina"), "nuclei": ("nucleus", "nuclei")}
FIELDS = {"gland": "glands", "lumen": "lumina", "nuclei": "nuclei"}
TISSUE = ("background", "normal_epithelium", "stroma", "inflammatory")


def write_mucosa(folder, name, *, width, height, mpp=0.25, seed=0, caveats=()):
    """Write `folder/slides/NAME.tif` and `folder/results/NAME/`; returns the number of objects of each structure."""
    slide, out = folder / "slides" / f"{name}.tif", folder / "results" / name
    slide.parent.mkdir(parents=True, exist_ok=True)
    drawn = write_slide(slide, width=width, height=height, mpp=mpp, seed=seed)
    about = ObjectsAbout(name=name, size_px=(width, height), mpp=mpp, model_sha256="0" * 64)
    counts = {structure: np.zeros(len(CLASSES[structure]) + 1, int) for structure in CLASSES}
    write_objects(out / "objects.parquet", _tables(drawn, counts), about)
    grid, square_px = _tissue(drawn)
    colours = ["", *(class_colour(i) for i in range(1, len(TISSUE)))]
    write_tissue(out / "tissue.tif", grid, TISSUE, ["#FFFFFF", *colours[1:]], square_px, mpp)
    with open_slide(slide) as opened:
        Image.fromarray(opened.read_thumbnail(512)).save(out / "thumbnail.jpg", quality=90)
    shares = np.round(np.bincount(grid.ravel(), minlength=len(TISSUE)) / grid.size, 4).tolist()
    chosen = colours_of(CLASSES)
    area_mm2 = float(drawn.tissue.sum()) * (drawn.square_px * mpp / 1000) ** 2
    summary = Summary(
        name=name,
        address=str(slide),
        size_px=(width, height),
        mpp=mpp,
        model=ModelAbout(sha256="0" * 64, origin="made-up model", mpp=0.5),
        caveats=list(caveats),
        structures={
            one: StructureAbout(
                singular=WORDS[one][0],
                plural=WORDS[one][1],
                classes=list(CLASSES[one]),
                colours={kind: colour for (owner, kind), colour in chosen.items() if owner == one},
            )
            for one in CLASSES
        },
        counts={
            one: Counts(all=int(found.sum()), classes=dict(zip(CLASSES[one], found[1:].tolist(), strict=True)))
            for one, found in counts.items()
        },
        tissue=TissueAbout(
            classes=list(TISSUE), colours=colours, square_px=square_px, shares=dict(zip(TISSUE, shares, strict=True))
        ),
        mask=MaskAbout(kind="automatic", area_mm2=round(area_mm2, 3)),
        files=["objects.parquet", "thumbnail.jpg", "tissue.tif"],
        made_of=f"made up {name} {seed}",
        histoseg="0.1.0",
        seconds=1.0,
    )
    (out / "summary.json").write_text(summary.model_dump_json())
    return {one: int(found.sum()) for one, found in counts.items()}


def _tables(drawn, counts):
    """The objects of one square after another; a structure's counts begin with those without a class."""
    for (row, column), kind in np.ndenumerate(drawn.layout):
        for structure in CLASSES if kind else ():
            objects = getattr(drawn.fields[kind - 1], FIELDS[structure])
            names = CLASSES[structure]
            classes, shares = vote_types(objects.instance_map, objects.semantic_map, len(NUCLEI) + 1)
            counts[structure] += np.bincount(classes if names else 0 * classes, minlength=len(names) + 1)
            yield tabulate(
                objects.instance_map,
                structure,
                class_names=("background", *names) if names else (),
                classes=classes if names else classes[:0],
                class_probabilities=shares if names else shares[:0],
                origin_xy=(column * drawn.square_px, row * drawn.square_px),
                scale_xy=(1, 1),
                mpp=drawn.mpp,
            )


def _tissue(drawn):
    """Squares of 64 um: what most of their pixels show."""
    parts = 4
    side = drawn.square_px // parts
    grid = np.zeros([size * parts for size in drawn.layout.shape], np.uint8)
    for (row, column), kind in np.ndenumerate(drawn.layout):
        if not kind:
            continue
        field = drawn.fields[kind - 1]
        glands, small = (_share(one, parts, side) for one in (field.glands, field.nuclei))
        here = np.where(glands > 0.4, 1, np.where(small > 0.1, 3, 2))
        grid[row * parts : (row + 1) * parts, column * parts : (column + 1) * parts] = here
    return grid, float(side)


def _share(objects, parts, side):
    """How much of each square is covered by objects."""
    return (objects.instance_map > 0).reshape(parts, side, parts, side).mean((1, 3))
