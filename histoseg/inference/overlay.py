"""The picture a person checks first: the image with outlines, a frame for each square of tissue, and a legend."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from histoseg.inference.export import SINGULAR, Found, Kind, Seen, class_names, tissue_colour, visible_tissue
from histoseg.maps.colours import to_rgb
from histoseg.types import Image, Structure

Picture = UInt8[np.ndarray, "_ _ 3"]

MAX_ZOOMED_PX = 2000  # Images with a longer side are shown as they are: zoomed they would be too heavy to open.
SHOWN_MPP = 0.25  # So finely others are shown, at most: at 0.5 an outline covers much of a nucleus.
MAX_ZOOM = 2
WIDTHS_PX: Mapping[Structure, int] = {"nuclei": 1, "lumen": 2, "gland": 3}
SHIFT = 4  # Bits after the point of the coordinates that OpenCV draws at
TITLES: Mapping[str, str] = {"nuclei": "nuclei", "gland": "glands", "lumen": "lumina", "tissue": "tissue (squares)"}
MIN_WIDTH_PX = 480  # Room for a legend below a small image.
INK = (34, 38, 43)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A colour's meaning in the legend, and how wide it is drawn; no colour for what is not drawn."""

    colour: str
    text: str
    width_px: int


def draw_overlay(image: Image, seen: Seen, objects: Sequence[Found], colours: Mapping[Kind, str]) -> Picture:
    """The image, zoomed if it is small, with what was found in it, and below it what the colours mean."""
    zoom = _zoom(seen)
    picture = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC) if zoom > 1 else image.copy()
    _draw_squares(picture, seen, zoom)
    for structure in ("gland", "lumen", "nuclei"):  # The finest on top
        _draw_objects(picture, [found for found in objects if found.structure == structure], colours, zoom)
    legend = _draw_legend(_legend(seen, objects, colours), max(picture.shape[1], MIN_WIDTH_PX))
    room = legend.shape[1] - picture.shape[1]
    return np.concatenate([np.pad(picture, ((0, 0), (0, room), (0, 0)), constant_values=255), legend])


def _zoom(seen: Seen) -> int:
    if max(seen.image_px) > MAX_ZOOMED_PX:
        return 1
    return min(MAX_ZOOM, max(1, round(seen.mpp / SHOWN_MPP)))


def _draw_objects(picture: Image, objects: Sequence[Found], colours: Mapping[Kind, str], zoom: int) -> None:
    """Outlines, those of glands and lumina with a white rim to be seen on any tissue."""
    for found in objects:
        points = np.round((found.ring * zoom - 0.5) * 2**SHIFT).astype(np.int32)[:, None]
        width_px = max(WIDTHS_PX[found.structure], zoom)
        if found.structure != "nuclei":
            cv2.polylines(picture, [points], True, (255, 255, 255), width_px + 2, cv2.LINE_AA, SHIFT)
        colour = to_rgb(colours[found.structure, found.class_name])
        cv2.polylines(picture, [points], True, colour, width_px, cv2.LINE_AA, SHIFT)


def _draw_squares(picture: Image, seen: Seen, zoom: int) -> None:
    """A frame inside each square of tissue in the colour of its class; none for background."""
    tissue = visible_tissue(seen)
    if tissue is None:
        return
    width, height = seen.segmentation.tissue_px * seen.scale * zoom
    kinds = tissue.argmax(axis=0)
    for row, column in np.argwhere(kinds > 0).tolist():
        colour = tissue_colour(int(kinds[row, column]))
        first = round(column * width) + 2, round(row * height) + 2
        last = (
            min(round((column + 1) * width), picture.shape[1]) - 3,
            min(round((row + 1) * height), picture.shape[0]) - 3,
        )
        cv2.rectangle(picture, first, last, to_rgb(colour or ""), 2)


def _legend(seen: Seen, objects: Sequence[Found], colours: Mapping[Kind, str]) -> list[tuple[str, list[Entry]]]:
    """What each colour means and how often it occurs, by structure."""
    counts = Counter((found.structure, found.class_name) for found in objects)
    groups = []
    for structure in seen.segmentation.instance_maps:
        without = "no class" if class_names(seen.classes, structure) else SINGULAR[structure]
        entries = [
            Entry(colour=colour, text=f"{kind[1] or without} {counts[kind]}", width_px=WIDTHS_PX[structure])
            for kind, colour in colours.items()
            if kind[0] == structure and (kind[1] or counts[kind] or without != "no class")
        ]
        groups.append((TITLES[structure], entries))
    return [*groups, *_tissue_legend(seen)]


def _tissue_legend(seen: Seen) -> Iterator[tuple[str, list[Entry]]]:
    tissue = visible_tissue(seen)
    if tissue is None:
        return
    counts = np.bincount(tissue.argmax(axis=0).ravel(), minlength=len(tissue))
    kinds = [kind for kind in range(1, len(tissue)) if counts[kind]]
    names = seen.classes["tissue"]
    entries = [
        Entry(colour=tissue_colour(kind) or "", text=f"{names[kind]} {counts[kind]}", width_px=2) for kind in kinds
    ]
    without = Entry(colour="", text=f"without frame: {names[0]} {counts[0]}", width_px=0)
    yield TITLES["tissue"], entries + ([without] if counts[0] else [])


def _draw_legend(groups: Sequence[tuple[str, Sequence[Entry]]], width: int) -> Image:
    """A white strip with a paragraph for each group."""
    size = max(14, min(width // 80, 48))  # Large images are looked at from further away.
    font = ImageFont.load_default(size)
    indent, line, gap = 9 * size, round(1.6 * size), size
    places: list[tuple[int, int, Entry]] = []
    titles, y = [], gap // 2
    for title, entries in groups:
        x = indent
        titles.append((y, title))
        for entry in entries:
            taken = 2 * gap + round(font.getlength(entry.text)) + gap
            if x + taken > width and x > indent:
                x, y = indent, y + line
            places.append((x, y, entry))
            x += taken
        y += line
    strip = PillowImage.new("RGB", (width, y + gap // 2), "white")
    draw = ImageDraw.Draw(strip)
    for y, title in titles:
        draw.text((gap // 2, y), title, INK, font)
    for x, y, entry in places:
        middle = y + round(0.6 * size)
        if entry.colour:
            draw.line((x, middle, x + 1.5 * gap, middle), to_rgb(entry.colour), 2 * entry.width_px + 1)
        draw.text((x + (2 * gap if entry.colour else 0), y), entry.text, INK, font)
    return np.array(strip)
