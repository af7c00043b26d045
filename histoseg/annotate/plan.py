"""A round of annotation as a file: `plan.json` in the round's folder says which regions are annotated, and why."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from histoseg.errors import DataError
from histoseg.runs.config import Choose
from histoseg.store.objects import FileStore

PLAN, TABLE, PAGE = "plan.json", "regions.csv", "index.html"
COLUMNS = ("rank", "name", "image", "top", "left", "height", "width", "score", "chosen")


class _Values(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedRegion(_Values):
    """A rectangle of an image, in pixels of the plan's resolution.

    Attributes:
        rank: Its place among all regions, from 1 on, by the strategy.
        score: How difficult the model finds it, from 0 to 1; None where chance chooses.
    """

    name: str
    image: str
    top: int
    left: int
    height: int
    width: int
    rank: int
    score: float | None = None
    chosen: bool = True


class PlannedImage(_Values):
    """An image of which regions are chosen."""

    address: str
    identity: str  # Stands for the content of its file
    mpp: float  # Microns per base pixel


class PlanModel(_Values):
    """The model of a round."""

    address: str
    sha256: str
    origin: str
    mpp: float


class Plan(_Values):
    """The regions that a round annotates.

    Attributes:
        made_at: In UTC.
        classes: Those of the structure's objects, the background first.
        mpp: Microns per pixel of the regions.
        images: By name.
    """

    format: int = 1
    made_at: str
    histoseg: str
    model: PlanModel
    structure: str
    classes: tuple[str, ...]
    strategy: Choose
    seed: int
    size_px: int
    mpp: float
    per_image: int
    candidates: int
    images: dict[str, PlannedImage]
    regions: tuple[PlannedRegion, ...]

    @property
    def by_name(self) -> dict[str, PlannedRegion]:
        """The regions by their names."""
        return {region.name: region for region in self.regions}


def read_plan(folder: Path) -> Plan:
    """The plan of a round.

    Raises:
        DataError: If the folder has none that can be read.
    """
    path = folder / PLAN
    if not path.is_file():
        raise DataError(f"{folder} holds no {PLAN}; name the folder that `histoseg annotate next` wrote")
    try:
        return Plan.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: {place}: {first['msg']}; make the round again") from error


def write_plan(folder: Path, plan: Plan, ranking: Sequence[PlannedRegion], page: str) -> None:
    """Write a round's table of all regions, its page, and last the plan, which makes it a round."""
    store = FileStore(folder)
    store.put(TABLE, _table(ranking).encode())
    store.put(PAGE, page.encode())
    store.put(PLAN, plan.model_dump_json(indent=1).encode())


def _table(ranking: Sequence[PlannedRegion]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for region in ranking:
        values = region.model_dump()
        writer.writerow(["" if values[name] is None else values[name] for name in COLUMNS])
    return file.getvalue()
