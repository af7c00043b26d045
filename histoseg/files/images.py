"""Images and label images as arrays.

Rules for what an image file may contain, the same for all formats; what is changed is noted:

- Which page: see `histoseg.files.pages`.
- Orientation tags are applied, to images and label images alike.
- Transparent pixels are white, as glass is; an image of nothing else is refused.
- 16 bits per channel become 8, if the values use the upper half of their range; else they are refused, as floats are
  (`histoseg.files.deep`): 12 bits in a file of 16 would become a black image.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage
from PIL import ImageFile, ImageOps

from histoseg.errors import DataError
from histoseg.files.claims import require_credible
from histoseg.files.deep import is_deep, read_deep, to_bytes, turn
from histoseg.files.notes import note
from histoseg.files.opening import SAVE_AS_BYTES, SAVE_AS_NUMBERS, open_image
from histoseg.files.pages import pages_of_image
from histoseg.files.resolution import state_mpp
from histoseg.types import MAP_IT, Image

ORIENTATION = 274  # Tag of Exif and TIFF; 1 is upright.
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # TIFF tag, and one of its values
TURNED = "images turned upright, as their orientation tag says; annotations beside them must be of the upright image"
WHITE = "transparent pixels read as white glass"


@contextmanager
def open_labels(path: Path) -> Iterator[PillowImage.Image]:
    """A label image, loaded and upright by the rules of this module, with its values as stored."""
    with open_image(path, SAVE_AS_NUMBERS) as image:
        pages = pages_of_image(image, path)
        if len(pages) > 1:
            raise DataError(f"{path}: labels of {len(pages)} pages; expected one channel of class ids; {MAP_IT}")
        _seek(image, pages[0])
        require_credible(image, path)
        if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:  # Pillow inverts some, ImageJ none of them.
            raise DataError(
                f"{path}: labels of which 0 is white, so which is the background is not certain; save black as 0"
            )
        if is_deep(image) and len(image.getbands()) > 1:
            raise DataError(f"{path}: labels in colours of 16 bits; expected one channel of class ids; {MAP_IT}")
        upright = _load_upright(image, _orientation(image))
        upright.format = image.format
        yield upright


def read_image(path: Path) -> Image:
    """The image as RGB, by the rules of this module.

    Raises:
        DataError: If the file is damaged, claims more pixels than it or the memory can hold, or is to be refused.
    """
    with open_image(path) as image:
        chosen = pages_of_image(image, path)
        state_mpp(image, chosen[0])
        pages = [_read_page(image, page, path) for page in chosen]
        values = pages[0] if len(pages) == 1 else np.dstack([page[:, :, 0] for page in pages])
        return to_rgb(values if values.dtype == np.uint8 else to_bytes(values, path), path)


def to_rgb(values: UInt8[np.ndarray, "H W C"], path: Path) -> Image:
    """RGB of grey, grey and alpha, RGB, or RGB and alpha; transparent pixels are white."""
    channels = values.shape[2]
    if channels not in (1, 2, 3, 4):
        raise DataError(f"{path}: {channels} channels; expected 3, red, green and blue; {SAVE_AS_BYTES}")
    colours = np.ascontiguousarray(values[:, :, :3] if channels > 2 else values[:, :, [0, 0, 0]])
    if colours.max(initial=0) == 1:
        raise DataError(f"{path}: no value above 1, as of floats from 0 to 1 cut to whole numbers; {SAVE_AS_BYTES}")
    if channels in (1, 3):
        return colours
    alpha = values[:, :, -1]
    if (count := int(np.count_nonzero(alpha < 255))) == 0:
        return colours
    if not alpha.any():
        raise DataError(f"{path}: every pixel is transparent, so nothing can be seen; save it without transparency")
    note(WHITE, count)
    return over_white(colours, alpha)


def over_white(colours: Image, alpha: UInt8[np.ndarray, "H W"]) -> Image:
    """Colours on white glass: an alpha of 255 hides it, 0 shows nothing else."""
    opaque = alpha[:, :, None].astype(np.uint16)
    return ((colours * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)


def _read_page(image: PillowImage.Image, page: int, path: Path) -> np.ndarray:
    """The pixels of a page upright: bytes, RGB with alpha where there is any; or all bits where there are more."""
    _seek(image, page)
    require_credible(image, path)
    deep = is_deep(image)  # Asked first: to find the orientation, Pillow decodes a PNG.
    orientation = _orientation(image)
    if deep:
        return turn(read_deep(image, page, path), orientation)
    upright = _load_upright(image, orientation)
    if upright.mode == "RGB" and not upright.has_transparency_data:
        return np.array(upright)
    return np.array(upright.convert("RGBA" if upright.has_transparency_data else "RGB"))


def _seek(image: PillowImage.Image, page: int) -> None:
    if image.tell() != page:
        image.seek(page)


def _orientation(image: PillowImage.Image) -> int:
    """The number of the orientation tag, noted unless it is upright; a damaged tag is as none."""
    if image.format == "BMP":  # It has no tags.
        return 1
    try:
        orientation = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # The pixels do not depend on it.
        return 1
    note(TURNED, int(2 <= orientation <= 8))
    return orientation


def _load_upright(image: PillowImage.Image, orientation: int) -> PillowImage.Image:
    if orientation >= 5 and isinstance(image, ImageFile.ImageFile):
        image.filename = ""  # Else Pillow maps the rows of a grey TIFF from the disk as if they were upright already.
    image.load()  # Pillow turns a TIFF here, and other formats if it is asked to.
    return ImageOps.exif_transpose(image) if 2 <= orientation <= 8 else image
