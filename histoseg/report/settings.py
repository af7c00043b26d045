"""Which settings the records of an experiment have, for a report that finds none with those that were asked for."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from histoseg.errors import DataError
from histoseg.records.read import read_record
from histoseg.records.schema import Record
from histoseg.runs.config import Run
from histoseg.runs.names import to_json
from histoseg.store.keys import is_record_key, records_folder
from histoseg.store.objects import Store

MAX_READ = 100  # Records that are looked at: a store may hold thousands.
PLACE = ("experiment", "row", "column", "part", "division", "seed")  # What tells runs of the same settings apart


def describe_settings(experiment: str, runs: Sequence[Run], store: Store) -> list[str]:
    """A sentence for each way in which records of an experiment differ from its planned runs; most frequent first."""
    planned = {_place(to_json(run)): to_json(run) for run in runs}
    keys = [key for key in store.list(records_folder(experiment)) if is_record_key(key)]
    found = Counter(_difference(record, planned) for record in _read(keys[:MAX_READ], store))
    return [f"{count} records of {experiment} are there with {text}" for text, count in found.most_common()]


def _read(keys: Sequence[str], store: Store) -> Iterator[Record]:
    for key in keys:
        try:
            yield read_record(store.get(key), f"{store.url}/{key}")
        except DataError:  # The report has named it, or it is of another format.
            continue


def _place(run: Mapping[str, JsonValue]) -> tuple[JsonValue, ...]:
    return tuple(run.get(name) for name in PLACE)


def _difference(record: Record, planned: Mapping[tuple[JsonValue, ...], Mapping[str, JsonValue]]) -> str:
    """What must be asked for to have a record in the report."""
    other = planned.get(_place(record.run))
    if record.run.get("scale") not in {run["scale"] for run in planned.values()}:
        return f"--scale {record.run.get('scale')}"
    if other is None:
        return "rows, columns or seeds that are not planned here, as other sources were prepared or --seeds was higher"
    here, there = dict(_flat(other)), dict(_flat(record.run))
    sets = [f"--set {name}={value}" for name, value in there.items() if here.get(name) != value]
    return " ".join(sets) or "the same settings but other shards: the sources were prepared again since"


def _flat(run: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each setting of a run as the path that `--set` takes and its value."""
    for name, value in run.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif name == "stages" and isinstance(value, list):
            for number, stage in enumerate(value):
                if isinstance(stage, dict):
                    yield from _flat(stage, f"{stage['label']}." if number else "")
        else:
            yield f"{prefix}{name}", str(value).replace(" ", "")
