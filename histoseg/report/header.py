"""What records of every kind say of their run, before any result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from histoseg.records.schema import FORMAT as RECORD_FORMAT
from histoseg.report.fields import Part, count, integer, named, number, text


@dataclass(frozen=True, kw_only=True)
class Header:
    """What was run, on what, by what code and how long.

    Attributes:
        cell: The name of this result; `pretraining` is that of the model it comes from.
        run: The whole configuration as it was written.
        origins: Whether each source is "raw" (real images) or "demo" (drawn by the program).
        seconds: Wall time by phase; "pretrain" is what runs of one pretraining share.
    """

    cell: str
    pretraining: str
    experiment: str
    scale: str
    seed: int
    run: Mapping[str, Any]
    checksums: Mapping[str, str]
    origins: Mapping[str, str]
    git_commit: str
    versions: Mapping[str, str]
    device: str
    world_size: int
    seconds: Mapping[str, float]
    gpu_seconds: float
    finished_at: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Store keys of the PNG files that show one test image: the image, its truth and what was predicted."""

    key: str
    image: str
    truth: str
    prediction: str


def read_header(whole: Part) -> Header:
    """The header of a record.

    Raises:
        DataError: If a field is missing or cannot be, or the record has another format.
    """
    if whole.get("format", integer) != RECORD_FORMAT:
        raise whole.error("format", f"a record of format {RECORD_FORMAT}; evaluate the cell again")
    run = whole.part("run")
    return Header(
        cell=whole.get("cell", text),
        pretraining=whole.get("pretraining", text),
        experiment=run.get("experiment", text),
        scale=run.get("scale", text),
        seed=run.get("seed", count),
        run=run.values,
        checksums=whole.get("checksums", named(text)),
        origins=whole.get("origins", named(text)),
        git_commit=whole.get("git_commit", text),
        versions=whole.get("versions", named(text)),
        device=whole.get("device", text),
        world_size=whole.get("world_size", count),
        seconds=whole.get("seconds", named(number)),
        gpu_seconds=whole.get("gpu_seconds", number),
        finished_at=whole.get("finished_at", text),
    )


def read_panel(part: Part) -> Panel:
    """One panel of a record."""
    return Panel(**{name: part.get(name, text) for name in ("key", "image", "truth", "prediction")})
