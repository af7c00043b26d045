"""The records of a store as Prometheus metrics: `histoseg exporter --store s3://bucket/prefix`.

It only reads, and each record once: a record never changes. What it says is therefore what the tables will say.
"""

import json
import logging
import math
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from socketserver import ThreadingTCPServer
from statistics import fmean
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, MetricsHandler
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from histoseg.errors import ConfigError, DataError, StorageError
from histoseg.report.fields import Part, mapping, score, text
from histoseg.report.header import Header, read_header
from histoseg.store.objects import Store

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

PREFIX = "records/"
PATIENCE_S = 60.0  # A reading may take this long beyond its turn before the store counts as down.
HUNG_S = 900.0  # No object is asked for so long: each answer has a time limit, and attempts are counted.


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is exported of one record.

    Attributes:
        method: The method of a run that leaves one task out, the row of a run over folds: what a table compares.
        scores: By task (or structure) and metric; what is undefined is left out.
        finished_s: When it was recorded, in seconds since 1970.
    """

    header: Header
    method: str
    scores: Mapping[tuple[str, str], float]
    finished_s: float

    @property
    def facts(self) -> Mapping[str, str]:
        """What tells this run from others, for people."""
        return {"Experiment": self.header.experiment, "Method": self.method}


def read_entry(body: bytes, key: str) -> Entry:
    """The entry of a record's bytes.

    Raises:
        DataError: If it is no record; the text names its key.
    """
    try:
        whole = Part(mapping(json.loads(body)), key)
        header = read_header(whole)
        finished_s = datetime.fromisoformat(header.finished_at).timestamp()
    except ValueError as error:
        raise DataError(f"{key}: no record: {error}") from error
    run = whole.part("run")
    if "row" in run.values:
        method, scores = run.get("row", text), _fold_scores(whole.named_parts("scores"))
    else:
        method = run.part("method").get("name", text)
        task = run.get("new_task", text)
        scores = {(task, name): value for name, value in _numbers(whole.part("scores"))}
    return Entry(header=header, method=method, scores=scores, finished_s=finished_s)


def _fold_scores(splits: Mapping[str, Part]) -> dict[tuple[str, str], float]:
    """Scores of a run over folds; those of an external test set are metrics of their own, such as external_pq."""
    return {
        (structure, name if split == "test" else f"{split}_{name}"): value
        for split, part in splits.items()
        for structure in part.values
        for name, value in _numbers(part.part(structure))
    }


def _numbers(scores: Part) -> Iterator[tuple[str, float]]:
    """The scores that are one number, and defined."""
    for name, value in scores.values.items():
        if value is not None and not isinstance(value, list) and not name.startswith("num_"):
            yield name, scores.get(name, score)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is known of a store at a moment; a new reading replaces it whole.

    Attributes:
        entries: What was read, by key.
        damaged: What is wrong with each record that is none, by key.
        store_up: Whether the latest reading reached its end.
        at_s: When the latest one that did began, on the monotonic clock; -inf if none did yet.
        seconds: How long the latest reading took.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)
    store_up: bool = False
    at_s: float = -math.inf
    seconds: float = 0.0


class Records(Collector):
    """A store's records, read again now and then, and what they say whenever Prometheus asks.

    Args:
        store: Where the records lie.
        fresh_s: How old a reading may be; a store that does not answer is down before the client gives up on it.
        hung_s: How long there may be neither an object nor the end of a reading; a store that is down ends one too.
    """

    def __init__(self, store: Store, fresh_s: float, hung_s: float = HUNG_S) -> None:
        self._store = store
        self._fresh_s = fresh_s
        self._hung_s = hung_s
        self._reading = Reading()  # Replaced by one thread, read by others; so is the next.
        self._moved_s = time.monotonic()

    @property
    def is_hung(self) -> bool:
        """Whether nothing is read any more, which only a new process would mend."""
        return time.monotonic() - self._moved_s > self._hung_s

    def refresh(self) -> None:
        """Read what is new; if the store cannot be read, what is known stays."""
        begin, before = time.monotonic(), self._reading
        entries, damaged = dict(before.entries), dict(before.damaged)
        try:
            keys = [key for key in self._store.list(PREFIX) if _is_record(key)]
            entries = {key: entries[key] for key in keys if key in entries}
            damaged = {key: damaged[key] for key in keys if key in damaged}
            for key in keys:
                self._moved_s = time.monotonic()
                if key not in entries:
                    self._read(key, entries, damaged)
            is_up = True
        except StorageError as error:
            logger.warning("%s", error)
            is_up = False
        self._moved_s = time.monotonic()
        self._reading = Reading(
            entries=entries,
            damaged=damaged,
            store_up=is_up,
            at_s=begin if is_up else before.at_s,
            seconds=self._moved_s - begin,
        )

    def _read(self, key: str, entries: dict[str, Entry], damaged: dict[str, str]) -> None:
        """Take in one record. A damaged one is read again each time, for somebody may mend it, but told once."""
        try:
            entries[key] = read_entry(self._store.get(key), key)
            damaged.pop(key, None)
        except DataError as error:
            if damaged.get(key) != str(error):
                logger.error("%s", error)
            damaged[key] = str(error)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics as of the latest reading."""
        reading = self._reading
        is_fresh = time.monotonic() - reading.at_s <= self._fresh_s
        yield _gauge("store_up", "1 if the records could be read.", {(): float(reading.store_up and is_fresh)})
        yield _gauge("store_read_seconds", "How long the latest reading took.", {(): reading.seconds})
        yield _gauge("records_damaged", "Records that are none; the log names them.", {(): float(len(reading.damaged))})
        yield from _of_entries(list(reading.entries.values()))


def _is_record(key: str) -> bool:
    """Whether the key is records/<experiment>/<cell>.json; pictures lie deeper."""
    return key.count("/") == 2 and key.endswith(".json")


def _of_entries(entries: Sequence[Entry]) -> Iterator[GaugeMetricFamily]:
    from histoseg.report.provenance import sum_seconds

    by_experiment = _grouped(((entry.header.experiment,), entry) for entry in entries)
    by_method = _grouped(((entry.header.experiment, entry.method), entry) for entry in entries)
    by_score = _grouped(
        ((entry.header.experiment, entry.header.scale, entry.method, *name), value)
        for entry in entries
        for name, value in entry.scores.items()
    )
    yield _gauge(
        "records",
        "Cells that have a record.",
        {key: float(len(found)) for key, found in by_experiment.items()},
        ("experiment",),
    )
    yield _gauge(
        "last_record_timestamp_seconds",
        "When the latest record was written.",
        {key: max(entry.finished_s for entry in found) for key, found in by_experiment.items()},
        ("experiment",),
    )
    yield _gauge(
        "gpu_seconds",
        "GPU time of what is recorded; a training that records share counts once.",
        {key: float(sum_seconds(found)[1]) for key, found in by_method.items()},
        ("experiment", "method"),
    )
    yield _gauge(
        "score",
        "Mean over the cells that are recorded.",
        {key: fmean(found) for key, found in by_score.items()},
        ("experiment", "scale", "method", "task", "metric"),
    )


def _grouped(pairs: Iterable[tuple[tuple[str, ...], Item]]) -> dict[tuple[str, ...], list[Item]]:
    groups: dict[tuple[str, ...], list[Item]] = {}
    for key, item in pairs:
        groups.setdefault(key, []).append(item)
    return groups


def _gauge(
    name: str, text: str, values: Mapping[tuple[str, ...], float], labels: tuple[str, ...] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"histoseg_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


class _Answers(MetricsHandler):
    """What is served: /metrics, and /healthz for whoever restarts what hangs."""

    timeout = 30  # Seconds after which a silent client is left.
    records: Records

    def do_GET(self) -> None:  # noqa: N802 - the name by which http.server finds it
        path = urlsplit(self.path).path
        if path == "/metrics":
            super().do_GET()
            return
        status, body = HTTPStatus.NOT_FOUND, "choose /metrics or /healthz"
        if path == "/healthz":
            status, body = HTTPStatus.OK, "ok"
            if self.records.is_hung:
                status, body = HTTPStatus.SERVICE_UNAVAILABLE, "nothing is read any more; start this process again"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(f"{body}\n".encode())


@contextmanager
def listening(records: Records, host: str, port: int) -> Iterator[int]:
    """An HTTP server in the background, for as long as this lasts; gives its port, which is chosen if 0 is asked for.

    Raises:
        ConfigError: If it cannot listen there.
    """
    collectors, source = CollectorRegistry(), records
    collectors.register(records)

    class Answers(_Answers):
        registry = collectors
        records = source

    class Server(ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        allow_reuse_address = True
        daemon_threads = True

    try:
        server = Server((host, port), Answers)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; choose --host or --port") from error
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()


def serve(store: Store, host: str, port: int, every_s: float) -> NoReturn:
    """Read and answer until SIGTERM, which is a clean end.

    Raises:
        ConfigError: If it cannot listen there.
    """
    signal.signal(signal.SIGTERM, _end)
    records = Records(store, fresh_s=every_s + PATIENCE_S, hung_s=every_s + HUNG_S)
    with listening(records, host, port) as chosen:
        logger.info("records of %s: http://%s:%d/metrics, read every %g s", store.url, host, chosen, every_s)
        while True:
            records.refresh()
            time.sleep(every_s)


def _end(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)
