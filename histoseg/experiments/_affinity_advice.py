"""Which predecessors measures suggest for a task that nothing was trained on, and how sure that is."""

from collections.abc import Mapping, Sequence

from histoseg.experiments._affinity_evidence import MEASURES, Evidence, Track, evidence_of, ranking, tracks
from histoseg.experiments._affinity_table import predecessors_of, signed
from histoseg.report.cell import CellKey, average
from histoseg.report.section import Listing, Section
from histoseg.report.table import Table

NAMED = 3  # Predecessors that a suggestion names


def suggestions(table: Table) -> Section:
    """For each new task what would have been suggested from the other tasks alone, and what it would have gained."""
    evidence, titles = evidence_of(table), predecessors_of(table)
    chosen = {task: _blind_choice(evidence, task) for task in evidence.tasks}
    rows, short = [], []
    for task, (measure, before) in ((task, choice) for task, choice in chosen.items() if choice is not None):
        gains = {name: gain for (row, name), gain in evidence.gains.items() if row == task}
        best = max(gains, key=gains.__getitem__)
        short.append(gains[best] - gains[before])
        by = MEASURES[measure].title
        own, most = signed(gains[before]), signed(gains[best])
        rows.append((table.spec.rows[task], by, titles[before], own, titles[best], most))
    listing = Listing(
        caption="Each new task as if nothing had been trained on it: the measure is chosen on the other tasks",
        heads=("New task", "By", "Suggested", "Its gain", "Best", "Its gain"),
        kinds=("head", "text", "text", "number", "text", "number"),
        rows=rows,
    )
    ask = "For a data set of your own, prepared like these and never trained on, ask with the command below."
    return Section(
        name="suggestions",
        heading="What would have been suggested",
        paragraphs=[f"On average the suggestion is {average(short):.3f} mIoU below the best. {ask}"] if rows else [],
        code="histoseg suggest SOURCE --store STORE --scale SCALE" if rows else "",
        listings=[listing] if rows else [],
    )


def _blind_choice(evidence: Evidence, task: str) -> tuple[str, str] | None:
    """The measure that agrees best with the gains of the other tasks, and its first choice of those that were tried."""
    for one in tracks(evidence.without(task), resamples=0):
        for before in ranking(one.measure, evidence.measures[one.measure], task):
            if (task, before) in evidence.gains:
                return one.measure, before
    return None


def suggest(
    task: str, measures: Mapping[str, Mapping[CellKey, float]], known: Sequence[Track], titles: Mapping[str, str]
) -> list[str]:
    """Sentences: which predecessors to choose for a task, by which measure, and how sure that is.

    Args:
        task: The new task.
        measures: By name, what was measured between it and its predecessors.
        known: How well each measure foretold gains of other tasks, the best first; empty if that is not known.
        titles: Of sets of predecessors.
    """
    orders = {name: ranking(name, numbers, task) for name, numbers in measures.items() if numbers}
    leader = next((one for one in known if one.measure in orders), None)
    lines = ["No gain is known yet, so it is open which measure to follow."]
    if leader is not None:
        first, *others = (titles[before] for before in orders[leader.measure][:NAMED])
        after = f"; next {', then '.join(others)}" if others else ""
        lines = [f"{MEASURES[leader.measure].title} suggests {first}{after}.", *_how_sure(leader)]
    return lines + [
        f"{MEASURES[name].title} would choose {titles[order[0]]}."
        for name, order in orders.items()
        if leader is None or name != leader.measure
    ]


def _how_sure(one: Track) -> list[str]:
    agreement = (
        f"On {one.num_tasks} tasks with known gains its order agrees best with theirs: mean rank correlation "
        f"{one.correlation:.2f} [{one.low:.2f}, {one.high:.2f}]. There its first choice gained {one.chosen:+.3f} mIoU, "
        f"any predecessor {one.typical:+.3f}, the best {one.best:+.3f}."
    )
    doubt = "The interval includes 0: the order may be no better than chance."
    return [agreement, *([] if one.low > 0 else [doubt])]
