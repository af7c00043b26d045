"""Where a report's numbers come from: data, code, machine and time."""

from collections.abc import Iterable, Sequence

from histoseg.records.cost import times, total_seconds
from histoseg.records.schema import Record
from histoseg.report.section import Listing, Section
from histoseg.report.table import Table


def say_origin(records: Sequence[Record]) -> str:
    """A plain statement of what the images are."""
    if not records:
        return "Nothing is finished yet: there are no numbers."
    kinds: dict[str, set[str]] = {}
    for record in records:
        for source, origin in record.origins.items():
            kinds.setdefault(origin, set()).add(source)
    if set(kinds) == {"raw"}:
        return f"Real images: {', '.join(sorted(kinds['raw']))}."
    if set(kinds) == {"demo"}:
        return "Demo data drawn by the program: these numbers say nothing about tissue."
    lists = "; ".join(f"{origin}: {', '.join(sorted(sources))}" for origin, sources in sorted(kinds.items()))
    return f"Not all data are real ({lists}): a number that involves demo data says nothing about tissue."


Note = tuple[str, str, int]  # A source, what reading its files left out or changed, and how often


def describe_origin(table: Table, notes: Sequence[Note] = ()) -> Section:
    """What is common first, then what reading changed, and every source and every run on demand."""
    facts = _facts(table.records) if table.records else ()
    listings = (*_notes(notes), *((_shards(table.records), _runs(table)) if table.records else ()))
    return Section(name="provenance", heading="Where the numbers come from", facts=facts, listings=listings)


def _facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    wall, gpu = total_seconds(times(record) for record in records)
    trainings = {stage.stage for record in records for stage in record.stages}
    finished = sorted(record.finished_at for record in records)
    return [
        ("Runs", f"{len(records)}, of {len(trainings)} trainings"),
        ("Seeds", ", ".join(map(str, sorted({record.seed for record in records})))),
        ("Git commit", _list(record.git_commit for record in records)),
        ("Versions", _list(f"{name} {version}" for record in records for name, version in record.versions.items())),
        ("Device", _list(f"{record.world_size} x {record.device}" for record in records)),
        ("Scored in", _list(_scored_in(record) for record in records)),
        ("Wall time", f"{format_seconds(wall)} (each training counted once)"),
        ("GPU time", format_seconds(gpu) if gpu else "none"),
        ("Finished", f"{finished[0]} to {finished[-1]}"),
    ]


def _scored_in(record: Record) -> str:
    """The precision that the network was scored in; older records do not state it."""
    return {"fp32": "float32", "bf16": "bfloat16"}.get(record.precision, "the precision of its training (not stated)")


def format_seconds(seconds: float) -> str:
    """The time in the two units that matter: 90061 is "25 h 1 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _list(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


def _shards(records: Sequence[Record]) -> Listing:
    known = {
        (name, record.origins.get(name, "?"), checksum)
        for record in records
        for name, checksum in record.checksums.items()
    }
    return Listing(
        summary="Shard checksums",
        caption="SHA-256 of the shard index of every source",
        heads=("Source", "Origin", "SHA-256"),
        kinds=("head", "text", "code"),
        rows=sorted(known),
    )


def _notes(notes: Sequence[Note]) -> tuple[Listing, ...]:
    listing = Listing(
        caption="What reading the files left out or changed",
        heads=("Source", "What", "How often"),
        kinds=("head", "text", "number"),
        rows=[(source, text, f"{count:,}") for source, text, count in sorted(notes)],
    )
    return (listing,) if notes else ()


def _runs(table: Table) -> Listing:
    rows = [
        (
            record.name,
            *table.spec.place_of(record),
            record.replicate,
            ", ".join(record.sources),
            ", ".join(f"{stage.label} {stage.stage}" for stage in record.stages),
            ", ".join(str(stage.best_step) for stage in record.stages),
            format_seconds(sum(record.seconds.values())),
            record.device,
        )
        for record in table.records
    ]
    spec = table.spec
    heads = ("Run", spec.row_name, spec.column_name, "Replicate", "Sources", "Trainings", "Steps", "Wall", "Device")
    caption = "Every run behind this page"
    kinds = ("head", *("text",) * (len(heads) - 1))
    return Listing(summary="Every run", caption=caption, heads=heads, kinds=kinds, rows=rows)
