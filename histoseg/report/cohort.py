"""The report of a cohort of slides: a page and a table of what each has, and why others have nothing."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from histoseg.report.html import render
from histoseg.report.section import Listing, Section
from histoseg.report.written import Written
from histoseg.slides.summary import Summary
from histoseg.store.objects import FileStore


def write_cohort(
    folder: Path, done: Sequence[Summary], failures: Mapping[str, str], *, where: str, command: str
) -> Written:
    """Write the page and slides.csv into a folder.

    Args:
        folder: A folder of this machine.
        done: The summaries of all slides that are done.
        failures: Why others are not, by their addresses.
        where: The address below which each slide has its results.
        command: What makes the same.
    """
    store = FileStore(folder.absolute())
    heads, rows = _table(done)
    store.put("slides.csv", _to_csv([heads, *rows]))
    store.put("index.html", _page(done, failures, heads, rows, where, command).encode())
    return Written(table=_describe(done, failures, where), page=store.root / "index.html")


def _table(done: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """A row for each slide, with a column for each structure that any was searched for, and for its classes."""
    kinds = list(dict.fromkeys((name, kind) for one in done for name in one.counts for kind in _kinds(one, name)))
    heads = ["slide", "mm2", *(f"{name}: {kind}" if kind else name for name, kind in kinds), "seconds", "address"]
    rows = [
        [
            one.name,
            f"{one.mask.area_mm2:.2f}",
            *(_count(one, name, kind) for name, kind in kinds),
            f"{one.seconds:.0f}",
            one.address,
        ]
        for one in done
    ]
    return heads, rows


def _kinds(one: Summary, name: str) -> list[str]:
    return ["", *(kind for kind in one.counts[name].classes if kind)]


def _count(one: Summary, name: str, kind: str) -> str:
    """How many objects there are, of a class if one is named; empty where nobody looked for them."""
    counts = one.counts.get(name)
    if counts is None:
        return ""
    return str(counts.classes.get(kind, "") if kind else counts.all)


def _to_csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _describe(done: Sequence[Summary], failures: Mapping[str, str], where: str) -> str:
    """The cohort in a line or two."""
    abouts = {name: about for one in done for name, about in one.structures.items()}
    sums = [
        about.say(sum(one.counts[name].all for one in done if name in one.counts)) for name, about in abouts.items()
    ]
    area = f"{sum(one.mask.area_mm2 for one in done):,.1f} mm2 of tissue"
    lines = [f"{len(done)} of {len(done) + len(failures)} slides are done: {', '.join([area, *sums])}"]
    return "\n".join([*lines, f"each slide has its results in {where}/<slide>/"])


def _page(
    done: Sequence[Summary],
    failures: Mapping[str, str],
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    where: str,
    command: str,
) -> str:
    caveats = list(dict.fromkeys(caveat for one in done for caveat in one.caveats))
    kinds = ["head", *["number"] * (len(heads) - 2), "code"]
    failed = [[address, error] for address, error in failures.items()]
    lists = [Listing(caption="What each slide has", heads=heads, rows=rows, kinds=kinds)]
    if failed:
        lists.insert(
            0, Listing(caption="Slides that failed", heads=["slide", "why"], rows=failed, kinds=["head", "text"])
        )
    sections = [
        Section(name="caveats", heading="What speaks against these results", bullets=[f"{text}." for text in caveats]),
        Section(name="slides", heading="Slides", listings=lists),
        Section(name="again", heading="How to make it again", code=command),
    ]
    lead = _describe(done, failures, where).replace("\n", "; ")
    notice = f"{len(failures)} of the slides failed, for the reasons below." if failures else ""
    return render("Slides", f"{lead}.", notice, sections)
