"""What a report says of a table in sentences: how much is finished, which rows lead, how to read a cell."""

from collections.abc import Mapping

from histoseg.report.table import Table, leaders


def finished(table: Table) -> str:
    """How many cells are finished, without a full stop."""
    cells = table.own_cells
    num_parts = sum(bool(cell.records) and not cell.is_finished for cell in cells)
    more = f", {num_parts} more in part" if num_parts else ""
    return f"{sum(cell.is_finished for cell in cells)} of {len(cells)} cells are finished{more}"


def summarise(table: Table) -> list[str]:
    """How much is finished, what the spec says of the results, and rows that come from the same trainings."""
    said = (sentence for say in table.spec.sentences for sentence in say(table))
    return [f"{finished(table)}.", *said, *_same_trainings(table)]


def explain(table: Table) -> list[str]:
    """How to read a cell."""
    spec, lines = table.spec, []
    if any(cell.sd is not None for cell in table.own_cells):
        lines.append(f"± is the sample standard deviation over {spec.replicates}.")
    if spec.interval is not None:
        lines.append(f"Brackets are the {spec.interval.meaning}.")
    if any(len(keys) > 1 for keys in spec.comparisons):
        within = "of our finished rows in a column" if spec.compared == "rows" else "of a group of columns in a row"
        lines.append(f"Bold is the highest mean {within}.")
    if spec.paper.numbers:
        has_spread = any(sd is not None for _, sd in spec.paper.numbers.values())
        number = "mean ± standard deviation" if has_spread else "the number"
        lines.append(f"“paper” is {number} in {spec.paper.citation}.")
    return lines


def _same_trainings(table: Table) -> list[str]:
    """Rows whose configurations are the same at this scale, so that their numbers are too."""
    rows_of: dict[frozenset[str], list[str]] = {}
    for row, title in table.spec.rows.items():
        stages = (stage.stage for record in table.records if record.row == row for stage in record.stages)
        if trainings := frozenset(stages):
            rows_of.setdefault(trainings, []).append(title)
    return [
        f"{' and '.join(titles)} come from the same trainings: at this scale they do not differ."
        for titles in rows_of.values()
        if len(titles) > 1
    ]


def leading_rows(table: Table) -> list[str]:
    """Which rows lead in how many columns, here and in the paper. For tables whose rows are compared."""
    columns = {column: table.spec.keys_of(column) for column in table.spec.columns}
    here = _leaders({column: table.means(keys) for column, keys in columns.items()})
    paper = _leaders({column: table.published(keys) for column, keys in columns.items()})
    lines = [_count_leads(table, whose, best) for whose, best in (("Here", here), ("In the paper", paper)) if best]
    if both := here.keys() & paper.keys():
        same = sum(bool(here[column] & paper[column]) for column in both)
        lines.append(f"In {same} of {len(both)} columns the row that leads in the paper leads here too.")
    return lines


def _leaders(means: Mapping[str, Mapping[tuple[str, str], float]]) -> dict[str, frozenset[str]]:
    """The leading rows of each column that has two means or more."""
    return {column: frozenset(row for row, _ in leaders(found)) for column, found in means.items() if len(found) > 1}


def _count_leads(table: Table, whose: str, best: Mapping[str, frozenset[str]]) -> str:
    counts = {title: sum(row in rows for rows in best.values()) for row, title in table.spec.rows.items()}
    led = ", ".join(f"{title} in {count}" for title, count in counts.items() if count)
    return f"{whose}, of {len(best)} columns the highest mean is that of {led} (ties count for each)."


def margins(table: Table) -> list[str]:
    """In how many columns the lead is larger than the spread. For tables whose rows are compared."""
    clear = []
    for column in table.spec.columns:
        cells = [table.cells[key] for key in table.means(table.spec.keys_of(column))]
        ranked = sorted(((cell.mean, cell.sd) for cell in cells if cell.sd is not None), reverse=True)
        if len(ranked) > 1:
            (first, first_sd), (second, second_sd) = ranked[:2]
            clear.append(first - second > max(first_sd, second_sd))
    if not clear:
        return []
    ahead = "the leader is ahead of the next row by more than the larger of their standard deviations"
    return [f"In {sum(clear)} of {len(clear)} columns {ahead}."]
