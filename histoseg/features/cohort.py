"""From a folder of slides' results to tables of features and a page; what is there already is not computed again."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from histoseg.errors import DataError, HistosegError
from histoseg.features.document import definitions_json
from histoseg.features.glands import GLAND
from histoseg.features.measure import Measured, measure_slide
from histoseg.features.page import PAGE, make_page, shown_slides
from histoseg.features.reading import read_slide
from histoseg.features.record import RECORD, SlideFeatures, kept_record, make_record, say_counts
from histoseg.features.slide import SegmentedSlide
from histoseg.features.tables import gland_table, reasons_table, slide_table, to_csv, to_parquet
from histoseg.slides.summary import OBJECTS, SUMMARY, Summary, list_slides, read_summary
from histoseg.store.objects import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SummarisedSlide:
    """A slide with its features; `is_kept` says that they were there already."""

    summary: Summary
    features: SlideFeatures
    is_kept: bool

    def describe(self) -> str:
        """Objects in the tissue, and how long they took."""
        if self.is_kept:
            return "already there"
        said = say_counts(self.features, self.summary)
        return f"{', '.join(said)} in the tissue; {self.features.seconds:.0f} s"


def find_slides(results: Store) -> tuple[list[str], list[str]]:
    """The names of slides that are finished, and of those with objects but without a summary."""
    finished = list_slides(results)
    keys = (key.split("/") for key in results.list())
    begun = {key[0] for key in keys if key[1:] == [OBJECTS]}
    return finished, sorted(begun - {*finished})


def summarise_slides(results: Store, names: list[str], out: Store) -> Iterator[tuple[str, SummarisedSlide | DataError]]:
    """The features of each slide, which are written below its name; or why there are none.

    Raises:
        HistosegError: If a store fails: it would for the other slides as well.
    """
    for name in names:
        try:
            yield name, _summarise(results, name, out)
        except DataError as error:
            yield name, error
        except HistosegError:
            raise
        except Exception as error:  # Too little memory, or a fault of the program that other slides may not meet.
            logger.debug("%s", name, exc_info=True)
            what = " ".join(f"{type(error).__name__}: {error}".split())
            yield name, DataError(f"{name}: cannot be summarised ({what}); HISTOSEG_LOG=DEBUG shows the traceback")


def _summarise(results: Store, name: str, out: Store) -> SummarisedSlide:
    begun = time.perf_counter()
    summary = read_summary(results, name)
    if summary is None:
        raise DataError(f"{results.url}/{name}/{SUMMARY} was removed meanwhile; is the slide being segmented again?")
    kept = kept_record(out, name, summary.made_of)
    if kept is not None:
        return SummarisedSlide(summary=summary, features=kept, is_kept=True)
    slide = read_slide(results, summary, name)
    found = measure_slide(slide)
    files = _write_glands(out, name, slide, found)
    record = make_record(name, summary, found, files, time.perf_counter() - begun)
    out.put(f"{name}/{RECORD}", record.model_dump_json().encode())
    return SummarisedSlide(summary=summary, features=record, is_kept=False)


def _write_glands(out: Store, name: str, slide: SegmentedSlide, found: Measured) -> tuple[str, ...]:
    """The table of glands in both forms; the names of the files."""
    out.delete(f"{name}/{RECORD}")  # A process that is killed in between is repeated.
    if found.glands is None:
        return ()
    table = gland_table(slide.objects[GLAND], found.glands, slide.mpp, slide.tissue)
    bodies = {"glands.parquet": to_parquet(table, {"histoseg": definitions_json()}), "glands.csv": to_csv(table)}
    for file, body in bodies.items():
        out.put(f"{name}/{file}", body)
    return tuple(bodies)


def write_cohort(results: Store, slides: list[SummarisedSlide], failed: dict[str, str], out: Store) -> str:
    """The tables and the page of all slides; returns the address of the page."""
    records = [slide.features for slide in slides]
    table = slide_table(records)
    out.put("slides.parquet", to_parquet(table, {"histoseg": definitions_json()}))
    out.put("slides.csv", to_csv(table))
    out.put("missing.csv", to_csv(reasons_table(records)))
    shown = shown_slides(results, [(slide.summary, slide.features) for slide in slides])
    out.put(PAGE, make_page(list(shown), failed).encode())
    return f"{out.url}/{PAGE}"
