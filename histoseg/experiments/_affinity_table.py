"""What the table of affinity shows: heat maps, and how well measures foretold the gain."""

import math
from collections.abc import Mapping, Sequence

from histoseg.experiments._affinity_evidence import GAIN, MEASURES, Evidence, Track, evidence_of, tracks
from histoseg.experiments._grid import NONE, set_of
from histoseg.report.section import Listing, Picture, Section
from histoseg.report.table import Table
from histoseg.report.text import MISSING, format_interval, format_score

HOW = (
    "Measures are taken after pretraining, before anything is trained on the new task, on as many training patches of "
    "it as of its predecessors. Correlations are within each new task, then averaged: that one task is easier than "
    "another says nothing of which predecessor helps it. Intervals are by bootstrap over tasks and predecessors."
)


def heat_maps(table: Table) -> Section:
    """The gain and each measure by new task and predecessors, as pictures and as numbers."""
    from histoseg.report.heat import HeatMap, draw_heat_maps

    evidence = evidence_of(table)
    heading = "Which predecessor helps?"
    if not evidence.gains or not any(evidence.measures.values()):
        return Section(name="affinity", heading=heading)
    columns = {name: title for name, title in predecessors_of(table).items() if name != NONE}
    maps = [HeatMap(title=GAIN[0].upper() + GAIN[1:], numbers=evidence.gains)]
    maps += [
        HeatMap(title=measure.title, numbers=evidence.measures[name], rising=measure.rising)
        for name, measure in MEASURES.items()
    ]
    caption = (
        "Each row is a new task, each column a set of predecessors. The darker a place, the more the gain, or the "
        "measure, speaks for these predecessors among those of its row: where a measure is right, the same places are "
        "dark as in the first map."
    )
    alt = "Heat maps of the gain and of three measures by new task and predecessors; the numbers are listed below."
    picture = Picture(name="affinity", png=draw_heat_maps(maps, table.spec.rows, columns), alt=alt, caption=caption)
    meanings = [f"{measure.title}: {measure.meaning}" for measure in MEASURES.values()]
    return Section(
        name="affinity",
        heading=heading,
        paragraphs=[HOW],
        bullets=meanings,
        pictures=[picture],
        listings=[_correlations(tracks(evidence)), _numbers(table, evidence, columns)],
    )


def predecessors_of(table: Table) -> dict[str, str]:
    """Titles of the sets of predecessors that the table's columns stand for."""
    return {set_of(column): table.spec.group_of(column) for column in table.spec.columns}


def _correlations(found: Sequence[Track]) -> Listing:
    return Listing(
        caption="How the order by a measure agrees with the order by gain, and what its first choice gained",
        heads=("Measure", "Rank correlation", "95 % interval", "Tasks", "Cells", "First choice", "Any", "Best"),
        kinds=("head", "number", "text", *("number",) * 5),
        rows=[
            (
                MEASURES[one.measure].title,
                format_score(one.correlation),
                format_interval((one.low, one.high)) or MISSING,
                str(one.num_tasks),
                str(one.num_cells),
                *map(signed, (one.chosen, one.typical, one.best)),
            )
            for one in found
        ],
    )


def _numbers(table: Table, evidence: Evidence, columns: Mapping[str, str]) -> Listing:
    found = (evidence.gains, *evidence.measures.values())
    known = [(row, name) for row in table.spec.rows for name in columns if any((row, name) in one for one in found)]
    rows = [
        (
            table.spec.rows[row],
            columns[name],
            signed(evidence.gains.get((row, name), math.nan)),
            *(format_score(evidence.measures[measure].get((row, name), math.nan)) for measure in MEASURES),
        )
        for row, name in known
    ]
    titles = [measure.title for measure in MEASURES.values()]
    return Listing(
        summary="Every number",
        caption="Gain and measures, means over seeds",
        heads=("New task", "Predecessors", "Gain", *titles),
        kinds=("head", "text", *("number",) * (1 + len(titles))),
        rows=rows,
    )


def signed(value: float) -> str:
    """A gain, with its sign; a dash where it is undefined."""
    return MISSING if math.isnan(value) else f"{value:+.3f}"


def say_agreement(table: Table) -> list[str]:
    """A sentence for each measure: how its order agrees with that of the gain."""
    return [
        f"{MEASURES[one.measure].title} and the gain: mean rank correlation {one.correlation:.2f} "
        f"[{one.low:.2f}, {one.high:.2f}] over {one.num_tasks} new tasks and {one.num_cells} cells."
        for one in tracks(evidence_of(table))
    ]
