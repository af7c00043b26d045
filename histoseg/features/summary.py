"""What features need of a slide's summary.json; the rest of it is left alone."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from histoseg.errors import DataError
from histoseg.store.objects import Store

SUMMARY = "summary.json"


def _two_sides(value: object) -> object:
    """One number stands for width and height."""
    return (value, value) if isinstance(value, int | float) else value


Side = Annotated[float, Field(gt=0)]


class StructureInfo(BaseModel):
    """One structure: what its objects are called, and the classes that the model knows."""

    singular: str
    plural: str
    classes: tuple[str, ...] = ()

    @property
    def object_classes(self) -> tuple[str, ...]:
        """The classes without background, which no object has."""
        return self.classes[1:] if self.classes[:1] == ("background",) else self.classes


class TissueInfo(BaseModel):
    """Classes of tissue and the squares of the map, in base pixels."""

    classes: tuple[str, ...]
    colours: tuple[str, ...] = ()
    square_px: Annotated[tuple[Side, Side], BeforeValidator(_two_sides)]


class MaskInfo(BaseModel):
    """The tissue mask that was used."""

    kind: str
    area_mm2: float


class ModelInfo(BaseModel):
    """The model that found the objects."""

    sha256: str = ""
    origin: str = ""


class SlideSummary(BaseModel):
    """The summary of a slide."""

    name: str
    size_px: tuple[int, int]  # Width, height
    mpp: Annotated[float, Field(gt=0)]
    made_of: str
    model: ModelInfo = ModelInfo()
    caveats: tuple[str, ...] = ()
    structures: dict[str, StructureInfo]
    tissue: TissueInfo | None = None
    mask: MaskInfo

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height in microns."""
        return self.size_px[0] * self.mpp, self.size_px[1] * self.mpp


def read_summary(store: Store, name: str) -> SlideSummary:
    """The summary of a slide.

    Raises:
        DataError: If it is not the summary of a slide.
    """
    key = f"{name}/{SUMMARY}"
    try:
        return SlideSummary.model_validate_json(store.get(key))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{store.url}/{key}: {place}: {first['msg']}; segment the slide again") from error


def finished_slides(store: Store) -> tuple[list[str], list[str]]:
    """The names of slides with a summary, and of those with objects but without one."""
    keys = [key.split("/") for key in store.list()]
    finished = {key[0] for key in keys if key[1:] == [SUMMARY]}
    begun = {key[0] for key in keys if key[1:] == ["objects.parquet"]}
    return sorted(finished), sorted(begun - finished)
