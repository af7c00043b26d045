"""GeoJSON as QuPath exports it, and `histoseg segment` for QuPath: so corrected predictions come back."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field, model_validator

from histoseg.files.annotations import read_json
from histoseg.files.left_out import leave_out
from histoseg.files.notes import note
from histoseg.files.regions import Polygon, Region, make_ring, with_area


class _Geometry(BaseModel):
    type: str
    coordinates: list[object] = []


class _Classification(BaseModel):
    name: str | None = None
    names: list[str] = []  # QuPath 0.6: those of a class derived from another


class _Properties(BaseModel):
    classification: _Classification | None = None
    drawn_by: str | None = None  # In sources that `histoseg annotate import` writes
    object_type: str = Field(default="", validation_alias=AliasChoices("objectType", "object_type"))  # QuPath 0.4, 0.3
    children: list["_Feature"] = Field(default=[], validation_alias=AliasChoices("childObjects", "children"))


class _Feature(BaseModel):
    id: str | int | float | None = None
    geometry: _Geometry | None
    properties: _Properties | None = None
    nucleus: _Geometry | None = Field(default=None, alias="nucleusGeometry")


class _Import(BaseModel):
    by: str
    at: datetime


class _Collection(BaseModel):
    features: list[_Feature]
    annotate_import: _Import | None = None  # In sources that `histoseg annotate import` writes

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, value: object) -> object:
        """QuPath also exports a list of features, or one alone."""
        if isinstance(value, list):
            return {"features": value}
        return {"features": [value]} if isinstance(value, dict) and value.get("type") == "Feature" else value


DRAWN_BY = {"model": "objects that a model drew and an annotator left", "hand": "objects that an annotator drew"}


def read_geojson(path: Path) -> list[Region]:
    """The polygons and multipolygons of a file, in its order.

    Features of other kinds, such as points and lines, are left out and counted. A cell of QuPath is its outline, not
    that of its nucleus. The class of a region is QuPath's classification, its layer the type of object (annotation,
    detection, cell, ...).
    """
    collection = read_json(path, _Collection)
    features = list(_flatten(collection.features))
    read = [_region(feature, f"{path}: feature {i}") for i, feature in enumerate(features, start=1)]
    regions = [region for region in read if region]
    remedy = "outline each object as a polygon"
    leave_out(path, "features that are no polygons", len(read) - len(regions), len(read), remedy)
    note(
        "cells read by their outline, not that of their nucleus",
        sum(feature.nucleus is not None for feature in features),
    )
    drawn_by = [feature.properties.drawn_by for feature in features if feature.properties]
    for name, text in DRAWN_BY.items():
        note(text, drawn_by.count(name))
    if own := collection.annotate_import:
        note(f"regions corrected by {own.by} on {own.at:%Y-%m-%d}")
    return with_area(regions, path)


def _flatten(features: list[_Feature]) -> Iterator[_Feature]:
    """Each feature, then those below it, where QuPath's hierarchy of objects was exported."""
    for feature in features:
        yield feature
        yield from _flatten((feature.properties or _Properties()).children)


def _region(feature: _Feature, where: str) -> Region | None:
    """The feature as a region, or None if it is no polygon."""
    geometry, properties = feature.geometry, feature.properties or _Properties()
    if geometry is None or geometry.type not in ("Polygon", "MultiPolygon"):
        return None
    pieces = geometry.coordinates if geometry.type == "MultiPolygon" else [geometry.coordinates]
    named = properties.classification or _Classification()
    return Region(
        polygons=tuple(_polygon(piece, where) for piece in pieces),
        class_name=named.name or ": ".join(named.names),
        identity="" if feature.id is None else str(feature.id),
        layer=properties.object_type,
    )


def _polygon(rings: object, where: str) -> Polygon:
    """The first ring is the outline, others are holes; the last vertex of each repeats the first."""
    listed = rings if isinstance(rings, list) else [rings]
    outline, *holes = (make_ring(ring, where) for ring in listed or [[]])
    return Polygon(outline=outline, holes=tuple(holes))
