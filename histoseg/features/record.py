"""What is kept of a slide whose features are computed: written last, so its presence says that all is there."""

from pydantic import BaseModel, ConfigDict, ValidationError

from histoseg.features.document import definitions_json
from histoseg.features.measure import FORMAT, Measured
from histoseg.runs.plain import digest
from histoseg.slides.summary import Summary
from histoseg.store.objects import Store

RECORD = "features.json"


class SlideFeatures(BaseModel):
    """The features of one slide.

    Attributes:
        version: The definitions of features; under others, they are computed again.
        made_of: What the objects were made of, as their summary states it: another value is computed again.
        values: By column; None where undefined.
        counts: The columns that hold whole numbers.
        reasons: Why a value is None, or why columns of a pattern are absent.
        files: What was written beside the record.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    name: str
    made_of: str
    mpp: float
    size_px: tuple[int, int]
    model_sha256: str
    caveats: tuple[str, ...]
    values: dict[str, float | None]
    counts: tuple[str, ...]
    reasons: dict[str, str]
    files: tuple[str, ...]
    seconds: float


def make_record(name: str, summary: Summary, found: Measured, files: tuple[str, ...], seconds: float) -> SlideFeatures:
    """The record of a slide whose features were just computed."""
    lacking = () if found.glands is None else found.glands.lacking
    columns = [value for value in found.values if value.is_column]
    return SlideFeatures(
        version=features_version(),
        name=name,
        made_of=summary.made_of,
        mpp=summary.mpp,
        size_px=summary.size_px,
        model_sha256=summary.model.sha256,
        caveats=tuple(summary.caveats),
        values={value.column: value.number for value in columns},
        counts=tuple(value.column for value in columns if value.feature.is_count),
        reasons={value.column: value.reason for value in found.values if value.reason}
        | {f"glands: {value.column}": value.reason for value in lacking},
        files=files,
        seconds=round(seconds, 2),
    )


def features_version() -> str:
    """A digest of all definitions and of FORMAT."""
    return digest([FORMAT, definitions_json()])


def kept_record(store: Store, name: str, made_of: str) -> SlideFeatures | None:
    """The record of a slide whose objects and features have not changed since, if all its files are there."""
    key = f"{name}/{RECORD}"
    if not made_of or store.size(key) is None:
        return None
    try:
        record = SlideFeatures.model_validate_json(store.get(key))
    except ValidationError:
        return None
    is_same = record.made_of == made_of and record.version == features_version() and record.name == name
    is_whole = all(store.size(f"{name}/{file}") is not None for file in record.files)
    return record if is_same and is_whole else None


def say_counts(features: SlideFeatures, summary: Summary) -> list[str]:
    """How many objects of each structure lie in the tissue: "1 gland", "12 nuclei"."""
    counts = {name: features.values.get(f"{name}_all_count") for name in summary.structures}
    return [
        f"{count:,.0f} {info.singular if count == 1 else info.plural}"
        for name, info in summary.structures.items()
        if (count := counts[name]) is not None
    ]
