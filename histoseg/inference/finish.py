"""The results of a slide from what its regions gave: objects stitched across borders, maps, pictures, the summary."""

import errno
import io
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PillowImage

from histoseg.errors import DataError, StorageError
from histoseg.files.resolution import resolution_caveat
from histoseg.inference.pictures import is_small, write_pictures
from histoseg.inference.regions import NOT_SEGMENTED, SlideWork
from histoseg.inference.semantic import gather_maps
from histoseg.machine import versions
from histoseg.maps.colours import WHITE
from histoseg.slides import summary
from histoseg.slides.class_map import OUTSIDE
from histoseg.slides.colours import Kind, colours_of, map_colours
from histoseg.slides.grid import Region
from histoseg.slides.parts import Rest, decode_rest, join_rests
from histoseg.slides.stitch import stitch
from histoseg.slides.summary import (
    Counts,
    MaskAbout,
    ModelAbout,
    StructureAbout,
    Summary,
    TissueAbout,
    read_summary,
)
from histoseg.slides.tissue import draw_mask
from histoseg.slides.tissue_map import write_tissue
from histoseg.store.objects import Store
from histoseg.structures import TISSUE, structure
from histoseg.types import SemanticMap

if TYPE_CHECKING:
    import pyarrow as pa

THUMBNAIL_PX = 512


def finish(work: SlideWork, begun: float) -> Summary:
    """Write the results of a slide whose regions are all done, and remove what they left.

    Earlier results lose their summary first, so at no time does a summary stand beside files of other results.
    `begun` is the time, of `time.monotonic`, from which seconds are counted.
    """
    name, store = work.slide.name, work.store
    rests = {region: decode_rest(store.get(key := work.rest_key(region)), key) for region in work.regions()}
    with _temporary_folder() as folder, _temporary_folder() as parts:
        counts = _write_objects(work, rests, folder / summary.OBJECTS)
        tissue = _write_tissue(work, rests, folder / summary.TISSUE_MAP)
        maps = gather_maps(work, parts)
        for one in maps:
            one.write(folder / f"{one.task}.tif", work.slide.scale_at(work.model.mpp), work.slide.mpp)
        _write_overviews(work, folder)
        pixels = {one.task: one.describe() for one in maps}
        about = _summarise(work, counts, tissue).model_copy(update={"pixels": pixels})
        if is_small(work.slide):
            own = {one.task: one.to_size(work.slide.size_px) for one in maps}
            about = write_pictures(folder, work.slide, about, tissue, own)
        files = sorted(path.name for path in folder.iterdir())
        about = about.model_copy(update={"files": files, "seconds": round(time.monotonic() - begun, 1)})
        _publish(store, about, folder)
    remove_parts(store, name)
    return about


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder that is removed at the end.

    Raises:
        StorageError: If there is no space left in it.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="histoseg-") as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = tempfile.gettempdir()
        text = f"{where}: no space left for temporary files; free some, or set TMPDIR to another folder"
        raise StorageError(text) from error


def _publish(store: Store, about: Summary, folder: Path) -> None:
    """Replace earlier results; files that these do not have go first, while the earlier summary still names them."""
    for old in sorted({*_earlier_files(store, about.name)} - {*about.files}):
        store.delete(f"{about.name}/{old}")
    store.delete(f"{about.name}/{summary.SUMMARY}")
    for new in about.files:
        store.put(f"{about.name}/{new}", folder / new)
    store.put(f"{about.name}/{summary.SUMMARY}", about.model_dump_json(indent=1).encode())


def _earlier_files(store: Store, name: str) -> list[str]:
    """The files that an earlier summary names; none if it cannot be read."""
    try:
        earlier = read_summary(store, name)
    except DataError:
        return []
    return earlier.files if earlier else []


def remove_parts(store: Store, name: str) -> None:
    """Remove what regions of a finished slide left, with whatever model."""
    for key in store.list(f"{name}/{summary.PARTS}/"):
        store.delete(key)


def _write_objects(work: SlideWork, rests: Mapping[Region, Rest], path: Path) -> Counter[Kind]:
    """Write the objects of all regions and those across their borders; returns how many there are of each kind."""
    from histoseg.slides.objects import ObjectsAbout, write_objects

    height, width = work.slide.size_px
    about = ObjectsAbout(
        name=work.slide.name, size_px=(width, height), mpp=work.slide.mpp, model_sha256=work.model.sha256
    )
    counts = Counter[Kind]()
    write_objects(path, (_counted(table, counts) for table in _tables(work, rests)), about)
    return counts


def _tables(work: SlideWork, rests: Mapping[Region, Rest]) -> "Iterator[pa.Table]":
    import pyarrow.parquet as pq

    for region in rests:
        yield pq.read_table(io.BytesIO(work.store.get(work.objects_key(region))))
    for found in stitch(join_rests([*rests.values()]), work.predictor, work.grid.size_px):
        yield work.tabulate(found)


def _counted(table: "pa.Table", counts: Counter[Kind]) -> "pa.Table":
    for row in table.group_by(["structure", "class"]).aggregate([("id", "count")]).to_pylist():
        counts[row["structure"], row["class"] or ""] += row["id_count"]
    return table


def _write_tissue(work: SlideWork, rests: Mapping[Region, Rest], path: Path) -> SemanticMap | None:
    """Write the classes of tissue of all squares, and return them; None without a head for tissue.

    Squares that were not looked at have the number after the last class.
    """
    if TISSUE not in work.model.classes or not work.predictor.square_px:
        return None
    side, classes = work.predictor.square_px, work.model.classes[TISSUE]
    whole = np.full([-(-length // side) for length in work.grid.size_px], NOT_SEGMENTED, np.uint8)
    for region, rest in rests.items():
        if rest.tissue is not None:
            place = whole[region.top // side :, region.left // side :][: rest.tissue.shape[0], : rest.tissue.shape[1]]
            place[...] = rest.tissue
    shown = np.where(whole == NOT_SEGMENTED, len(classes), whole).astype(np.uint8)
    square_px = side * work.slide.scale_at(work.model.mpp)
    write_tissue(path, shown, [*classes, OUTSIDE], [*map_colours(len(classes)), WHITE], square_px, work.slide.mpp)
    return shown


def _write_overviews(work: SlideWork, folder: Path) -> None:
    thumbnail = work.slide.read_thumbnail(THUMBNAIL_PX)
    PillowImage.fromarray(thumbnail).save(folder / summary.THUMBNAIL, quality=90)
    PillowImage.fromarray(draw_mask(thumbnail, work.mask)).save(folder / summary.MASK)


def _summarise(work: SlideWork, counts: Counter[Kind], tissue: SemanticMap | None) -> Summary:
    """What is known of a slide, but for the files and how long it took."""
    slide, model = work.slide, work.model
    height, width = slide.size_px
    classes = {name: work.class_names(name) for name in work.predictor.structures}
    return Summary(
        name=slide.name,
        address=slide.address if "://" in slide.address else str(Path(slide.address).absolute()),
        size_px=(width, height),
        mpp=slide.mpp,
        model=ModelAbout(sha256=model.sha256, origin=model.origin, mpp=model.mpp),
        structures=_describe_structures(classes),
        counts={name: _count(name, counts, classes[name]) for name in classes},
        tissue=None if tissue is None else _describe_tissue(work, tissue),
        mask=MaskAbout(kind=work.mask.kind, area_mm2=round(work.mask.area_mm2, 4)),
        caveats=[*model.caveats, *resolution_caveat(slide.mpp, model.mpp)],
        notes=dict(slide.notes),
        files=[],
        made_of=work.made_of,
        histoseg=versions()["histoseg"],
        seconds=0,
    )


def _describe_structures(classes: Mapping[str, tuple[str, ...]]) -> dict[str, StructureAbout]:
    colours = colours_of({name: kinds[1:] for name, kinds in classes.items()})
    return {
        name: StructureAbout(
            singular=structure(name).singular,
            plural=structure(name).plural,
            classes=list(kinds[1:]),
            colours={kind: colour for (owner, kind), colour in colours.items() if owner == name},
        )
        for name, kinds in classes.items()
    }


def _count(name: str, counts: Counter[Kind], classes: tuple[str, ...]) -> Counts:
    return Counts(
        all=sum(number for (owner, _), number in counts.items() if owner == name),
        classes={kind: counts[name, kind] for kind in (*classes[1:], *([""] if classes and counts[name, ""] else []))},
    )


def _describe_tissue(work: SlideWork, tissue: SemanticMap) -> TissueAbout:
    classes = work.model.classes[TISSUE]
    squares = np.bincount(tissue.ravel(), minlength=len(classes) + 1)[: len(classes)]
    return TissueAbout(
        classes=list(classes),
        colours=map_colours(len(classes)),
        square_px=work.predictor.square_px * work.slide.scale_at(work.model.mpp),
        shares={name: round(count / max(1, squares.sum()), 4) for name, count in zip(classes, squares, strict=True)},
    )
