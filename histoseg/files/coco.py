"""Annotations in the format of COCO: one JSON file for many images, with polygons or run lengths."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from histoseg.errors import DataError
from histoseg.files.annotations import read_json
from histoseg.files.left_out import leave_out
from histoseg.files.regions import Polygon, Region, make_ring, with_area


class _Image(BaseModel):
    id: int | str
    file_name: str
    height: int | None = None
    width: int | None = None


class _Category(BaseModel):
    id: int
    name: str


class _Runs(BaseModel):
    size: tuple[int, int]  # Height, width
    counts: list[int] | str


class _Annotation(BaseModel):
    image_id: int | str
    category_id: int
    segmentation: _Runs | list[list[float]] = []
    iscrowd: int = 0


class _File(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(path: Path) -> dict[str, list[Region]]:
    """The regions of each image, by its file name as the file has it; an image without annotations has none.

    Polygons of one annotation are its pieces; run lengths, compressed or not, become rectangles that cover the same
    pixels. Crowds, and annotations of a box alone, are left out and counted. The class of a region is its category.
    """
    content = read_json(path, _File)
    names = {image.id: image.file_name for image in content.images}
    if len(set(names.values())) < len(content.images):
        raise DataError(f"{path}: images share an id or a file name; number and name each image once")
    sizes = {
        image.id: (image.height, image.width) if image.height and image.width else None for image in content.images
    }
    classes = {category.id: category.name for category in content.categories}
    read: dict[str, list[Region]] = {name: [] for name in names.values()}
    left_out = 0
    for number, annotation in enumerate(content.annotations, start=1):
        where = f"{path}: annotation {number}"
        if annotation.image_id not in names or annotation.category_id not in classes:
            found = f"image {annotation.image_id!r}, category {annotation.category_id}"
            raise DataError(f"{where}: {found}; the file lists no such image or category; export it again")
        if annotation.iscrowd or not annotation.segmentation:
            left_out += 1
        else:
            region = Region(
                polygons=tuple(_polygons(annotation, where)),
                class_name=classes[annotation.category_id],
                drawn_on=_size(annotation.segmentation) or sizes[annotation.image_id],
            )
            read[names[annotation.image_id]].append(region)
    remedy = "export outlines or masks of single objects"
    leave_out(path, "annotations that are crowds or boxes", left_out, len(content.annotations), remedy)
    return {name: with_area(regions, path) for name, regions in read.items()}


def _size(segmentation: _Runs | list[list[float]]) -> tuple[int, int] | None:
    return segmentation.size if isinstance(segmentation, _Runs) else None


def _polygons(annotation: _Annotation, where: str) -> Iterator[Polygon]:
    segmentation = annotation.segmentation
    if isinstance(segmentation, _Runs):
        yield from _rectangles(segmentation, where)
        return
    for flat in segmentation:
        if len(flat) % 2:
            raise DataError(f"{where}: a polygon of {len(flat)} numbers; expected pairs of x and y; export it again")
        yield Polygon(outline=make_ring([flat[i : i + 2] for i in range(0, len(flat), 2)], where))


def _rectangles(runs: _Runs, where: str) -> Iterator[Polygon]:
    """What a mask covers; its runs go down the columns and alternate between outside and inside."""
    height, width = runs.size
    counts = decode_counts(runs.counts) if isinstance(runs.counts, str) else runs.counts
    if min(height, width, *counts, 0) < 0 or sum(counts) != height * width:
        found = f"run lengths of {sum(counts)} pixels for a mask of {height} x {width}"
        raise DataError(f"{where}: {found}; export the annotation again")
    edges = [0, *np.cumsum(counts, dtype=np.int64).tolist()]
    for start, stop in zip(edges[1::2], edges[2::2], strict=False):
        yield from _split_run(start, stop, height, where)


def _split_run(start: int, stop: int, height: int, where: str) -> Iterator[Polygon]:
    while start < stop:
        left, top = divmod(start, height)
        columns = (stop - start) // height if top == 0 else 0
        end = start + columns * height if columns else min(stop, (left + 1) * height)
        right, bottom = left + max(columns, 1), height if columns else top + end - start
        yield Polygon(outline=make_ring([(left, top), (right, top), (right, bottom), (left, bottom)], where))
        start = end


def decode_counts(text: str) -> list[int]:
    """Run lengths as COCO compresses them (`rleFrString` of the COCO API, maskApi.c).

    Each character has five bits, and a sixth that says that more follow; from the fourth length on, numbers are
    differences to the last but one.
    """
    counts: list[int] = []
    value = shift = 0
    for code in text.encode():
        digit = code - 48
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            value -= (digit & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
