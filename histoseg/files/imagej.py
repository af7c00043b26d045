"""Regions of ImageJ: .roi files, and .zip files of its ROI Manager."""

from pathlib import Path

import roifile

from histoseg.errors import DataError
from histoseg.files.left_out import leave_out
from histoseg.files.regions import Polygon, Region, Ring, contains, make_ring, with_area

AREAS = tuple(roifile.ROI_TYPE[name] for name in ("POLYGON", "RECT", "OVAL", "FREEHAND", "TRACED"))


def read_imagej(path: Path) -> list[Region]:
    """The areas of a .roi or .zip file, in its order; points and lines are left out and counted.

    Rings of a composite area that lie within another one are its holes. The class of a region is its name in the ROI
    Manager, its layer the number of its group ("" if it has none).
    """
    if path.suffix.lower() not in (".roi", ".zip"):
        raise DataError(f"{path}: expected a .roi or .zip file of ImageJ; save it from the ROI Manager")
    try:
        read = roifile.roiread(path)
        rois = read if isinstance(read, list) else [read]
        areas = [(roi, roi.coordinates(multi=True)) for roi in rois if roi.roitype in AREAS]
    except Exception as error:  # Damaged files raise anything: struct.error, BadZipFile, IndexError, ...
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path}: not readable as regions of ImageJ ({reason}); save them again") from error
    leave_out(path, "regions that are points or lines", len(rois) - len(areas), len(rois), "outline each object")
    regions = [
        _region(roi, [make_ring(ring, f"{path}: region {roi.name!r}") for ring in rings]) for roi, rings in areas
    ]
    return with_area(regions, path)


def _region(roi: roifile.ImagejRoi, rings: list[Ring]) -> Region:
    solid = [ring for ring in rings if len(ring) >= 3] or rings
    depths = [sum(contains(other, ring) for other in solid if other is not ring) for ring in solid]
    polygons = tuple(
        Polygon(outline=ring, holes=tuple(_directly_within(ring, depth, solid, depths)))
        for ring, depth in zip(solid, depths, strict=True)
        if depth % 2 == 0
    )
    return Region(polygons=polygons, class_name=roi.name, layer=str(roi.group) if roi.group else "")


def _directly_within(ring: Ring, depth: int, rings: list[Ring], depths: list[int]) -> list[Ring]:
    return [other for other, own in zip(rings, depths, strict=True) if own == depth + 1 and contains(ring, other)]
