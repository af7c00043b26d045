"""The page of a round: what was chosen, with pictures, to be looked at before anything is corrected."""

import io
from collections.abc import Mapping, Sequence

from PIL import Image as PillowImage

from histoseg.annotate.plan import Plan, PlannedRegion
from histoseg.report.html import render
from histoseg.report.section import Listing, Photo, Section
from histoseg.slides.reader import open_slide
from histoseg.structures import structure

THUMBNAIL_PX = 256
SHOWN = 200  # Ranks in the listing; the table beside the page has all.
SCORE = (
    "The score of a region is the mean over its pixels of how unsure the model is: the entropy of its probabilities "
    "(MILD-Net: their variance over transformations), divided by the largest that there can be. 0 means certain "
    "everywhere, 1 that it knows nothing."
)
REPRESENTATIVE = (
    "The chosen regions are representative, so they need not have the highest scores: each stands for difficult "
    "regions that look like it to the model and that none before it stands for. The others follow by their score."
)
NOTICE = (
    "A model is unsure where tissue is hard to tell, but also where a section is out of focus or dirty. Look first."
)


def make_page(plan: Plan, ranking: Sequence[PlannedRegion]) -> str:
    """The page as HTML that needs nothing but itself."""
    photos = [Photo(jpeg=jpeg, caption=_caption(plan.by_name[name])) for name, jpeg in _pictures(plan).items()]
    facts = [
        ("Model", f"{plan.model.origin} ({plan.model.sha256[:12]})"),
        ("Structure", structure(plan.structure).plural),
        ("Chosen", f"{len(plan.regions)} of {plan.candidates} regions of {len(plan.images)} images"),
        ("Strategy", plan.strategy),
        ("Region", f"{plan.size_px} px at {plan.mpp:g} microns per pixel"),
    ]
    listing = Listing(
        caption="Regions by rank",
        heads=("Rank", "Region", "Image", "Score", "Chosen"),
        rows=[
            (str(one.rank), one.name, one.image, _say(one.score), "yes" if one.chosen else "")
            for one in ranking[:SHOWN]
        ],
        kinds=("number", "head", "text", "number", "text"),
    )
    paragraphs = (SCORE, REPRESENTATIVE) if plan.strategy == "representative" else (SCORE,)
    sections = [
        Section(name="round", heading="This round", facts=facts, paragraphs=paragraphs),
        Section(name="regions", heading="Chosen regions", photos=photos, has_small_photos=True),
        Section(name="ranking", heading="Ranking", listings=(listing,)),
    ]
    return render("Round of annotation", f"{len(plan.regions)} regions to correct.", NOTICE, sections)


def _pictures(plan: Plan) -> Mapping[str, bytes]:
    """A small JPEG of each chosen region, by rank."""
    found: dict[str, bytes] = {}
    for image, about in plan.images.items():
        own = [region for region in plan.regions if region.image == image]
        with open_slide(about.address, about.mpp) as slide:
            for region in own:
                pixels = slide.read(region.top, region.left, region.height, region.width, plan.mpp)
                picture = PillowImage.fromarray(pixels)
                picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
                file = io.BytesIO()
                picture.save(file, "JPEG", quality=85)
                found[region.name] = file.getvalue()
    return {region.name: found[region.name] for region in plan.regions}


def _caption(region: PlannedRegion) -> str:
    return f"{region.rank}: {region.name}" + ("" if region.score is None else f", {_say(region.score)}")


def _say(score: float | None) -> str:
    return "" if score is None else f"{score:.3f}"
