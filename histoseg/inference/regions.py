"""Regions of a slide through a model: read ahead, predicted, settled and written, each while others are."""

import io
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Bool, UInt8

from histoseg.maps.evidence import RegionEvidence
from histoseg.maps.windows import Window
from histoseg.models.spec import RegionPredictor
from histoseg.models.weights import Model
from histoseg.slides.grid import Grid, Region
from histoseg.slides.parts import Rest, encode_rest
from histoseg.slides.reader import Slide
from histoseg.slides.settle import FoundObjects, Settled, Sides, settle
from histoseg.slides.summary import PARTS
from histoseg.slides.tissue import TissueMask
from histoseg.store.objects import Store
from histoseg.structures import structure
from histoseg.types import Image

if TYPE_CHECKING:
    import pyarrow as pa

AHEAD = 2  # Regions that are read while one is predicted, and that are settled; each takes some 40 MB.
NOT_SEGMENTED = 255  # The class of squares that no window showed, or that the mask leaves out
Before = TypeVar("Before")
Between = TypeVar("Between")
After = TypeVar("After")
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class SlideWork:
    """A slide that is being segmented.

    Attributes:
        slide: The slide, open.
        model: The model.
        predictor: What the model's network finds in regions.
        grid: The slide's regions.
        mask: Where its tissue is.
        store: Where results go.
        made_of: Stands for everything that the results depend on.
    """

    slide: Slide
    model: Model
    predictor: RegionPredictor
    grid: Grid
    mask: TissueMask
    store: Store
    made_of: str

    @property
    def folder(self) -> str:
        """The key of the folder for what regions give until the slide is finished."""
        return f"{self.slide.name}/{PARTS}/{self.made_of}"

    def objects_key(self, region: Region) -> str:
        """Where the settled objects of a region lie."""
        return f"{self.folder}/{region.name}.objects.parquet"

    def rest_key(self, region: Region) -> str:
        """Where the rest of a region lies; it is written last, so a region that has it is done."""
        return f"{self.folder}/{region.name}.rest.parquet"

    def map_key(self, region: Region, task: str) -> str:
        """Where the classes of a region's pixels by a task lie, as compressed bytes, row by row."""
        return f"{self.folder}/{region.name}.{task}.zlib"

    def regions(self) -> list[Region]:
        """The regions with tissue, row by row."""
        return [region for region in self.grid.regions() if self._windows(region)]

    def undone(self) -> list[Region]:
        """Those of them that are not done."""
        done = set(self.store.list(f"{self.folder}/"))
        return [region for region in self.regions() if self.rest_key(region) not in done]

    def tabulate(self, found: FoundObjects) -> "pa.Table":
        """Objects as rows of `objects.parquet`."""
        from histoseg.slides.objects import tabulate

        scale = self.slide.scale_at(self.model.mpp)
        names = self.class_names(found.structure)
        return tabulate(
            found.instance_map,
            found.structure,
            class_names=names,
            classes=found.classes if names else np.zeros(0, np.uint8),
            class_probabilities=found.class_probabilities if names else np.zeros(0),
            origin_xy=(found.left, found.top),
            scale_xy=(scale, scale),
            mpp=self.slide.mpp,
        )

    def class_names(self, name: str) -> tuple[str, ...]:
        """The classes of a structure's objects, background first; empty without classes."""
        return self.model.classes.get(structure(name).type_decoder, ()) if self.predictor.num_types(name) else ()

    def _windows(self, region: Region) -> list[Window]:
        """The windows of a region that show tissue."""
        return [
            window
            for window in self.grid.windows_of(region)
            if self.mask.covers(*_clipped(window, region), self.slide.mpp_at(self.model.mpp))
        ]

    def _read(self, region: Region) -> tuple[Region, Image]:
        def read(top: int, left: int, height: int, width: int) -> Image:
            return self.slide.read(top, left, height, width, self.model.mpp)

        return region, self.grid.read(region, read)

    def _predict(self, read: tuple[Region, Image]) -> tuple[Region, RegionEvidence]:
        region, image = read
        seen = self.predictor.evidence(image, self._windows(region), region.size_px)
        tissue = self._is_tissue(region, region.size_px, 1)
        objects = {name: evidence if tissue.all() else evidence.seen(tissue) for name, evidence in seen.objects.items()}
        return region, replace(seen, objects=objects)

    def _is_tissue(self, region: Region, shape: tuple[int, int], side_px: int) -> Bool[np.ndarray, "I J"]:
        """Which squares of a region lie within the mask."""
        return self.mask.at(region.top, region.left, shape, side_px, self.slide.mpp_at(self.model.mpp))

    def _settle(self, predicted: tuple[Region, RegionEvidence]) -> tuple[Region, "pa.Table"]:
        """Write what a region settles and what it leaves; returns its settled objects."""
        region, seen = predicted
        settled = settle(seen.objects, self.predictor, self._sides(region), (region.name, region.top, region.left))
        table = _join([self.tabulate(found) for found in settled.found])
        self.store.put(self.objects_key(region), _to_parquet(table))
        for task, found in seen.semantic_maps.items():
            classes = self._seen(region, found, 1, len(self.model.classes[task]))
            self.store.put(self.map_key(region, task), zlib.compress(classes.tobytes(), level=1))
        left = Settled(pieces=settled.pieces, solids=settled.solids, strips=settled.strips)
        self.store.put(self.rest_key(region), encode_rest(Rest(settled=left, tissue=self._tissue(region, seen))))
        return region, table

    def _sides(self, region: Region) -> Sides:
        rows, columns = self.grid.counts
        return Sides(
            top=region.row > 0,
            left=region.column > 0,
            bottom=region.row < rows - 1,
            right=region.column < columns - 1,
        )

    def _tissue(self, region: Region, seen: RegionEvidence) -> UInt8[np.ndarray, "I J"] | None:
        """The class of each square of a region; squares without tissue have none."""
        if seen.tissue is None:
            return None
        return self._seen(region, seen.tissue.argmax(axis=0).astype(np.uint8), self.predictor.square_px, NOT_SEGMENTED)

    def _seen(
        self, region: Region, classes: UInt8[np.ndarray, "I J"], side_px: int, unseen: int
    ) -> UInt8[np.ndarray, "I J"]:
        """The classes of a region's squares of that side, replaced where no window showed them or no tissue is."""
        found: UInt8[np.ndarray, "I J"] = np.full_like(classes, unseen)
        for window in self._windows(region):
            place = tuple(
                slice(start // side_px, (start + length) // side_px)
                for start, length in ((window.top, window.height), (window.left, window.width))
            )
            found[place] = classes[place]
        found[~self._is_tissue(region, (classes.shape[0], classes.shape[1]), side_px)] = unseen
        return found


def segment_regions(work: SlideWork, regions: Sequence[Region]) -> Iterator[tuple[Region, "pa.Table"]]:
    """Segment some regions and write what each gives; yields each with its settled objects."""
    return pipeline(regions, work._read, work._predict, work._settle)


def pipeline(
    items: Iterable[Item],
    before: Callable[[Item], Before],
    between: Callable[[Before], Between],
    after: Callable[[Between], After],
) -> Iterator[After]:
    """The results of three steps, the first and the last of which run beside the middle one, `AHEAD` items each."""
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as last:
        yield from _ahead(map(between, _ahead(items, first, before)), last, after)


def _ahead(items: Iterable[Item], pool: ThreadPoolExecutor, step: Callable[[Item], After]) -> Iterator[After]:
    """The results of a step, in order; a pool computes as many as `AHEAD` before they are asked for."""
    coming = deque[Future[After]]()
    try:
        for item in items:
            coming.append(pool.submit(step, item))
            if len(coming) > AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        for future in coming:
            future.cancel()


def _clipped(window: Window, region: Region) -> tuple[int, int, int, int]:
    """Top, left, height and width on the slide of what of a window lies in its region."""
    height, width = min(window.height, region.height - window.top), min(window.width, region.width - window.left)
    return region.top + window.top, region.left + window.left, height, width


def _join(tables: "Sequence[pa.Table]") -> "pa.Table":
    import pyarrow as pa

    from histoseg.slides.objects import SCHEMA

    return pa.concat_tables([SCHEMA.empty_table(), *tables]).unify_dictionaries()


def _to_parquet(table: "pa.Table") -> bytes:
    import pyarrow.parquet as pq

    body = io.BytesIO()
    pq.write_table(table, body, compression="zstd")
    return body.getvalue()
