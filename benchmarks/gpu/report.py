"""Outcomes as lines, as a Markdown table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rows import Figures, Outcome

HEADS = ("part", "step or image", "precision", "", "images/s", "TFLOP/s", "of the peak", "memory", "waiting")
NOTHING = "-"


def line(outcome: Outcome) -> str:
    """An outcome for the terminal."""
    figures = outcome.figures
    if figures is None:
        return f"{'FAILED' if outcome.failed else 'not measured'}: {outcome.reason}"
    return f"{_number(figures.images_per_s)} images/s, {', '.join(_known(figures))} ({figures.of})"


def _known(figures: Figures) -> list[str]:
    found = [f"{1000 * figures.seconds:.0f} ms each"]
    if figures.tera is not None:
        found.append(f"{_number(figures.tera)} TFLOP/s")
    if figures.share is not None:
        found.append(f"{figures.share:.0%} of the peak")
    if figures.peak_gib is not None:
        found.append(f"{figures.peak_gib:.1f} GiB")
    if figures.waiting is not None:
        found.append(f"waiting {figures.waiting:.1%}")
    return found


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    return "\n".join(lines + [f"| {' | '.join(_cells(outcome))} |" for outcome in outcomes])


def _cells(outcome: Outcome) -> list[str]:
    row, figures = outcome.row, outcome.figures
    way = ["", ""] if row.doing == "loading" else [row.precision, "compiled" if row.compiled else "eager"]
    part = f"{row.workload}: {row.doing}" + (f", {row.ranks} ranks" if row.ranks > 1 else "")
    if figures is None:
        return [part, f"not measured: {outcome.reason}".replace("|", "\\|"), *way, *[NOTHING] * 5]
    return [
        part,
        figures.of,
        *way,
        _number(figures.images_per_s),
        _or_nothing(figures.tera, "{:.3g}"),
        _or_nothing(figures.share, "{:.0%}"),
        _or_nothing(figures.peak_gib, "{:.1f} GiB"),
        _or_nothing(figures.waiting, "{:.1%}"),
    ]


def _or_nothing(value: float | None, form: str) -> str:
    return NOTHING if value is None else form.format(value)


def _number(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def to_json(outcomes: Sequence[Outcome], about: Mapping[str, object]) -> str:
    """All that is known, for programs."""
    rows = [{"name": outcome.row.name, **asdict(outcome)} for outcome in outcomes]
    return json.dumps({**about, "rows": rows}, indent=1, ensure_ascii=False) + "\n"
