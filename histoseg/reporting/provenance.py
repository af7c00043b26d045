"""Where a report's numbers come from: data, code, machine and time."""

from collections.abc import Iterable, Sequence
from html import escape

from histoseg.reporting import markup
from histoseg.reporting.records import Record


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


def describe(records: Sequence[Record]) -> str:
    """Markup: what is common first, then every run on demand."""
    if not records:
        return ""
    wall, gpu = sum_seconds(records)
    versions = sorted({f"{name} {version}" for record in records for name, version in record.versions.items()})
    common = [
        ("Runs", f"{len(records)}, of {len({record.pretraining for record in records})} pretrained models"),
        ("Seeds", _list(record.seed for record in records)),
        ("Git commit", _list(record.git_commit for record in records)),
        ("Versions", ", ".join(versions)),
        ("Device", _list(f"{record.world_size} x {record.device}" for record in records)),
        ("Wall time", f"{format_seconds(wall)} (each pretraining counted once)"),
        ("GPU time", format_seconds(gpu) if gpu else "none"),
        ("Finished", f"{min(r.finished_at for r in records)} to {max(r.finished_at for r in records)}"),
    ]
    return markup.definitions(common) + _shards(records) + _runs(records)


def sum_seconds(records: Sequence[Record]) -> tuple[float, float]:
    """Wall and GPU time in seconds. Runs that share a pretrained model share its time, so that counts once."""
    phases: dict[tuple[str, str], tuple[float, int]] = {}
    for record in records:
        gpus = record.world_size if record.gpu_seconds else 0
        for phase, seconds in record.seconds.items():
            owner = record.pretraining if phase == "pretrain" else record.cell
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


def _shards(records: Sequence[Record]) -> str:
    known = sorted(
        {
            (name, record.origins.get(name, "?"), checksum)
            for record in records
            for name, checksum in record.checksums.items()
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


def _runs(records: Sequence[Record]) -> str:
    heads = [
        "Run",
        "New task",
        "Predecessors",
        "Method",
        "Seed",
        "Pretraining",
        "Test images",
        "Epoch",
        "Wall",
        "Device",
    ]
    rows = [
        [
            markup.row_head(record.cell),
            *map(
                markup.cell,
                (
                    record.address.new_task,
                    ", ".join(record.predecessors),
                    record.address.method,
                    str(record.seed),
                    record.pretraining,
                    str(len(record.test_images)),
                    str(record.best_epoch),
                    format_seconds(sum(record.seconds.values())),
                    record.device,
                ),
            ),
        ]
        for record in sorted(records, key=lambda r: (r.address, r.seed))
    ]
    return markup.folded("Every run", markup.table("Every run behind this page", heads, rows))
