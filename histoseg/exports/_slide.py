"""What an export is made from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from histoseg.slides.colours import NO_CLASS_COLOUR
from histoseg.slides.objects import ObjectFile
from histoseg.slides.summary import Summary
from histoseg.structures import structure


@dataclass(frozen=True, kw_only=True)
class ObjectRow:
    """One row of `objects.parquet`."""

    id: int
    structure: str
    class_name: str  # Empty without a class
    class_probability: float | None  # None without a class
    area_um2: float
    centroid: tuple[float, float]
    box: tuple[float, float, float, float]  # Left, top, right, bottom
    geometry: bytes

    @property
    def type_name(self) -> str:
        """Its class, or without one what its structure calls an object."""
        return self.class_name or structure(self.structure).singular


@dataclass(frozen=True, kw_only=True)
class SlideObjects:
    """The objects of a slide, and what its summary says of them."""

    objects: ObjectFile
    summary: Summary

    def rows(self, structures: Sequence[str] | None = None) -> Iterator[ObjectRow]:
        """Every object, of some structures; one row group is in memory at a time."""
        for table in self.objects.stream(structures=structures):
            sides = (side.to_pylist() for side in table["bbox"].combine_chunks().flatten())
            columns = (table[name].to_pylist() for name in table.schema.names if name != "bbox")
            for box, values in zip(zip(*sides, strict=True), zip(*columns, strict=True), strict=True):
                number, name, class_name, class_probability, area_um2, x, y, geometry = values
                yield ObjectRow(
                    id=number,
                    structure=name,
                    class_name=class_name or "",
                    class_probability=class_probability,
                    area_um2=area_um2,
                    centroid=(x, y),
                    box=box,
                    geometry=geometry,
                )

    def colour_of(self, structure: str, class_name: str) -> str:
        """The colour of a class of objects as #RRGGBB; grey where the summary names none."""
        about = self.summary.structures.get(structure)
        return about.colours.get(class_name, NO_CLASS_COLOUR) if about else NO_CLASS_COLOUR

    def classes_of(self, structure: str) -> list[str]:
        """The classes of a structure's objects."""
        about = self.summary.structures.get(structure)
        return list(about.classes) if about else []

    @property
    def structures(self) -> list[str]:
        """Those of which the slide has objects, in the order of the summary."""
        known, found = self.summary.structures, {*self.objects.structures}
        return [*(name for name in known if name in found), *sorted(found - known.keys())]
