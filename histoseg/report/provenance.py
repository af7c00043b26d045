"""Where a report's numbers come from: data, code, machine and time."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Protocol, runtime_checkable

from histoseg.report import markup
from histoseg.report.header import Header


@runtime_checkable
class Traced(Protocol):
    """A record, of whatever kind."""

    @property
    def header(self) -> Header: ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What tells its run from others of the same kind, for people."""


def say_origin(records: Sequence[Traced]) -> str:
    """A plain statement of what the images are."""
    if not records:
        return "Nothing is finished yet: there are no numbers."
    kinds: dict[str, set[str]] = {}
    for record in records:
        for source, origin in record.header.origins.items():
            kinds.setdefault(origin, set()).add(source)
    if set(kinds) == {"raw"}:
        return f"Real images: {', '.join(sorted(kinds['raw']))}."
    if set(kinds) == {"demo"}:
        return "Demo data drawn by the program: these numbers say nothing about tissue."
    lists = "; ".join(f"{origin}: {', '.join(sorted(sources))}" for origin, sources in sorted(kinds.items()))
    return f"Not all data are real ({lists}): a number that involves demo data says nothing about tissue."


def describe(records: Sequence[Traced]) -> str:
    """Markup: what is common first, then every run on demand."""
    if not records:
        return ""
    wall, gpu = sum_seconds(records)
    headers = [record.header for record in records]
    versions = sorted({f"{name} {version}" for header in headers for name, version in header.versions.items()})
    common = [
        ("Runs", f"{len(headers)}, of {len({header.pretraining for header in headers})} trainings"),
        ("Seeds", _list(header.seed for header in headers)),
        ("Git commit", _list(header.git_commit for header in headers)),
        ("Versions", ", ".join(versions)),
        ("Device", _list(f"{header.world_size} x {header.device}" for header in headers)),
        ("Wall time", f"{format_seconds(wall)} (each training counted once)"),
        ("GPU time", format_seconds(gpu) if gpu else "none"),
        ("Finished", f"{min(h.finished_at for h in headers)} to {max(h.finished_at for h in headers)}"),
    ]
    return markup.definitions(common) + _shards(records) + _runs(records)


def sum_seconds(records: Sequence[Traced]) -> tuple[float, float]:
    """Wall and GPU time in seconds. Runs that share a pretrained model share its time, so that counts once."""
    phases: dict[tuple[str, str], tuple[float, int]] = {}
    for header in (record.header for record in records):
        gpus = header.world_size if header.gpu_seconds else 0
        for phase, seconds in header.seconds.items():
            owner = header.pretraining if phase == "pretrain" else header.cell
            phases[owner, phase] = seconds, gpus
    return sum(s for s, _ in phases.values()), sum(s * gpus for s, gpus in phases.values())


def format_seconds(seconds: float) -> str:
    """The time in the two units that matter: 90061 is "25 h 1 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _list(values: Iterable[str | int]) -> str:
    """What occurs, once each; numbers in the order of numbers."""
    return ", ".join(map(str, sorted(set(values), key=lambda value: (isinstance(value, str), value))))


def _shards(records: Sequence[Traced]) -> str:
    known = sorted(
        {
            (name, record.header.origins.get(name, "?"), checksum)
            for record in records
            for name, checksum in record.header.checksums.items()
        }
    )
    rows = [
        [markup.row_head(name), markup.cell(origin), f"<td><code>{escape(checksum)}</code></td>"]
        for name, origin, checksum in known
    ]
    return markup.folded(
        "Shard checksums",
        markup.table("SHA-256 of the shard index of every source", ["Source", "Origin", "SHA-256"], rows),
    )


def _runs(records: Sequence[Traced]) -> str:
    rows = [
        [markup.row_head(record.header.cell), *map(markup.cell, (*record.facts.values(), *_costs(record.header)))]
        for record in sorted(records, key=lambda record: (*record.facts.values(), record.header.seed))
    ]
    heads = ["Run", *records[0].facts, "Seed", "Training", "Wall", "Device"]
    return markup.folded("Every run", markup.table("Every run behind this page", heads, rows))


def _costs(header: Header) -> tuple[str, ...]:
    return str(header.seed), header.pretraining, format_seconds(sum(header.seconds.values())), header.device
