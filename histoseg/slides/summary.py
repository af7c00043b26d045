"""What is known of a segmented slide: `summary.json` beside its objects, written last, so that all others are there."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from histoseg.errors import DataError
from histoseg.store.objects import Store

SUMMARY, OBJECTS, TISSUE_MAP = "summary.json", "objects.parquet", "tissue.tif"
MASK, THUMBNAIL = "mask.png", "thumbnail.jpg"
PARTS = ".parts"  # The folder, in that of a slide, for what regions give until it is finished


class _Values(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelAbout(_Values):
    """The model that was used."""

    sha256: str
    origin: str
    mpp: float


class StructureAbout(_Values):
    """A structure that was looked for."""

    singular: str
    plural: str
    classes: list[str] = []  # Of its objects; empty without classes
    colours: dict[str, str] = {}  # By class, "" for objects without one, as "#RRGGBB"

    def say(self, count: int) -> str:
        """So many objects, as "no gland", "1 gland" or "8,598 glands"."""
        return f"{count:,} {self.plural if count > 1 else self.singular}" if count else f"no {self.singular}"


class Counts(_Values):
    """How many objects of a structure there are."""

    all: int
    classes: dict[str, int] = {}
    not_in_map: int | None = None  # How many are too small for a pixel of the map of labels; None without a map


class TissueAbout(_Values):
    """Classes of tissue by square."""

    classes: list[str]
    colours: list[str]  # As "#RRGGBB"; white for the first class, background
    square_px: float  # Side of a square in base pixels
    shares: dict[str, float]  # Of the squares that were looked at


class PixelsAbout(_Values):
    """Classes of pixels by a task."""

    classes: list[str]
    colours: list[str]  # As "#RRGGBB"
    shares: dict[str, float]  # Of the pixels that were looked at


class MaskAbout(_Values):
    """Where the model looked."""

    kind: Literal["automatic", "given", "none"]
    area_mm2: float


class Summary(_Values):
    """One slide, what was looked for in it, and what was found."""

    format: Literal[1] = 1
    name: str
    address: str  # The path or s3:// address of the slide
    size_px: tuple[int, int]  # Width and height
    mpp: float  # Microns per base pixel
    model: ModelAbout
    structures: dict[str, StructureAbout]
    counts: dict[str, Counts]
    tissue: TissueAbout | None = None
    pixels: dict[str, PixelsAbout] = {}  # By task
    mask: MaskAbout
    caveats: list[str] = []  # Why the result may be worth little, a sentence each
    notes: dict[str, int] = {}  # What reading the slide left out or changed, and how often
    files: list[str]
    made_of: str  # Stands for the slide, the model and the options
    histoseg: str  # The version
    seconds: float  # From the first region to the summary, in the process that finished

    def describe(self) -> str:
        """The counts in words, and what speaks against them: "no gland, 12 nuclei in 3.1 mm2 of tissue; ..."."""
        words = [
            about.say(count.all) for about, count in zip(self.structures.values(), self.counts.values(), strict=True)
        ]
        words += [f"classes of {', '.join(self.pixels)}"] if self.pixels else []
        area_mm2 = f"{self.mask.area_mm2:.1f}" if self.mask.area_mm2 >= 1 else f"{self.mask.area_mm2:.2g}"
        noted = [f"{text}: {count}" for text, count in self.notes.items()]
        return "; ".join(
            [f"{', '.join(words) or 'classes of tissue'} in {area_mm2} mm2 of tissue", *self.caveats, *noted]
        )


def read_summary(store: Store, name: str) -> Summary | None:
    """The summary of a slide; None if there is none, so that the slide is not finished.

    Raises:
        DataError: If there is one that cannot be read.
    """
    key = f"{name}/{SUMMARY}"
    if store.size(key) is None:
        return None
    try:
        return Summary.model_validate_json(store.get(key))
    except ValidationError as error:
        where, what = error.errors()[0]["loc"], error.errors()[0]["msg"]
        place = ".".join(map(str, where)) or "the file"
        text = f"{store.url}/{key}: {place}: {what}; delete it, and segment the slide again"
        raise DataError(text) from error


def list_slides(store: Store) -> list[str]:
    """The names of the slides with a summary, sorted."""
    keys = [key for key in store.list() if key.endswith(f"/{SUMMARY}")]
    return [name for key in keys if "/" not in (name := key.removesuffix(f"/{SUMMARY}"))]


def total(counts: Mapping[str, Counts]) -> int:
    """How many objects of all structures there are."""
    return sum(one.all for one in counts.values())
