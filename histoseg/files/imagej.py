"""Regions of ImageJ: .roi files, and .zip files of its ROI Manager."""

from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import roifile

from histoseg.errors import DataError
from histoseg.files.fill import Ring
from histoseg.files.left_out import leave_out
from histoseg.files.regions import Polygon, Region, contains, make_ring, with_area

AREAS = tuple(roifile.ROI_TYPE[name] for name in ("POLYGON", "RECT", "OVAL", "FREEHAND", "TRACED"))

DRAWN_ON = (roifile.ROI_SUBTYPE.TEXT, roifile.ROI_SUBTYPE.IMAGE)  # Rectangles, for ImageJ
MAX_BYTES = 2**28  # Of one region; a damaged archive may claim anything.


def read_imagej(path: Path) -> list[Region]:
    """The areas of a .roi or .zip file, in its order; points, lines, texts and pictures are left out and counted.

    Rings of a composite area that lie within another one are its holes. The class of a region is its name in the ROI
    Manager, its layer the number of its group ("" if it has none).
    """
    if path.suffix.lower() not in (".roi", ".zip"):
        raise DataError(f"{path}: expected a .roi or .zip file of ImageJ; save it from the ROI Manager")
    try:
        rois = [roifile.ImagejRoi.frombytes(body) for body in _bodies(path)]
        areas = [(roi, roi.coordinates(multi=True)) for roi in rois if _is_area(roi)]
    except Exception as error:  # Damaged files raise anything: struct.error, BadZipFile, IndexError, ...
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path}: not readable as regions of ImageJ ({reason}); save them again") from error
    leave_out(
        path,
        "regions that are points, lines, texts or pictures",
        len(rois) - len(areas),
        len(rois),
        "outline each object",
    )
    regions = [
        _region(roi, [make_ring(ring, f"{path}: region {roi.name!r}") for ring in rings]) for roi, rings in areas
    ]
    return with_area(regions, path)


def _bodies(path: Path) -> list[bytes]:
    """The content of a .roi file, or of those in an archive; other programs add files of their own to one."""
    if path.suffix.lower() == ".roi":
        return [path.read_bytes()]
    with ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".roi")]
        visible = [name for name in names if not PurePosixPath(name).name.startswith(".")]
        return [archive.open(name).read(MAX_BYTES) for name in visible]


def _is_area(roi: roifile.ImagejRoi) -> bool:
    return roi.roitype in AREAS and roi.subtype not in DRAWN_ON


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
