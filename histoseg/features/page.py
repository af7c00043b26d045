"""The page of a cohort: distributions, a table of slides, their thumbnails, and what each number means."""

import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from PIL import Image as PillowImage

from histoseg.errors import StorageError
from histoseg.features.definition import Feature
from histoseg.features.figures import MAX_BARS, draw_distributions, draw_tissue
from histoseg.features.measure import FEATURES
from histoseg.features.names import BACKGROUND, column_words, find_classes
from histoseg.features.record import SlideFeatures, say_counts
from histoseg.report.html import render
from histoseg.report.section import Listing, Photo, Picture, Section
from histoseg.report.text import MISSING
from histoseg.slides.colours import class_colour
from histoseg.slides.summary import THUMBNAIL, Summary
from histoseg.store.objects import Store

PAGE = "index.html"
THUMBNAIL_PX = 256
MAX_PHOTOS = 300  # Some 15 kB each
# What is shown of a cohort, as far as its models find it, with a short title.
TELLING = {
    "tissue_area_mm2": "Tissue, mm²",
    "nuclei_all_density_per_mm2": "Nuclei per mm²",
    "gland_all_density_per_mm2": "Glands per mm²",
    "lumen_all_density_per_mm2": "Lumina per mm²",
    "gland_area_fraction": "Glands' share of the tissue",
    "gland_equivalent_diameter_um_median": "Diameter of glands, µm",
    "gland_circularity_median": "Circularity of glands",
    "gland_lumen_share_median": "Lumen's share of a gland",
    "gland_nearest_gland_distance_um_median": "From gland to gland, µm",
    "gland_stratified_share_median": "Stratified nuclei of a gland, share",
    "gland_intraepithelial_lymphocytes_per_100_epithelial_nuclei_median": "Intraepithelial lymphocytes per 100",
    "nuclei_epithelial_area_um2_median": "Epithelial nucleus, µm²",
    "nuclei_lymphocyte_density_per_mm2_in_stroma": "Lymphocytes per mm² of stroma",
    "lymphocyte_density_near_tumour_per_mm2": "Lymphocytes per mm² near tumour",
    "stroma_share_of_tumour_and_stroma": "Stroma / (tumour and stroma)",
    "nuclei_neutrophil_share": "Neutrophils, share of nuclei",
}
NOTICE = (
    "Features inherit every error of the segmentation they are computed from. Look at its outlines on some slides of"
    " each centre and scanner before comparing numbers. For research only."
)


@dataclass(frozen=True, kw_only=True)
class ShownSlide:
    """A slide on the page, with its thumbnail if it has one."""

    summary: Summary
    features: SlideFeatures
    jpeg: bytes | None = None


def make_page(slides: Sequence[ShownSlide], failed: Mapping[str, str]) -> str:
    """The page as HTML that needs nothing but itself."""
    records = [slide.features for slide in slides]
    columns = _telling(records)
    sections = [
        _cohort(slides, failed),
        _distributions(records, columns),
        _tissue(slides),
        _slides(slides, columns),
        _undefined(records),
        _definitions(),
    ]
    lead = (
        f"Glands, lumina, nuclei and tissue of {len(slides)} {'slide' if len(slides) == 1 else 'slides'}, in numbers."
    )
    return render("Cohort", lead, NOTICE, sections)


def read_thumbnail(results: Store, name: str) -> bytes | None:
    """A slide's thumbnail, made smaller; None where there is none that can be read."""
    try:
        with PillowImage.open(io.BytesIO(results.get(f"{name}/{THUMBNAIL}"))) as image:
            image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            file = io.BytesIO()
            image.convert("RGB").save(file, "JPEG", quality=82)
    except (StorageError, OSError):
        return None
    return file.getvalue()


def _telling(records: Sequence[SlideFeatures]) -> dict[str, str]:
    """The columns to show with their titles: those that some slide has a value of."""
    known = {name for one in records for name, value in one.values.items() if value is not None}
    found = {name: title for name, title in TELLING.items() if name in known}
    others = sorted(name for name in known if name.endswith("_all_density_per_mm2") and name not in found)
    return found | {name: f"{name.removesuffix('_all_density_per_mm2').capitalize()} per mm²" for name in others}


def _column(records: Sequence[SlideFeatures], name: str) -> Float64[np.ndarray, " N"]:
    values = (one.values.get(name) for one in records)
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _cohort(slides: Sequence[ShownSlide], failed: Mapping[str, str]) -> Section:
    """What all slides have in common, and what is to be known before numbers are compared."""
    models = Counter(slide.summary.model.sha256[:12] or "unknown" for slide in slides)
    masks = Counter(slide.summary.mask.kind for slide in slides)
    resolutions = sorted({slide.summary.mpp for slide in slides})
    area = float(np.nansum(_column([slide.features for slide in slides], "tissue_area_mm2")))
    facts = [
        ("Slides", str(len(slides))),
        ("Tissue", f"{area:,.1f} mm²"),
        *((_title(name, slides), f"{count:,}") for name, count in _totals(slides).items()),
        ("Models", "; ".join(f"{name} ({count})" for name, count in models.items())),
        ("Tissue masks", "; ".join(f"{name} ({count})" for name, count in masks.items())),
        ("Resolution", f"{' to '.join(dict.fromkeys(f'{x:g}' for x in (resolutions[0], resolutions[-1])))} µm/px"),
    ]
    warnings = [f"{text} ({count} of {len(slides)} slides)" for text, count in _caveats(slides).items()]
    if len(models) > 1:
        warnings.append("The slides were segmented by different models: their numbers do not compare.")
    warnings += [f"Not summarised: {name}: {reason}" for name, reason in failed.items()]
    return Section(name="cohort", heading="The cohort", facts=facts, bullets=warnings)


def _caveats(slides: Sequence[ShownSlide]) -> Counter[str]:
    return Counter(text for slide in slides for text in slide.summary.caveats)


def _totals(slides: Sequence[ShownSlide]) -> dict[str, int]:
    """How many objects of each structure lie in the tissue of all slides."""
    names = dict.fromkeys(name for slide in slides for name in slide.summary.structures)
    records = [slide.features for slide in slides]
    totals = {name: _column(records, f"{name}_all_count") for name in names}
    return {name: int(np.nansum(values)) for name, values in totals.items() if np.isfinite(values).any()}


def _title(structure: str, slides: Sequence[ShownSlide]) -> str:
    plurals = (slide.summary.structures[structure].plural for slide in slides if structure in slide.summary.structures)
    return next(plurals).capitalize()


def _distributions(records: Sequence[SlideFeatures], columns: Mapping[str, str]) -> Section:
    if len(records) < 2 or not columns:
        return Section(name="distributions", heading="Distributions")
    values = {title: _column(records, name) for name, title in columns.items()}
    picture = Picture(
        name="distributions",
        png=draw_distributions(values, [one.name for one in records]),
        alt="Distribution of each feature over slides; the numbers are in the table of slides.",
        caption="A dot is a slide. The box spans the middle half of the slides, its line is their median. Below are the"
        " names of the slides with the lowest and the highest value.",
    )
    return Section(name="distributions", heading="Distributions", pictures=[picture])


def _tissue(slides: Sequence[ShownSlide]) -> Section:
    """What tissue each slide consists of, by the classes of the first slide that has any."""
    info = next((slide.summary.tissue for slide in slides if slide.summary.tissue is not None), None)
    empty = Section(name="tissue", heading="Tissue")
    if info is None:
        return empty
    numbers = [i for i in range(len(info.classes)) if i not in find_classes(info.classes, BACKGROUND)]
    words = column_words(info.classes)
    records = [slide.features for slide in slides]
    shares = {info.classes[i].replace("_", " "): _column(records, f"tissue_share_in_{words[i]}") for i in numbers}
    stated = {i: info.colours[i] for i in numbers if i < len(info.colours)}
    colours = [stated.get(i) or class_colour(i) or "#ffffff" for i in numbers]
    png = draw_tissue(shares, colours, [one.name for one in records])
    more = f" The first {MAX_BARS} slides." if len(slides) > MAX_BARS else ""
    caption = f"Share of the tissue's area that each class has, background left out.{more}"
    picture = Picture(
        name="tissue", png=png, alt="Shares of tissue; columns tissue_share_in_… hold them.", caption=caption
    )
    return Section(name="tissue", heading="Tissue", pictures=[picture])


def _slides(slides: Sequence[ShownSlide], columns: Mapping[str, str]) -> Section:
    """The numbers of each slide, and what it looks like."""
    rows = [[slide.features.name, *(_say(slide.features.values.get(name)) for name in columns)] for slide in slides]
    listing = Listing(
        caption="Hold the pointer over a heading for the column's name. All columns are in slides.csv.",
        heads=["Slide", *columns.values()],
        hints=["", *columns],
        kinds=["head", *["number"] * len(columns)],
        rows=rows,
        is_wide=True,
    )
    photos = [Photo(jpeg=slide.jpeg, caption=_caption(slide)) for slide in slides if slide.jpeg is not None]
    shown = photos[:MAX_PHOTOS]
    more = [f"Thumbnails of the first {MAX_PHOTOS} slides."] if len(photos) > len(shown) else []
    return Section(
        name="slides", heading="Slides", paragraphs=more, listings=[listing], photos=shown, has_small_photos=True
    )


def _caption(slide: ShownSlide) -> str:
    """A slide's name, area and numbers of objects."""
    area = _say(slide.features.values.get("tissue_area_mm2"))
    words = [f"{area} mm²", *say_counts(slide.features, slide.summary)]
    return f"{slide.features.name}\n{' · '.join(words)}"


def _undefined(records: Sequence[SlideFeatures]) -> Section:
    """Which features are absent, for how many slides, and why; single values are in missing.csv."""
    absent = Counter(
        (column, reason) for one in records for column, reason in one.reasons.items() if column not in one.values
    )
    rows = [(column, reason, str(count)) for (column, reason), count in absent.items()]
    listing = Listing(
        caption="Features without a column, and the reason. Where a single value is null, missing.csv has the reason.",
        heads=("Feature", "Reason", "Slides"),
        kinds=("code", "text", "number"),
        rows=rows,
        summary=f"{len(rows)} features without a column",
    )
    return Section(name="absent", heading="Absent features", listings=[listing] if rows else [])


def _definitions() -> Section:
    listing = Listing(
        caption="In names, {structure}, {class}, {other} and {feature} stand for those that the model finds."
        " Columns of a class of tissue end in _in_ and its name.",
        heads=("Column", "Unit", "Of", "What it is"),
        kinds=("code", "text", "text", "text"),
        rows=[(each.name, each.unit or MISSING, each.level, _explain(each)) for each in FEATURES],
    )
    return Section(name="definitions", heading="Definitions", listings=[listing])


def _explain(feature: Feature) -> str:
    return f"{feature.meaning} ({feature.source}.)" if feature.source else feature.meaning


def _say(value: float | None) -> str:
    """The number to three digits."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def shown_slides(results: Store, slides: Sequence[tuple[Summary, SlideFeatures]]) -> Iterator[ShownSlide]:
    """The slides with their thumbnails."""
    for number, (summary, features) in enumerate(slides):
        jpeg = read_thumbnail(results, features.name) if number < MAX_PHOTOS else None
        yield ShownSlide(summary=summary, features=features, jpeg=jpeg)
