"""Corrected files of a round into a source: all of them, or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from histoseg.annotate.check import FEWEST, Corrected, Expected, read_corrected
from histoseg.annotate.export import image_of, objects_of
from histoseg.annotate.merge import Annotated, RegionOrigin, Target, folder_of, merge
from histoseg.annotate.origin import origins_of
from histoseg.annotate.plan import Plan, read_plan
from histoseg.errors import ConfigError, DataError
from histoseg.exports._slide import SlideObjects
from histoseg.files.folders import nfc
from histoseg.files.regions import Region
from histoseg.slides.outlined import region_of
from histoseg.slides.qupath import feature_id
from histoseg.store.objects import FileStore

IMPORTS = "imports"
NOTHING_MERGED = "nothing was merged; correct these files and import all once more"


class Imported(BaseModel):
    """What an import of a round merged, as the round's folder keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str  # The folder of the source
    version: int
    by: str
    at: str
    regions: dict[str, RegionOrigin]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What an annotator sends back, and where it goes."""

    files: Sequence[Path]
    raw: Path
    source: str
    by: str
    accept_empty: bool = False
    accept_redrawn: bool = False


def take_in(folder: Path, delivery: Delivery) -> tuple[Imported, bool]:
    """Merge corrected files of a round into a source; the files are of regions by their names.

    Returns:
        The import that brought these regions, and whether it is this one; else the source has had them before.

    Raises:
        DataError: If any file has a fault; a line for each, and nothing was merged.
        ConfigError: If there is no file, the annotator has no name, or the source does not fit.
    """
    if not delivery.by.strip() or not delivery.by.isprintable():
        raise ConfigError(f"--by {delivery.by!r}: must be the name of who corrected the regions, on one line")
    plan, files = read_plan(folder), _by_region(delivery.files)
    found = {name: objects_of(folder, name) for name in plan.by_name}
    corrected = _read_all(plan, files, found, accept_empty=delivery.accept_empty)
    annotated = [_annotated(folder, plan, one, found[one.name]) for one in corrected]
    if not delivery.accept_redrawn:
        _require_familiar(corrected, annotated, found)
    target = Target(
        raw=delivery.raw,
        name=delivery.source,
        structure=plan.structure,
        classes=plan.classes,
        mpp=plan.mpp,
    )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    own, is_new = merge(target, annotated, delivery.by.strip(), at)
    imported = Imported(source=str(target.folder), version=own.version, by=own.by, at=own.at, regions=own.regions)
    # Written for an import of before too: it may have been killed before its round heard of it.
    FileStore(folder).put(_key(target, own.version), imported.model_dump_json(indent=1).encode())
    return imported, is_new


def _require_familiar(
    corrected: Sequence[Corrected], annotated: Sequence[Annotated], found: Mapping[str, SlideObjects]
) -> None:
    """Refuse files that have objects, but none that was exported with their region: they may be of another image."""
    faults = []
    for one, merged in zip(corrected, annotated, strict=True):
        exported = _predicted(found[one.name])
        is_known = any(region.identity in exported for region in one.regions)
        if len(exported) >= FEWEST and one.regions and not is_known and not merged.origin.by_model:
            faults.append(
                f"{one.path}: none of its {len(one.regions)} objects is one of the {len(exported)} that were exported "
                f"with region {one.name}; if they were all drawn anew, give --accept-redrawn"
            )
    if faults:
        raise DataError("\n".join([*faults, NOTHING_MERGED]))


def say_origins(regions: Mapping[str, RegionOrigin]) -> str:
    """Who drew the objects of some regions."""
    model, hand, gone = (
        sum(getattr(one, name) for one in regions.values()) for name in ("by_model", "by_hand", "removed")
    )
    return f"{model} objects as the model drew them, {hand} by hand, {gone} removed"


def imports_of(folder: Path) -> list[Imported]:
    """What was imported from a round, the first first."""
    store = FileStore(folder)
    found = [Imported.model_validate_json(store.get(key)) for key in store.list(f"{IMPORTS}/")]
    return sorted(found, key=lambda one: (one.at, one.version))


def _key(target: Target, version: int) -> str:
    """Where a round keeps an import; sources of one name may lie in several folders."""
    place = sha256(str(target.folder.resolve()).encode()).hexdigest()[:8]
    return f"{IMPORTS}/{target.name}-{place}-{folder_of(version)}.json"


def _by_region(files: Sequence[Path]) -> dict[str, Path]:
    """The files by the name of their region; folders stand for the GeoJSON files in them."""
    listed = [path for file in files for path in (sorted(file.glob("*.geojson")) if file.is_dir() else [file])]
    if stores := [path for path in listed if path.suffix == ".db"]:
        raise ConfigError(f"{stores[0]}: is an AnnotationStore; give its annotations as GeoJSON")
    if not listed:
        raise ConfigError(f"{', '.join(map(str, files))}: no GeoJSON file there; name corrected files or their folder")
    if absent := [path for path in listed if not path.is_file()]:
        raise ConfigError(f"{absent[0]}: there is no such file; correct the name")
    found: dict[str, Path] = {}
    for path in listed:
        if (twin := found.setdefault(nfc(path.stem), path)) != path:
            raise DataError(f"{path}: is of the same region as {twin}; give one of them")
    return found


def _read_all(
    plan: Plan, files: Mapping[str, Path], found: Mapping[str, SlideObjects], *, accept_empty: bool
) -> list[Corrected]:
    """Every file, checked; the faults of all are raised together."""
    predicted = {name: _predicted(slide) for name, slide in found.items()}
    corrected, faults = list[Corrected](), list[str]()
    for name, path in files.items():
        if name not in predicted:
            faults.append(f"{path}: no region of this round is called {name}; they are {_some(list(predicted))}")
            continue
        others = {identity: other for other, own in predicted.items() if other != name for identity in own}
        region = plan.by_name[name]
        expected = Expected(
            name=name,
            size=(region.height, region.width),
            classes=plan.classes,
            predicted=predicted[name],
            others=others,
        )
        try:
            corrected.append(read_corrected(path, expected, may_be_empty=accept_empty))
        except DataError as error:
            faults += str(error).splitlines()
    if faults:
        raise DataError("\n".join([*faults, NOTHING_MERGED]))
    return corrected


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


def _predicted(slide: SlideObjects) -> dict[str, Region]:
    """What the model found, by identity."""
    return {
        feature_id(slide.summary.name, row.structure, row.id): Region(
            polygons=region_of(row.geometry).polygons, class_name=row.type_name
        )
        for row in slide.rows()
    }


def _annotated(folder: Path, plan: Plan, corrected: Corrected, slide: SlideObjects) -> Annotated:
    planned = plan.by_name[corrected.name]
    classes = [region.class_name for region in corrected.regions]
    origins = origins_of(corrected.drawn.instance_map, classes, list(_predicted(slide).values()))
    by_model = origins.drawn_by.count("model")
    return Annotated(
        name=corrected.name,
        image=image_of(folder, corrected.name),
        regions=corrected.regions,
        drawn_by=origins.drawn_by,
        origin=RegionOrigin(
            image=planned.image,
            image_identity=plan.images[planned.image].identity,
            top=planned.top,
            left=planned.left,
            model_sha256=plan.model.sha256,
            round=folder.name,
            by_model=by_model,
            by_hand=len(classes) - by_model,
            changed=origins.changed,
            added=origins.added,
            removed=origins.removed,
        ),
    )
