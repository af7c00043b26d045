"""What tables of MetaHistoSeg's protocol have in common in print, and what only they say."""

from collections.abc import Iterable, Mapping, Sequence

from histoseg.experiments._grid import members
from histoseg.report.cell import Cell, CellKey, Interval, average
from histoseg.report.section import Listing, Section
from histoseg.report.table import NO_PAPER, Baseline, Paper, Table, TableSpec, leaders
from histoseg.report.text import MISSING, format_score

ON_SCORES = "Scores are mIoU over all pixels of all test images (MetaHistoSeg, Eq. 1)."
AVERAGES = {
    "miou_pooled": (
        "Pooled",
        "IoU of each class over the pixels of all test images, then the mean over classes (the paper's Eq. 1; our "
        "headline).",
    ),
    "miou_reference": (
        "Reference",
        "as the paper's published code computes it: per image, a class absent from the image counts 0, then the mean "
        "over images. A perfect prediction of an image that shows two of four classes scores 0.5.",
    ),
    "miou_present": (
        "Present",
        "per image, the mean over the classes that the image shows, then the mean over images.",
    ),
    "majority_miou_pooled": (
        "Majority",
        "pooled, for a predictor that always answers the most frequent class. A score near it learned nothing.",
    ),
}


def leave_one_out_table(
    title: str,
    new_tasks: Mapping[str, str],
    predecessors: Mapping[str, str],
    methods: Mapping[str, str],
    notes: tuple[str, ...] = (),
    paper: Paper = NO_PAPER,
) -> TableSpec:
    """A table of new tasks by sets of predecessor tasks, in which methods are compared.

    The column of a run is named "<predecessors>.<method>".
    """
    return TableSpec(
        title=title,
        row_name="New task",
        rows=new_tasks,
        groups={
            name: {f"{column}.{method}": method_title for method, method_title in methods.items()}
            for column, name in predecessors.items()
        },
        compared="columns",
        score="miou_pooled",
        score_title="mIoU",
        not_applicable=frozenset(
            (task, f"{column}.{method}")
            for task in new_tasks
            for column in predecessors
            if task in members(column)
            for method in methods
        ),
        interval=Interval(low="interval_low", high="interval_high", meaning="95 % bootstrap interval over test images"),
        baseline=Baseline(
            title="always the majority class",
            meaning="The dotted line is a predictor that always answers the most frequent class.",
            score=majority,
        ),
        class_scores={"iou": "IoU"},
        sentences=(paired_wins, overlapping_intervals),
        sections=(three_averages,),
        notes=(ON_SCORES, *notes),
        paper=paper,
    )


def majority(cells: Iterable[Cell]) -> float:
    """The mIoU of always answering the most frequent class."""
    return average(cell.mean_of("majority_miou_pooled") for cell in cells if cell.records)


def paired_wins(table: Table) -> list[str]:
    """In how many pairs each method alone is better, ours and the paper's; only whole pairs count."""
    lines = []
    for whose, means_of in (("Here", table.means), ("In the paper", table.published)):
        pairs = [means for keys in table.spec.comparisons if len(means := means_of(keys)) == len(keys) > 1]
        if pairs:
            methods = [table.spec.columns[column] for _, column in table.spec.comparisons[0]]
            wins = ", ".join(f"{method} in {sum(_wins(pair, i) for pair in pairs)}" for i, method in enumerate(methods))
            averages = [average(list(pair.values())[i] for pair in pairs) for i in range(len(methods))]
            said = ", ".join(f"{method} {mean:.4f}" for method, mean in zip(methods, averages, strict=True))
            lines.append(f"{whose}, of {len(pairs)} pairs the better method is {wins}. Mean over these: {said}.")
    return lines


def _wins(pair: Mapping[CellKey, float], i: int) -> bool:
    return leaders(pair) == {list(pair)[i]}


def overlapping_intervals(table: Table) -> list[str]:
    """In how many whole pairs the methods' intervals overlap."""
    pairs = [
        [table.cells[key].ends for key in keys]
        for keys in table.spec.comparisons
        if len(table.means(keys)) == len(keys) > 1
    ]
    overlap = sum(max(low for low, _ in pair) <= min(high for _, high in pair) for pair in pairs)
    return [f"In {overlap} of {len(pairs)} pairs the methods' intervals overlap."] if pairs else []


def three_averages(table: Table) -> Section:
    """Every finished cell by every definition of the mean."""
    finished = [cell for cell in table.cells.values() if cell.records]
    heads = ("New task", "Predecessors", "Method", *(name for name, _ in AVERAGES.values()), "Paper", "Replicates")
    listing = Listing(
        caption="The same predictions, averaged in three ways",
        heads=heads,
        kinds=("head", "text", "text", *("number",) * (len(AVERAGES) + 1), "text"),
        rows=[_averages_of(table, cell) for cell in finished],
    )
    meanings = [f"{name}: {meaning}" for name, meaning in AVERAGES.values()]
    return Section(
        name="averages",
        heading="Three ways to average",
        bullets=meanings if finished else [],
        listings=[listing] if finished else [],
    )


def _averages_of(table: Table, cell: Cell) -> Sequence[str]:
    spec = table.spec
    paper = MISSING if cell.paper is None else format_score(cell.paper[0])
    place = (spec.rows[cell.row], spec.group_of(cell.column), spec.columns[cell.column])
    return (*place, *(format_score(cell.mean_of(name)) for name in AVERAGES), paper, ", ".join(cell.records))
