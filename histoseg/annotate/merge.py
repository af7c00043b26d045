"""Corrected regions as a declared source: each import is a new version of it, with who drew what.

raw/<name>/source.toml                   what `prepare` reads; names the newest version, and is replaced last
raw/<name>/v0002/images/<region>.png     the regions of that version: its own, and those of the version before
raw/<name>/v0002/labels/<region>.geojson
raw/<name>/v0002/provenance.json         every import up to that version
raw/<name>/v0002/declaration.toml        the source.toml of that version, to go back to it

An import is a new folder until source.toml names it, so a reader sees all of it or nothing.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from histoseg.annotate.origin import DrawnBy
from histoseg.errors import ConfigError, DataError, StorageError
from histoseg.files.regions import Region
from histoseg.runs import catalog
from histoseg.sources._declaration import FILE, Declaration, read_declaration
from histoseg.sources._draft_file import quoted
from histoseg.store.objects import FileStore

PROVENANCE, DECLARATION = "provenance.json", "declaration.toml"
PATIENT = "/([^/]+)__[0-9]+_[0-9]+$"  # Regions of one image are of one patient, and in one split.
LICENCE = "that of the images"


class _Values(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RegionOrigin(_Values):
    """Where a region of a source is from, and who drew its objects."""

    image: str
    image_identity: str
    top: int
    left: int
    model_sha256: str
    round: str
    by_model: int
    by_hand: int
    changed: int
    added: int
    removed: int


class Import(_Values):
    """One import: who corrected which regions, and when."""

    version: int
    by: str
    at: str  # In UTC
    regions: dict[str, RegionOrigin]


class Provenance(_Values):
    """All imports of a source, the first one first."""

    imports: tuple[Import, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """A region that is to be merged."""

    name: str
    image: Path
    regions: Sequence[Region]
    drawn_by: Sequence[DrawnBy]
    origin: RegionOrigin


@dataclass(frozen=True, kw_only=True)
class Target:
    """The source that regions are merged into."""

    raw: Path
    name: str
    structure: str
    classes: tuple[str, ...]
    mpp: float

    @property
    def folder(self) -> Path:
        """The source's folder."""
        return self.raw / self.name

    def declaration(self, version: int) -> str:
        """The `source.toml` of a version."""
        lines = {
            "name": quoted(self.name),
            "title": quoted(self.name.replace("_", " ").capitalize()),
            "licence": quoted(LICENCE),
            "kind": quoted("instance"),
            "classes": f"[{', '.join(map(quoted, self.classes))}]",
            "mpp": f"{float(self.mpp)!r}",
            "structure": quoted(self.structure),
            "images": quoted(f"{folder_of(version)}/images/{{name}}.png"),
            "labels": quoted(f"{folder_of(version)}/labels/{{name}}.geojson"),
            "patient": quoted(PATIENT),
        }
        return "# Written by `histoseg annotate import`.\n" + "".join(
            f"{key} = {value}\n" for key, value in lines.items()
        )


def folder_of(version: int) -> str:
    """The folder of a version below that of its source."""
    return f"v{version:04d}"


def merge(target: Target, annotated: Sequence[Annotated], by: str, at: str) -> tuple[Import, bool]:
    """Make a version of a source that has these regions as well.

    Regions that are there already are replaced. What is the same as the newest version makes no new one.

    Returns:
        The import that brought these regions, the last of them if there were several, and whether it is this one.

    Raises:
        ConfigError: If the source is another one, of other classes or of another resolution, or its name cannot be.
    """
    newest = current_version(target)
    bodies = {one.name: _features(one) for one in annotated}
    known = provenance_of(target.folder, newest).imports
    if newest and _has_all(target.folder / folder_of(newest), bodies):
        return next(one for one in reversed(known) if not bodies.keys().isdisjoint(one.regions)), False
    version = _highest_whole(target.folder) + 1
    folder = target.folder / folder_of(version)
    shutil.rmtree(folder, ignore_errors=True)  # Of an import that did not end
    try:
        _copy(target.folder / folder_of(newest) if newest else None, folder, {*bodies})
        for one in annotated:
            shutil.copyfile(one.image, _made(folder / "images" / f"{one.name}.png"))
            text = _label_file(bodies[one.name], by, at)
            _made(folder / "labels" / f"{one.name}.geojson").write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror or error}); nothing was merged") from error
    own = Import(version=version, by=by, at=at, regions={one.name: one.origin for one in annotated})
    store, declaration = FileStore(target.folder), target.declaration(version).encode()
    provenance = Provenance(imports=(*known, own))
    store.put(f"{folder_of(version)}/{PROVENANCE}", provenance.model_dump_json(indent=1).encode())
    store.put(f"{folder_of(version)}/{DECLARATION}", declaration)
    store.put(FILE, declaration)
    return own, True


def current_version(target: Target) -> int:
    """The version that a source's declaration names; 0 if there is none."""
    path = target.folder / FILE
    if not path.is_file():
        _require_name(target)
        return 0
    declared = read_declaration(path)
    found = [version for version in _versions(target.folder) if declared.images.startswith(f"{folder_of(version)}/")]
    if not found:
        raise ConfigError(f"{path} was not written by `histoseg annotate import`; choose another --source")
    for name in ("structure", "classes", "mpp"):
        own, there = getattr(target, name), getattr(declared, name)
        if own != (tuple(there) if isinstance(there, list) else there):
            raise ConfigError(f"{path}: {name} is {there!r}, but the round has {own!r}; choose another --source")
    return found[0]


def provenance_of(folder: Path, version: int) -> Provenance:
    """Every import of a source up to a version."""
    if not version:
        return Provenance()
    path = folder / folder_of(version) / PROVENANCE
    try:
        return Provenance.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); restore it") from error


def _label_file(features: str, by: str, at: str) -> str:
    """The objects of a region as GeoJSON, then who corrected them and when, which shards take over."""
    return f'{features}, "annotate_import": {json.dumps({"by": by, "at": at}, ensure_ascii=False)}}}\n'


def _features(one: Annotated) -> str:
    """The beginning of the label file of a region: its objects, one a line, each with who drew it."""
    features = [
        {
            "type": "Feature",
            "id": region.identity,
            "geometry": _geometry(region),
            "properties": {"classification": {"name": region.class_name}, "drawn_by": drawn_by},
        }
        for region, drawn_by in zip(one.regions, one.drawn_by, strict=True)
    ]
    lines = ",\n".join(json.dumps(feature, ensure_ascii=False, allow_nan=False) for feature in features)
    return f'{{"type": "FeatureCollection", "features": [\n{lines}\n]'


def _geometry(region: Region) -> Mapping[str, object]:
    pieces = [[ring.tolist() for ring in (piece.outline, *piece.holes)] for piece in region.polygons]
    if len(pieces) == 1:
        return {"type": "Polygon", "coordinates": pieces[0]}
    return {"type": "MultiPolygon", "coordinates": pieces}


def _require_name(target: Target) -> None:
    if target.name in catalog.names(catalog.SOURCES):
        raise ConfigError(f"--source {target.name}: is the name of a source of the program; choose another one")
    fields = {"title": "a", "licence": "a", "kind": "patch", "classes": ["a", "b"], "mpp": 1.0, "images": "{name}.png"}
    try:
        Declaration.model_validate({**fields, "name": target.name})
    except ValidationError as error:
        rule = "must begin with a lower-case letter, and have only such letters, digits and _"
        raise ConfigError(f"--source {target.name!r}: {rule}") from error


def _highest_whole(folder: Path) -> int:
    """The highest version that was written to its end, which need not be the one in use; 0 without any."""
    numbers = _versions(folder) if folder.is_dir() else []
    return max((number for number in numbers if (folder / folder_of(number) / DECLARATION).is_file()), default=0)


def _versions(folder: Path) -> list[int]:
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return [int(name[1:]) for name in names if name[:1] == "v" and name[1:].isdigit()]


def _has_all(folder: Path, bodies: Mapping[str, str]) -> bool:
    """Whether a version has the same labels of all these regions, whoever corrected them."""
    paths = {name: folder / "labels" / f"{name}.geojson" for name in bodies}
    return all(
        path.is_file() and path.read_text(encoding="utf-8").startswith(bodies[name]) for name, path in paths.items()
    )


def _copy(before: Path | None, folder: Path, replaced: set[str]) -> None:
    """Take over the files of the version before, without taking room where the disk allows it."""
    for part in ("images", "labels"):
        for path in sorted((before / part).iterdir()) if before else ():
            if path.stem not in replaced:
                _link(path, _made(folder / part / path.name))


def _link(path: Path, copy: Path) -> None:
    try:
        os.link(path, copy)
    except OSError:
        shutil.copy2(path, copy)  # The same time of change, so that `prepare` keeps what it wrote


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
