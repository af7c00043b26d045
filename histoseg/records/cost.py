"""The time behind records: a training that several records share counts once."""

from collections.abc import Iterable

from histoseg.records.schema import Record

Times = dict[tuple[str, str], tuple[float, int]]


def times(record: Record) -> Times:
    """Seconds and number of GPUs, by phase and by the stage or run that owns the phase."""
    gpus = record.world_size if record.gpu_seconds else 0
    stages = {stage.label: stage.stage for stage in record.stages}
    return {(stages.get(phase, record.name), phase): (seconds, gpus) for phase, seconds in record.seconds.items()}


def total_seconds(parts: Iterable[Times]) -> tuple[float, float]:
    """Wall time and GPU time of all together, in seconds."""
    merged: Times = {}
    for part in parts:
        merged |= part
    return sum(seconds for seconds, _ in merged.values()), sum(seconds * gpus for seconds, gpus in merged.values())
