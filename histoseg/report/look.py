"""A page of prepared images with their truth drawn over them: swapped masks and swapped classes are seen at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from histoseg.report.html import render
from histoseg.report.section import Listing, Photo, Section
from histoseg.report.text import MISSING
from histoseg.report.truth import colour_of, draw_pair
from histoseg.shards.index import SourceIndex
from histoseg.shards.reader import MetaDataset, ShardCache
from histoseg.store.objects import FileStore
from histoseg.structures import TISSUE, structures
from histoseg.types import EXTERNAL, FOLDS, SPLITS, Sample, Split

ALL_SPLITS: tuple[Split, ...] = (*SPLITS, *FOLDS, EXTERNAL)
LEAD = "Left the image as it is stored, right its truth. Look whether outlines and colours lie where they should."


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """An image on the page, and the objects that it shows as it is stored."""

    sample: Sample
    split: Split
    classes: np.ndarray  # Of each object, int64
    areas: np.ndarray  # Of each object in square microns


def write_look(indexes: Sequence[SourceIndex], cache: ShardCache, folder: Path, num_images: int) -> Path:
    """Write the page of some prepared sources; returns its path.

    Args:
        indexes: What is shown, a section each.
        cache: Where their shards are read from.
        folder: Where `index.html` is written.
        num_images: How many images of each source are shown.
    """
    sections = [_section(index, cache, num_images) for index in indexes]
    drawn = [index.task.name for index in indexes if index.origin == "demo"]
    notice = f"Drawn by the program: {', '.join(drawn)}." if drawn else "Real images, as they were prepared."
    title = f"{len(indexes)} prepared sources" if len(indexes) != 1 else f"{indexes[0].task.title}, as prepared"
    FileStore(folder).put("index.html", render(title, LEAD, notice, sections).encode())
    return folder / "index.html"


def _section(index: SourceIndex, cache: ShardCache, num_images: int) -> Section:
    """All that is known of a source, and some of its images."""
    task = index.task
    dataset = MetaDataset(sources={task.name: index}, cache=cache)
    shown = [_read(dataset, index, image, split) for image, split in choose_images(index, num_images).items()]
    return Section(
        name=f"{task.name}-{index.layout}",
        heading=f"{task.title} ({task.name}, {index.layout})",
        facts=_facts(index, shown),
        bullets=index.warnings,
        listings=[_classes(index, shown), _splits(index)],
        photos=[Photo(jpeg=draw_pair(one.sample, task.kind), caption=_caption(index, one)) for one in shown],
    )


def choose_images(index: SourceIndex, count: int) -> dict[str, Split]:
    """The images to show, with their split: first one with much of each class, the rarest first, then others evenly."""
    samples = index.samples
    owner = {image: split for split in ALL_SPLITS for image in (samples.image[row] for row in index.rows(split))}
    pixels: dict[str, np.ndarray] = {}
    for image, counts in zip(samples.image, samples.class_pixels, strict=True):
        pixels[image] = pixels.get(image, 0) + np.asarray(counts, np.int64)
    names = sorted(pixels)
    table = np.stack([pixels[name] for name in names])
    rarest = np.argsort(table.sum(axis=0), kind="stable")
    wanted = [names[table[:, kind].argmax()] for kind in rarest.tolist() if table[:, kind].any()]
    evenly = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)).tolist()]
    chosen = list(dict.fromkeys([*wanted, *evenly]))[:count]
    return {name: owner[name] for name in sorted(chosen)}


def _read(dataset: MetaDataset, index: SourceIndex, image: str, split: Split) -> _Shown:
    rows = dataset.images(index.task.name, split)[image]
    sample = dataset.whole_image(index.task.name, rows)
    if sample.instance_map is None:
        return _Shown(sample=sample, split=split, classes=np.zeros(0, np.int64), areas=np.zeros(0))
    ids, first, areas = np.unique(sample.instance_map, return_index=True, return_counts=True)
    classes = sample.semantic_map.ravel()[first].astype(np.int64)
    return _Shown(sample=sample, split=split, classes=classes[ids > 0], areas=areas[ids > 0] * sample.mpp**2)


def _facts(index: SourceIndex, shown: Sequence[_Shown]) -> list[tuple[str, str]]:
    """What a person knows of the source and can compare."""
    task, samples = index.task, index.samples
    images = len(set(samples.image))
    facts = [
        ("Annotated", _say_kind(index)),
        ("Images", f"{images} of {len(set(samples.patient))} patients, stored in {len(samples.key)} tiles"),
        ("Shown", f"{len(shown)} images, {_range([side for one in shown for side in one.sample.image.shape[:2]])} px"),
        ("Resolution", f"{_range(samples.mpp)} µm/px as stored, {task.mpp:g} as the source states"),
        ("Licence", task.licence),
    ]
    if index.options:
        facts.append(("Options", ", ".join(f"{name}={value}" for name, value in index.options.items())))
    if task.kind == "instance":
        areas = np.concatenate([one.areas for one in shown])
        facts.insert(2, ("Objects", f"{sum(samples.num_objects)}, median diameter {_diameter(areas)} in those shown"))
    return facts


def _say_kind(index: SourceIndex) -> str:
    task = index.task
    kinds = {"semantic": "a class for each pixel", "instance": "objects", "patch": "a class for each image"}
    kinds["boxes"] = "boxes around objects"
    row = structures().get(task.structure)
    taught = f", from which Cerberus learns {row.plural if row.name != TISSUE else TISSUE}" if row else ""
    return f"{kinds[task.kind]}{taught}"


def _range(values: Sequence[int] | Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _diameter(areas: np.ndarray) -> str:
    """The diameter of the disc whose area is the median."""
    return f"{2 * (float(np.median(areas)) / np.pi) ** 0.5:.1f} µm" if len(areas) else MISSING


def _classes(index: SourceIndex, shown: Sequence[_Shown]) -> Listing:
    """Each class with its colour, its share of pixels and its objects; what is not labelled last."""
    task, samples = index.task, index.samples
    pixels = index.class_pixels()
    total = sum(height * width for height, width in zip(samples.height, samples.width, strict=True))
    kinds = np.concatenate([one.classes for one in shown])
    areas = np.concatenate([one.areas for one in shown])
    rows = []
    for number, name in enumerate(task.classes):
        of_class = kinds == number
        counts = (str(int(of_class.sum())), _diameter(areas[of_class])) if number else (MISSING, MISSING)
        rows.append((name, colour_of(number) if number else "", f"{pixels[number] / total:.1%}", *counts))
    rows.append(("not labelled", colour_of(255), f"{1 - int(pixels.sum()) / total:.1%}", MISSING, MISSING))
    columns = 5 if task.kind == "instance" else 3
    caption = "Classes and their share of all pixels"
    return Listing(
        caption=f"{caption}; objects and their median diameter in the images shown" if columns == 5 else caption,
        heads=("Class", "Colour", "Pixels", "Objects", "Diameter")[:columns],
        kinds=("head", "colour", "number", "number", "number")[:columns],
        rows=[row[:columns] for row in rows],
    )


def _splits(index: SourceIndex) -> Listing:
    """How images, patients and classes are divided."""
    samples, rows = index.samples, []
    for split in ALL_SPLITS:
        numbers = index.rows(split).tolist()
        if numbers:
            pixels = index.class_pixels(split)
            shares = ", ".join(_shares(dict(zip(index.task.classes, pixels.tolist(), strict=True))))
            images, patients = ({column[row] for row in numbers} for column in (samples.image, samples.patient))
            objects = sum(samples.num_objects[row] for row in numbers)
            rows.append((split, str(len(images)), str(len(patients)), str(objects), shares))
    return Listing(
        caption="Splits, by patient",
        heads=("Split", "Images", "Patients", "Objects", "Labelled pixels"),
        kinds=("head", "number", "number", "number", "text"),
        rows=rows,
    )


def _shares(pixels: Mapping[str, int]) -> list[str]:
    total = max(1, sum(pixels.values()))
    return [f"{name} {count / total:.0%}" for name, count in pixels.items()]


def _caption(index: SourceIndex, shown: _Shown) -> str:
    """What is known of one image."""
    sample = shown.sample
    height, width = sample.image.shape[:2]
    words = [sample.key, f"patient {sample.patient}", shown.split, f"{width} x {height} px"]
    if index.task.kind == "instance":
        words.append(f"{len(shown.areas)} objects")
    elif sample.boxes is not None:
        words.append(f"{len(sample.boxes.classes)} boxes")
    elif index.task.kind == "patch":
        words.append(index.task.classes[int(sample.semantic_map[0, 0])])
    return " · ".join(words)
