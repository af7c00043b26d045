"""A round's regions as files that a pathologist corrects: images with what the model finds in them.

Each region is segmented as an image of its own, so its objects end where it does.
"""

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from histoseg.annotate.plan import Plan, PlannedRegion
from histoseg.errors import DataError
from histoseg.exports import annotation_store, geojson
from histoseg.exports._slide import SlideObjects
from histoseg.inference.segment import identify, segment_slide
from histoseg.models.weights import Model
from histoseg.slides.objects import ObjectFile
from histoseg.slides.options import SegmentOptions
from histoseg.slides.reader import Slide, open_slide
from histoseg.slides.summary import OBJECTS, read_summary
from histoseg.store.objects import FileStore
from histoseg.structures import structure

REGIONS, PREDICTIONS = "regions", "predictions"
OnRegion = Callable[[PlannedRegion, str], None]  # A region, and a line about it


def export_round(folder: Path, plan: Plan, model: Model, on_region: OnRegion = lambda *_: None) -> Path:
    """Write each region as PNG, GeoJSON for QuPath and AnnotationStore for TIAToolbox; returns their folder.

    What is there already is kept, so an export that was interrupted goes on.

    Raises:
        DataError: If the model or an image is not that of the plan.
    """
    if model.sha256 != plan.model.sha256:
        raise DataError(f"{folder}: the round was planned with another model, {plan.model.address}; give that one")
    store = FileStore(folder)
    for image, about in plan.images.items():
        own = [region for region in plan.regions if region.image == image]
        if not own:
            continue
        if identify(about.address) != about.identity:
            raise DataError(f"{about.address} is another file than the round was planned with; make the round again")
        with open_slide(about.address, about.mpp) as slide:
            for region in own:
                on_region(region, _export(store, slide, region, plan, model))
    store.put(f"{REGIONS}/README.txt", _readme(plan).encode())
    return folder / REGIONS


def objects_of(folder: Path, region: str) -> SlideObjects:
    """What the model found in a region of an exported round."""
    store = FileStore(folder / PREDICTIONS)
    summary = read_summary(store, region)
    if summary is None:
        raise DataError(f"{folder}: region {region} was not exported; run `histoseg annotate export {folder}`")
    return SlideObjects(objects=ObjectFile.open(store, f"{region}/{OBJECTS}"), summary=summary)


def image_of(folder: Path, region: str) -> Path:
    """The image of an exported region."""
    return folder / REGIONS / f"{region}.png"


def _export(store: FileStore, slide: Slide, region: PlannedRegion, plan: Plan, model: Model) -> str:
    key = f"{REGIONS}/{region.name}"
    if store.size(f"{key}.png") is None:
        pixels = slide.read(region.top, region.left, region.height, region.width, plan.mpp)
        store.put(f"{key}.png", _to_png(PillowImage.fromarray(pixels), plan.mpp))
    options = SegmentOptions(mpp=plan.mpp, mask="none", structures=(plan.structure,))
    folder = store.root
    summary, _ = segment_slide(str(image_of(folder, region.name)), model, FileStore(folder / PREDICTIONS), options)
    found = objects_of(folder, region.name)
    for module, ending in ((geojson, "geojson"), (annotation_store, "db")):
        if store.size(f"{key}.{ending}") is not None:  # It may have been corrected in place.
            continue
        part = folder / REGIONS / f".{region.name}.{ending}"
        part.unlink(missing_ok=True)
        module.write(part, found)
        part.replace(folder / f"{key}.{ending}")
    return summary.describe()


def _to_png(picture: PillowImage.Image, mpp: float) -> bytes:
    """A PNG that states its resolution (pHYs, pixels per metre) and, as text, in microns."""
    about = PngInfo()
    about.add_text("mpp", f"{mpp:g}")
    file = io.BytesIO()
    picture.save(file, "PNG", dpi=(25400 / mpp, 25400 / mpp), pnginfo=about)
    return file.getvalue()


def _readme(plan: Plan) -> str:
    row, names = structure(plan.structure), ", ".join(plan.classes[1:])
    return (
        f"Each PNG here is a region of a slide at {plan.mpp:g} microns per pixel; open it in QuPath as H&E of"
        f" that pixel size and drag the GeoJSON of the same name onto it to see the {row.plural} the model found.\n"
        f"Correct them until every {row.singular} in the region is outlined once: delete wrong objects, redraw wrong"
        f" outlines, outline missing {row.plural}, and give each one of these classes: {names}.\n"
        "Then export all objects as GeoJSON (File > Export objects as GeoJSON) under the same name, leave the image as"
        " it is, and send the GeoJSON files back.\n"
    )
