"""Microns per pixel of an image file: what the file states, what a person gives, and whether the two agree."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from PIL import Image as PillowImage

from histoseg.errors import DataError
from histoseg.files.opening import open_image
from histoseg.files.pages import pages_of_image
from histoseg.types import is_credible_mpp

DISAGREEMENT = 0.05
DESCRIPTION, X_RESOLUTION, Y_RESOLUTION = 270, 282, 283  # TIFF tags
MICRONS_PER_INCH = 25400.0
# Units of OME (PhysicalSizeXUnit; µm if none is stated) and ImageJ (`unit`), in microns. `Â` is µ read as Latin-1.
MICRONS = dict.fromkeys(("", "µm", "μm", "Âµm", "um", "micron", "microns", "micrometer", r"\u00B5m"), 1.0)
MICRONS |= {"nm": 1e-3, "mm": 1e3, "cm": 1e4, "inch": MICRONS_PER_INCH}
NUMBER = r"([0-9.eE+-]+)"

_stated: ContextVar[list[float] | None] = ContextVar("stated", default=None)


def find_mpp(path: Path, given: float | None) -> float:
    """Microns per pixel of an image, as given or as its file says."""
    return settle_mpp(path, given, stored_mpp(path))


def settle_mpp(path: Path | str, given: float | None, stored: float | None) -> float:
    """Microns per pixel of a file or an object, by what was given and what it states itself.

    Raises:
        DataError: If there is neither, or the two contradict each other.
    """
    if given is None and stored is None:
        advice = "give --mpp (SET=mpp=…), its microns per pixel"
        raise DataError(f"{path}: the file does not say how large a pixel is; {advice}")
    if given is not None and stored is not None and disagree(given, stored):
        raise DataError(
            f"{path}: --mpp {given:g}, but the file says {stored:.4g} microns per pixel; leave out --mpp (SET=mpp=…) "
            "to believe the file, or correct the resolution that it states"
        )
    mpp = given if given is not None else stored
    return float(mpp or 0)


def resolution_caveat(image_mpp: float, model_mpp: float) -> tuple[str, ...]:
    """A sentence about an image of another resolution than a model's; nothing if they agree."""
    if not disagree(image_mpp, model_mpp):
        return ()
    return (
        f"the model was trained at {model_mpp:.4g} microns per pixel; this image has {image_mpp:.4g} and was resampled",
    )


def disagree(first: float, second: float) -> bool:
    """Whether two resolutions differ by more than rounding."""
    return abs(first / second - 1) > DISAGREEMENT


def stored_mpp(path: Path) -> float | None:
    """Microns per pixel that an image file states; None if it states none, or one that no microscope has.

    Read are, in this order, OME's `PhysicalSizeX`, Aperio's `MPP`, ImageJ's `unit`, and the dots per inch or
    centimetre of TIFF, PNG, BMP and JPEG: files that only state 72 or 300 dots per inch for print say nothing about
    tissue. Pixels that are not square have no resolution here.

    Raises:
        DataError: If the file cannot be opened as an image.
    """
    with open_image(path) as image:
        return _mpp_of(image, pages_of_image(image, path)[0])


def state_mpp(image: PillowImage.Image, page: int) -> None:
    """Have `collect_mpp` know what a file states that is read anyway; the image is opened and not loaded."""
    stated = _stated.get()
    if stated is not None and (mpp := _mpp_of(image, page)) is not None:
        stated.append(mpp)


@contextmanager
def collect_mpp() -> Iterator[list[float]]:
    """What the image files state that are read within, where they state a resolution."""
    stated: list[float] = []
    token = _stated.set(stated)
    try:
        yield stated
    finally:
        _stated.reset(token)


def _mpp_of(image: PillowImage.Image, page: int) -> float | None:
    descriptions = [_description(image)]
    if image.tell() != page:
        image.seek(page)
        descriptions.insert(0, _description(image))
    return stated_mpp(descriptions, getattr(image, "tag_v2", {}), image.info.get("dpi") or (0, 0))


def stated_mpp(descriptions: Sequence[str], tags: Mapping[int, object], dots: tuple[object, object]) -> float | None:
    """Microns per pixel by a TIFF's descriptions, the likeliest first, and its tags; None as for `stored_mpp`.

    `dots` are those per inch, across and down.
    """
    for description in descriptions:
        for read in READERS:
            if size := read(description, tags):
                return credible_mpp(*size)
    return credible_mpp(_length(dots[0], MICRONS_PER_INCH), _length(dots[1], MICRONS_PER_INCH))


def _description(image: PillowImage.Image) -> str:
    return str(getattr(image, "tag_v2", {}).get(DESCRIPTION, ""))


def credible_mpp(x: float, y: float) -> float | None:
    """The resolution of pixels of that width and height; None if they are not square, or no microscope has it."""
    return x if is_credible_mpp(x) and abs(x / y - 1) < 0.01 else None


def _ome(description: str, _: Mapping[int, object]) -> tuple[float, float] | None:
    sizes = [_attribute(description, f"PhysicalSize{axis}") for axis in "XY"]
    units = [re.search(f'PhysicalSize{axis}Unit="([^"]*)"', description) for axis in "XY"]
    if not sizes[0]:
        return None
    x, y = (
        (size or sizes[0]) * MICRONS.get(unit[1] if unit else "", math.nan)
        for size, unit in zip(sizes, units, strict=True)
    )
    return x, y


def _aperio(description: str, _: Mapping[int, object]) -> tuple[float, float] | None:
    found = re.search(rf"\|\s*MPP\s*=\s*{NUMBER}", description) if description.startswith("Aperio") else None
    mpp = _number(found[1]) if found else 0.0
    return (mpp, mpp) if mpp else None


def _imagej(description: str, tags: Mapping[int, object]) -> tuple[float, float] | None:
    unit = re.search(r"^unit=(.+)$", description, re.MULTILINE) if description.startswith("ImageJ") else None
    if not unit or X_RESOLUTION not in tags or Y_RESOLUTION not in tags:
        return None
    micron = MICRONS.get(unit[1].strip(), math.nan)
    return _length(tags[X_RESOLUTION], micron), _length(tags[Y_RESOLUTION], micron)


Reader = Callable[[str, Mapping[int, object]], tuple[float, float] | None]
READERS: tuple[Reader, ...] = (_ome, _aperio, _imagej)


def _length(pixels_per_unit: object, unit: float) -> float:
    """Microns per pixel; NaN for a density that is no positive number."""
    try:
        density = float(pixels_per_unit)  # type: ignore[arg-type]  # Pillow's rational numbers among others
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan
    return unit / density if math.isfinite(density) and density > 0 else math.nan


def _attribute(description: str, name: str) -> float:
    found = re.search(f'\\b{name}="{NUMBER}"', description)
    return _number(found[1]) if found else 0.0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
