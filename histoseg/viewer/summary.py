"""What the viewer reads of a slide's summary.json."""

from pydantic import BaseModel, ConfigDict, ValidationError

from histoseg.errors import DataError


class _Part(BaseModel):
    """A summary may say more than the viewer shows."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StructureWords(_Part):
    """What the objects of one structure are called."""

    singular: str
    plural: str
    classes: tuple[str, ...] = ()


class Counts(_Part):
    """How many objects of one structure there are."""

    all: int
    classes: dict[str, int] = {}


class Tissue(_Part):
    """Classes of tissue by square; square_px is a square's side in base pixels, shares are parts of the area."""

    classes: tuple[str, ...]
    colours: tuple[str | None, ...]
    square_px: float
    shares: dict[str, float] = {}


class Mask(_Part):
    """What was taken for tissue."""

    kind: str
    area_mm2: float | None = None


class ModelOrigin(_Part):
    """Which model found the objects."""

    sha256: str | None = None
    origin: str = ""
    mpp: float | None = None


class SlideSummary(_Part):
    """One slide's results: size_px is (width, height); counts and colours are by structure and class, "" = no class."""

    name: str
    address: str = ""
    size_px: tuple[int, int]
    mpp: float
    model: ModelOrigin = ModelOrigin()
    caveats: tuple[str, ...] = ()
    structures: dict[str, StructureWords] = {}
    colours: dict[str, dict[str, str]] = {}
    counts: dict[str, Counts] = {}
    tissue: Tissue | None = None
    mask: Mask | None = None
    histoseg: str = ""


def read_summary(body: bytes, where: str) -> SlideSummary:
    """The summary in a file's bytes; DataError, with the first fault, if it is not one."""
    try:
        return SlideSummary.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"{where}: {field}: {first['msg']}; write it again with `histoseg segment --overwrite`"
        ) from error
