"""The table of the annotation loop: scores by rounds as curves, and what difficult regions gain over random ones."""

from collections.abc import Mapping

from histoseg.report.table import Axis, TableSpec


def annotation_table(structure: str, rows: Mapping[str, str], columns: Mapping[str, str]) -> TableSpec:
    """A table of ways to choose regions by rounds of annotation."""
    return TableSpec(
        title=f"Annotation loop: {structure} by rounds of annotation",
        row_name="Annotated",
        rows=rows,
        groups={"Round": columns},
        score=f"test.{structure}.pq",
        score_title="PQ",
        replicates="divisions of the folds and seeds",
        structure=lambda _column: structure,
        x_axis=Axis(title="round of annotation", values={name: i for i, name in enumerate(columns, start=1)}),
    )
