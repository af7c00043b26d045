"""The records of a store as Prometheus metrics: `histoseg exporter --store s3://bucket/prefix`.

The exporter only reads. It reads each record once, because a record never changes.
"""

import logging
import math
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean
from typing import NoReturn, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from histoseg.errors import DataError, OldRecordError, StorageError
from histoseg.records.cost import Times, times, total_seconds
from histoseg.records.endpoint import listening
from histoseg.records.read import read_record
from histoseg.records.schema import Record
from histoseg.store.keys import is_record_key
from histoseg.store.objects import Store

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

PREFIX = "records/"
PATIENCE_S = 60.0  # A reading may take this long beyond its turn before the store counts as down.
HUNG_S = 900.0  # A reading that gets no object for this long hangs: requests have time limits and few attempts.


@dataclass(frozen=True, kw_only=True)
class ExportedRecord:
    """The part of a record that is exported.

    Attributes:
        method: The way of training that the table compares.
        scores: By task (or structure) and metric, without undefined ones.
        finished_s: Seconds since 1970.
    """

    experiment: str
    scale: str
    method: str
    scores: Mapping[tuple[str, str], float]
    finished_s: float
    times: Times


def exported(record: Record) -> ExportedRecord:
    """The part of a record that is exported.

    A run with a column names its method last in the column, and its task is the row. A run without one has its method
    as row.
    """
    defined = {name: value for name, value in record.scores.items() if not math.isnan(value)}
    return ExportedRecord(
        experiment=record.experiment,
        scale=record.scale,
        method=record.column.rpartition(".")[2] or record.row,
        scores={_task_and_metric(record, name): value for name, value in defined.items() if "interval_" not in name},
        finished_s=datetime.fromisoformat(record.finished_at).timestamp(),
        times=times(record),
    )


def _task_and_metric(record: Record, name: str) -> tuple[str, str]:
    """For "test.gland.pq" gland and pq; scores of other splits are metrics of their own, such as external_pq."""
    if record.column or name.count(".") != 2:
        return record.row, name
    split, structure, score = name.split(".")
    return structure, score if split == "test" else f"{split}_{score}"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is known of a store at a moment. A new reading replaces it as a whole.

    Attributes:
        records, faults: The records that could be read, and the errors of the others, by key.
        store_up: Whether the latest reading reached its end.
        at_s: Start of the latest complete reading on the monotonic clock; -inf before the first.
    """

    records: Mapping[str, ExportedRecord] = field(default_factory=dict)
    faults: Mapping[str, DataError] = field(default_factory=dict)
    store_up: bool = False
    at_s: float = -math.inf
    seconds: float = 0.0


class Records(Collector):
    """A store's records, read again from time to time, as metrics for each request of Prometheus.

    When a reading is older than `fresh_s`, the store counts as down, even if a reading still waits. Without an object
    or the end of a reading for `hung_s`, the process counts as hung.
    """

    def __init__(self, store: Store, fresh_s: float, hung_s: float = HUNG_S) -> None:
        self._store = store
        self._fresh_s = fresh_s
        self._hung_s = hung_s
        self._reading = Reading()  # Replaced by one thread, read by others; so is the next.
        self._moved_s = time.monotonic()

    @property
    def is_hung(self) -> bool:
        """Whether reading has stopped, so that this process must be restarted."""
        return time.monotonic() - self._moved_s > self._hung_s

    def refresh(self) -> None:
        """Read new records. If the store cannot be read, the known ones stay."""
        begin, before = time.monotonic(), self._reading
        records, faults = dict(before.records), dict(before.faults)
        try:
            keys = [key for key in self._store.list(PREFIX) if is_record_key(key)]
            records = {key: records[key] for key in keys if key in records}
            faults = {key: faults[key] for key in keys if key in faults}
            for key in keys:
                self._moved_s = time.monotonic()
                if key not in records and not isinstance(faults.get(key), OldRecordError):
                    self._read(key, records, faults)
            is_up = True
        except StorageError as error:
            logger.warning("%s", error)
            is_up = False
        self._moved_s = time.monotonic()
        self._reading = Reading(
            records=records,
            faults=faults,
            store_up=is_up,
            at_s=begin if is_up else before.at_s,
            seconds=self._moved_s - begin,
        )

    def _read(self, key: str, records: dict[str, ExportedRecord], faults: dict[str, DataError]) -> None:
        """Read one record. A damaged one is read each time, as it may be mended, but logged once."""
        try:
            records[key] = exported(read_record(self._store.get(key), key))
            faults.pop(key, None)
        except DataError as error:
            if str(faults.get(key)) != str(error):
                logger.log(logging.WARNING if isinstance(error, OldRecordError) else logging.ERROR, "%s", error)
            faults[key] = error

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics as of the latest reading."""
        reading = self._reading
        is_fresh = time.monotonic() - reading.at_s <= self._fresh_s
        num_old = sum(isinstance(fault, OldRecordError) for fault in reading.faults.values())
        yield _gauge("store_up", "1 if the records could be read.", {(): float(reading.store_up and is_fresh)})
        yield _gauge("store_read_seconds", "Duration of the latest reading.", {(): reading.seconds})
        yield _gauge(
            "records_damaged", "Records that could not be parsed; see the log.", {(): len(reading.faults) - num_old}
        )
        yield _gauge("records_old", "Records of another format, which no table shows.", {(): num_old})
        yield from _of_records(list(reading.records.values()))


def _of_records(records: Sequence[ExportedRecord]) -> Iterator[GaugeMetricFamily]:
    by_experiment = _grouped(((one.experiment,), one) for one in records)
    by_method = _grouped(((one.experiment, one.method), one) for one in records)
    by_score = _grouped(
        ((one.experiment, one.scale, one.method, *name), value) for one in records for name, value in one.scores.items()
    )
    yield _gauge(
        "records",
        "Cells that have a record.",
        {key: len(found) for key, found in by_experiment.items()},
        ("experiment",),
    )
    yield _gauge(
        "last_record_timestamp_seconds",
        "Time of the latest record.",
        {key: max(one.finished_s for one in found) for key, found in by_experiment.items()},
        ("experiment",),
    )
    yield _gauge(
        "gpu_seconds",
        "GPU time of all records; a training that records share counts once.",
        {key: total_seconds(one.times for one in found)[1] for key, found in by_method.items()},
        ("experiment", "method"),
    )
    yield _gauge(
        "score",
        "Mean over the cells that have a record.",
        {key: fmean(found) for key, found in by_score.items()},
        ("experiment", "scale", "method", "task", "metric"),
    )


def _grouped(pairs: Iterable[tuple[tuple[str, ...], Item]]) -> dict[tuple[str, ...], list[Item]]:
    groups: dict[tuple[str, ...], list[Item]] = {}
    for key, item in pairs:
        groups.setdefault(key, []).append(item)
    return groups


def _gauge(
    name: str, text: str, values: Mapping[tuple[str, ...], float | int], labels: tuple[str, ...] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"histoseg_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def serve(store: Store, host: str, port: int, every_s: float) -> NoReturn:
    """Read and answer until SIGTERM, which ends the process with status 0."""
    signal.signal(signal.SIGTERM, _end)
    records = Records(store, fresh_s=every_s + PATIENCE_S, hung_s=every_s + HUNG_S)
    metrics = CollectorRegistry()
    metrics.register(records)
    with listening(metrics, lambda: records.is_hung, host, port) as chosen:
        logger.info("records of %s: http://%s:%d/metrics, read every %g s", store.url, host, chosen, every_s)
        while True:
            records.refresh()
            time.sleep(every_s)


def _end(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)
