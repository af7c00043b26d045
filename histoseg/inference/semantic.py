"""Classes of pixels by task: regions leave a file each, and all of them become one map of a slide of any size.

Of the map, one row of regions is in memory at a time.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from histoseg.errors import DataError
from histoseg.inference.regions import SlideWork
from histoseg.maps.colours import WHITE
from histoseg.maps.resize import middles
from histoseg.slides.class_map import OUTSIDE, ClassMapAbout, cut_tiles, write_class_map
from histoseg.slides.colours import map_colours
from histoseg.slides.grid import Grid, Region
from histoseg.slides.summary import PixelsAbout

ClassMap = UInt8[np.ndarray, "_ _"]


@dataclass(frozen=True, kw_only=True)
class TaskMap:
    """The classes of a slide's pixels by one task, at the resolution that the network sees.

    Attributes:
        task: Its name.
        where: The address of what regions left, for messages.
        classes: Their names; pixels that were not looked at have the number after the last.
        grid: The slide's regions.
        folder: Holds a file for each region that was looked at.
    """

    task: str
    where: str
    classes: tuple[str, ...]
    grid: Grid
    folder: Path

    def write(self, path: Path, square_px: float, mpp: float) -> None:
        """Write the map; its pixels are `square_px` base pixels wide, of `mpp` microns each."""
        about = ClassMapAbout(
            histoseg="pixels",
            classes=(*self.classes, OUTSIDE),
            colours=(*map_colours(len(self.classes)), WHITE),
            square_px=square_px,
            mpp=mpp,
        )
        write_class_map(path, self.grid.size_px, lambda step: cut_tiles(self._bands(step)), about)

    def describe(self) -> PixelsAbout:
        """The classes, and the share of each among the pixels that were looked at."""
        counts = np.zeros(len(self.classes) + 1, np.int64)
        for region in self._regions():
            counts += np.bincount(self._read(region).ravel(), minlength=len(counts))
        shares = np.round(counts[:-1] / max(1, counts[:-1].sum()), 4).tolist()
        return PixelsAbout(
            classes=list(self.classes),
            colours=map_colours(len(self.classes)),
            shares=dict(zip(self.classes, shares, strict=True)),
        )

    def to_size(self, size_px: tuple[int, int]) -> ClassMap:
        """The map in that height and width: each pixel takes the class at its middle."""
        found = np.empty(size_px, np.uint8)
        rows, columns = (middles(new, old) for new, old in zip(size_px, self.grid.size_px, strict=True))
        for region in self.grid.regions():
            first, last = np.searchsorted(rows, [region.top, region.top + region.height])
            start, stop = np.searchsorted(columns, [region.left, region.left + region.width])
            part = self._read(region)
            found[first:last, start:stop] = part[
                np.ix_(rows[first:last] - region.top, columns[start:stop] - region.left)
            ]
        return found

    def _bands(self, step: int) -> Iterator[ClassMap]:
        """Every `step`-th pixel of each row of regions."""
        width, (rows, columns) = self.grid.size_px[1], self.grid.counts
        for row in range(rows):
            band: ClassMap | None = None
            for region in (self.grid.region(row, column) for column in range(columns)):
                part = self._read(region)[-region.top % step :: step, -region.left % step :: step]
                if band is None:
                    band = np.empty((len(part), -(-width // step)), np.uint8)
                start = -(-region.left // step)
                band[:, start : start + part.shape[1]] = part
            if band is not None:
                yield band

    def _regions(self) -> list[Region]:
        return [region for region in self.grid.regions() if (self.folder / region.name).exists()]

    def _read(self, region: Region) -> ClassMap:
        path = self.folder / region.name
        if not path.exists():
            return np.full(region.size_px, len(self.classes), np.uint8)
        try:
            return np.frombuffer(zlib.decompress(path.read_bytes()), np.uint8).reshape(region.size_px)
        except (zlib.error, ValueError) as error:
            where = f"{self.where}/{region.name}.{self.task}"
            raise DataError(f"{where} cannot be read ({error}); delete {self.where}, and segment again") from error


def gather_maps(work: SlideWork, folder: Path) -> list[TaskMap]:
    """The maps of all tasks, whose parts are copied to a folder, as each is read once for every level of the file."""
    found = []
    for task in work.predictor.tasks:
        for region in work.regions():
            work.store.download(work.map_key(region, task), folder / task / region.name)
        where = f"{work.store.url}/{work.folder}"
        found.append(
            TaskMap(task=task, where=where, classes=work.model.classes[task], grid=work.grid, folder=folder / task)
        )
    return found
