"""The picture that a person checks first: the image with outlines, frames around squares of tissue, and a legend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from histoseg.exports._slide import ObjectRow
from histoseg.maps.colours import to_rgb
from histoseg.maps.lines import draw_outline
from histoseg.slides.colours import class_colour
from histoseg.slides.summary import Summary, TissueAbout
from histoseg.slides.wkb import decode
from histoseg.structures import TISSUE, Structure, structure, structures
from histoseg.types import Image

Picture = UInt8[np.ndarray, "_ _ 3"]
ClassMap = UInt8[np.ndarray, "_ _"]  # Of pixels or of squares

MAX_ZOOMED_PX = 2000  # Images with a longer side are shown as they are: zoomed they would be too heavy to open.
SHOWN_MPP = 0.25  # So finely others are shown, at most: at 0.5 an outline covers much of a nucleus.
MAX_ZOOM = 2
SHIFT = 4  # Bits after the point of the coordinates that OpenCV draws at
FRAME_PX = 2
TINT = 0.4  # How much a class of pixels covers the image
MIN_WIDTH_PX = 480  # Room for a legend below a small image.
INK = (34, 38, 43)
CAVEAT_COLOUR = (255, 226, 150)  # As that of a warning sign, on which ink is easy to read


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """A colour's meaning in the legend, and how wide it is drawn; no colour for what is not drawn."""

    colour: str
    text: str
    width_px: int


Legend = list[tuple[str, list[LegendEntry]]]  # Entries below their titles


def draw_overlay(
    image: Image,
    about: Summary,
    objects: Sequence[ObjectRow],
    tissue: ClassMap | None = None,
    semantic_maps: Mapping[str, ClassMap] | None = None,
) -> Picture:
    """The image, zoomed if it is small, with what was found in it, and below it what the colours mean.

    Args:
        image: All of its base pixels.
        about: What was found; with its counts and colours.
        objects: All objects.
        tissue: The class of each square of tissue; None without tissue. Numbers beyond the classes are not drawn.
        semantic_maps: By task, the class of each pixel, likewise; in pixels of any size.
    """
    zoom = _zoom(about)
    picture = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC) if zoom > 1 else image.copy()
    for task, semantic_map in (semantic_maps or {}).items():
        _tint(picture, semantic_map, len(about.pixels[task].classes))
    if tissue is not None and about.tissue is not None:
        _draw_squares(picture, tissue, about.tissue, zoom)
    for row in sorted(structures().values(), key=lambda row: -row.outline_px):  # The finest on top
        _draw_objects(picture, row, [found for found in objects if found.structure == row.name], about, zoom)
    width = max(picture.shape[1], MIN_WIDTH_PX)
    legend = _draw_legend(_legend(about, tissue), width)
    room = width - picture.shape[1]
    picture = np.pad(picture, ((0, 0), (0, room), (0, 0)), constant_values=255)
    return np.concatenate([picture, *[_draw_caveat(text, width) for text in about.caveats], legend])


def _zoom(about: Summary) -> int:
    if max(about.size_px) > MAX_ZOOMED_PX:
        return 1
    return min(MAX_ZOOM, max(1, round(about.mpp / SHOWN_MPP)))


def _draw_objects(picture: Image, row: Structure, objects: Sequence[ObjectRow], about: Summary, zoom: int) -> None:
    """Outlines with an edge that makes them visible on any tissue."""
    width_px = max(row.outline_px, zoom)
    for found in objects:
        corners = [ring[:-1] for polygon in decode(found.geometry) for ring in polygon]
        rings = [np.round((ring * zoom - 0.5) * 2**SHIFT).astype(np.int32)[:, None] for ring in corners]
        draw_outline(picture, rings, about.structures[found.structure].colours[found.class_name], width_px, SHIFT)


def _draw_squares(picture: Image, tissue: ClassMap, about: TissueAbout, zoom: int) -> None:
    """A frame inside each square of tissue in the colour of its class; none for background."""
    side = about.square_px * zoom
    for row, column in np.argwhere((tissue > 0) & (tissue < len(about.classes))).tolist():
        colour = class_colour(int(tissue[row, column]))
        first = round(column * side) + 2, round(row * side) + 2
        last = (
            min(round((column + 1) * side), picture.shape[1]) - 3,
            min(round((row + 1) * side), picture.shape[0]) - 3,
        )
        cv2.rectangle(picture, first, last, to_rgb(colour or ""), FRAME_PX)


def _tint(picture: Picture, semantic_map: ClassMap, num_classes: int) -> None:
    """Mix the colour of each class of pixels into the picture; none for background."""
    size = picture.shape[1], picture.shape[0]
    shown = cv2.resize(semantic_map, size, interpolation=cv2.INTER_NEAREST)
    for kind in np.unique(shown[(shown > 0) & (shown < num_classes)]).tolist():
        here = shown == kind
        picture[here] = np.round((1 - TINT) * picture[here] + TINT * np.array(to_rgb(class_colour(kind) or "")))


def _legend(about: Summary, tissue: ClassMap | None) -> Legend:
    """What each colour means and how often it occurs, by structure and by task."""
    groups: Legend = []
    for name, found in about.structures.items():
        without = "no class" if found.classes else found.singular
        counts = about.counts[name].classes if found.classes else {"": about.counts[name].all}
        entries = [
            LegendEntry(
                colour=colour, text=f"{kind or without} {counts.get(kind, 0)}", width_px=structure(name).outline_px
            )
            for kind, colour in found.colours.items()
            if kind or counts.get(kind) or not found.classes
        ]
        groups.append((found.plural, entries))
    return [*groups, *_tissue_legend(about, tissue), *_semantic_legend(about)]


def _tissue_legend(about: Summary, tissue: ClassMap | None) -> Legend:
    if tissue is None or about.tissue is None:
        return []
    names = about.tissue.classes
    counts = np.bincount(tissue.ravel(), minlength=len(names))
    entries = [
        LegendEntry(colour=class_colour(kind) or "", text=f"{names[kind]} {counts[kind]}", width_px=FRAME_PX)
        for kind in range(1, len(names))
        if counts[kind]
    ]
    if counts[0]:
        entries.append(LegendEntry(colour="", text=f"without frame: {names[0]} {counts[0]}", width_px=0))
    return [(f"{structure(TISSUE).plural} (squares)", entries)]


def _semantic_legend(about: Summary) -> Legend:
    return [
        (
            task,
            [
                LegendEntry(colour=class_colour(kind) or "", text=f"{name} {100 * share:.0f} %", width_px=4)
                for kind, (name, share) in enumerate(found.shares.items())
            ],
        )
        for task, found in about.pixels.items()
    ]


def _draw_legend(groups: Legend, width: int) -> Image:
    """A white strip with a paragraph for each group."""
    size = _text_px(width)
    font = _font(size)
    indent, line, gap = 9 * size, round(1.6 * size), size
    places: list[tuple[int, int, LegendEntry]] = []
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


def _draw_caveat(text: str, width: int) -> Image:
    """A coloured band with a sentence, in as many lines as it needs."""
    size = _text_px(width)
    font = _font(size)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width - size:
            lines.append(word)
        else:
            lines[-1] = longer
    band = PillowImage.new("RGB", (width, round(1.3 * size * len(lines)) + size // 2), CAVEAT_COLOUR)
    draw = ImageDraw.Draw(band)
    for number, line in enumerate(lines):
        draw.text((size // 2, round(1.3 * size * number) + size // 4), line, INK, font)
    return np.array(band)


def _text_px(width: int) -> int:
    """The height of letters; large images are looked at from further away."""
    return max(14, min(width // 80, 48))


def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the letters of all European names; Pillow's own font has not."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
