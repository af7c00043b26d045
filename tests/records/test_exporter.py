"""The exporter: its metrics of whole, old and damaged records, and a store that fails, hangs and comes back."""

import math
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from histoseg import cli
from histoseg.errors import StorageError
from histoseg.records.endpoint import listening
from histoseg.records.exporter import Records
from histoseg.records.schema import StageRecord
from histoseg.store.keys import record_key
from histoseg.store.objects import connect
from ray_jobs import local_store
from tests.report.records import make_fold_record, make_record

NEEDS_PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: Debian's package prometheus has it"
)


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path / 'store'}")


def put(store, *records):
    for record in records:
        key = record_key(record.experiment, record.name)
        assert store.put_if_absent(key, record.model_dump_json().encode())


def changed(record, **changes):
    return record.model_copy(update=changes)


def watch(store, fresh_s=60.0, hung_s=900.0):
    return Records(store, fresh_s, hung_s)


def registry_of(records):
    registry = CollectorRegistry()
    registry.register(records)
    return registry


def shown(records):
    """What Prometheus would read, by series."""
    return series(generate_latest(registry_of(records)).decode())


def series(text):
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


class Counting:
    """A store that remembers what was asked of it."""

    def __init__(self, inner):
        self._inner = inner
        self.url = inner.url
        self.asked = []

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def get(self, key):
        self.asked.append(key)
        return self._inner.get(key)


def test_scores_are_means_over_the_cells_of_a_method_and_task(store):
    put(
        store,
        make_record("glas", "monuseg", miou_pooled=0.5),
        make_record("glas", "breastpathq", miou_pooled=0.6),
        make_record("glas", "monuseg", "transfer", miou_pooled=0.25),
    )
    (records := watch(store)).refresh()
    found = shown(records)
    labels = 'experiment="table1",method="{}",metric="miou_pooled",scale="laptop",task="glas"'
    assert found[f"histoseg_score{{{labels.format('maml')}}}"] == pytest.approx(0.55)  # (0.5 + 0.6) / 2
    assert found[f"histoseg_score{{{labels.format('transfer')}}}"] == 0.25
    assert found['histoseg_records{experiment="table1"}'] == 3
    assert found["histoseg_store_up"] == 1
    assert found["histoseg_records_damaged"] == 0
    assert found["histoseg_store_read_seconds"] > 0


def test_a_run_without_a_column_is_known_by_its_row_and_structures(store):
    put(store, make_fold_record("together", structures=("gland", "tissue"), pq=0.5))
    (records := watch(store)).refresh()
    found = {
        tuple(re.findall(r'(?:method|metric|task)="(.*?)"', name)): value
        for name, value in shown(records).items()
        if name.startswith("histoseg_score")
    }
    # As make_fold_record writes them; sizes, scores of classes and undefined scores are left out.
    assert found == {
        ("together", "pq", "gland"): 0.5,
        ("together", "dice", "gland"): 0.7,
        ("together", "otsu_pq", "gland"): 0.1,
        ("together", "external_pq", "gland"): 0.5,
        ("together", "external_dice", "gland"): 0.7,
        ("together", "external_otsu_pq", "gland"): 0.1,
        ("together", "map", "tissue"): 0.5,
        ("together", "mf1", "tissue"): 0.4,
    }


def test_undefined_scores_and_intervals_are_left_out(store):
    put(
        store, changed(make_record("glas"), scores={"miou_pooled": math.nan, "miou_present": 0.25, "interval_low": 0.2})
    )
    (records := watch(store)).refresh()
    assert [name for name in shown(records) if "metric=" in name] == [
        'histoseg_score{experiment="table1",method="maml",metric="miou_present",scale="laptop",task="glas"}'
    ]


def test_time_of_a_shared_training_counts_once(store):
    """Two cells of 60 s of one training, each with 10 s of its own, on two GPUs."""
    for task in ("glas", "digestpath"):
        stages = (StageRecord(stage="same", label="pretrain"), StageRecord(stage=f"of {task}", label="refine"))
        times = {"seconds": {"pretrain": 60.0, "refine": 10.0}, "gpu_seconds": 140.0, "world_size": 2}
        put(store, changed(make_record(task, "monuseg"), stages=stages, **times))
    (records := watch(store)).refresh()
    # (60 + 10 + 10) s x 2 GPUs
    assert shown(records)['histoseg_gpu_seconds{experiment="table1",method="maml"}'] == 160


def test_the_latest_record_is_told(store):
    put(
        store,
        changed(make_record("glas"), finished_at="2026-03-01T12:00:00Z"),
        changed(make_record("digestpath"), finished_at="2026-03-02T12:00:00Z"),
    )
    (records := watch(store)).refresh()
    # `date -u -d 2026-03-02T12:00:00Z +%s`
    assert shown(records)['histoseg_last_record_timestamp_seconds{experiment="table1"}'] == 1772452800


def test_a_record_is_read_once_and_forgotten_when_it_is_gone(store):
    put(store, first := make_record("glas"))
    records = watch(counting := Counting(store))
    records.refresh()
    put(store, second := make_record("digestpath"))
    records.refresh()
    assert counting.asked == [record_key("table1", record.name) for record in (first, second)]
    store.delete(record_key("table1", first.name))
    records.refresh()
    assert shown(records)['histoseg_records{experiment="table1"}'] == 1


def test_pictures_are_no_records(store):
    put(store, record := make_record("glas"))
    store.put(f"records/table1/panels/{record.name}/a.json", b"no record")
    store.put(f"records/table1/{record.name}.png", b"no record")
    (records := watch(store)).refresh()
    assert shown(records)["histoseg_records_damaged"] == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"format": 2', "not a record: Invalid JSON"),
        (b"\xff\xfe\x00", "not a record"),
        (b"[1, 2]", "not a record"),
        (b'{"format": 2}', "field name is missing"),
    ],
)
def test_a_damaged_record_is_counted_logged_once_and_stops_nothing(store, caplog, body, reason):
    store.put("records/table1/0damaged.json", body)
    put(store, make_record("glas"))
    records = watch(store)
    for _ in range(3):
        records.refresh()
    found = shown(records)
    assert found["histoseg_records_damaged"] == 1
    assert found['histoseg_records{experiment="table1"}'] == 1
    assert found["histoseg_store_up"] == 1
    (line,) = [entry.message for entry in caplog.records if entry.levelname == "ERROR"]
    assert "records/table1/0damaged.json" in line
    assert reason in line


def test_what_was_damaged_counts_once_it_is_mended(store):
    record = make_record("glas")
    key = record_key("table1", record.name)
    store.put(key, b"{")
    (records := watch(store)).refresh()
    store.put(key, record.model_dump_json().encode())
    records.refresh()
    assert shown(records)["histoseg_records_damaged"] == 0
    assert shown(records)['histoseg_records{experiment="table1"}'] == 1


def test_records_of_another_format_are_counted_apart_and_read_once(store, caplog):
    store.put(key := record_key("table1", "0old"), b'{"format": 1, "cell": "0old"}')
    put(store, make_record("glas"))
    records = watch(counting := Counting(store))
    for _ in range(3):
        records.refresh()
    found = shown(records)
    assert (found["histoseg_records_old"], found["histoseg_records_damaged"]) == (1, 0)
    assert found['histoseg_records{experiment="table1"}'] == 1
    assert counting.asked.count(key) == 1
    assert [entry.message for entry in caplog.records] == [f"{key}: record of format 1; evaluate the cell again"]


def test_a_store_that_fails_is_down_and_what_is_known_stays(store, monkeypatch):
    put(store, make_record("glas"))
    (records := watch(store)).refresh()

    def fail(prefix=""):
        raise StorageError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(store, "list", fail)
        records.refresh()
    found = shown(records)
    assert found["histoseg_store_up"] == 0
    assert found['histoseg_records{experiment="table1"}'] == 1
    records.refresh()
    assert shown(records)["histoseg_store_up"] == 1


def test_a_store_that_hangs_is_down_before_the_client_gives_up(store):
    (records := watch(store, fresh_s=1.0)).refresh()
    assert shown(records)["histoseg_store_up"] == 1
    time.sleep(1.1)  # As if a reading had begun that does not end.
    assert shown(records)["histoseg_store_up"] == 0


def test_a_store_that_was_not_read_yet_is_down(store):
    assert shown(watch(store))["histoseg_store_up"] == 0


@NEEDS_PROMTOOL
def test_prometheus_own_linter_has_no_complaint(store):
    put(store, make_record("glas"), make_fold_record())
    (records := watch(store)).refresh()
    text = generate_latest(registry_of(records))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@contextmanager
def exporter(url, *words):
    """The command as a pod runs it, and the address that it says."""
    command = [sys.executable, "-m", "histoseg.cli", "exporter", "--store", url, "--port", "0", "--every", "0.2"]
    with subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stderr.readline()
            yield process, re.search(r"(http://\S+:\d+)/metrics", line)[1]
        finally:
            process.kill()
            process.stderr.read()


def ask(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def wait_for(address, name, value, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while (found := series(ask(f"{address}/metrics"))).get(name) != value:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_it_answers_and_ends_cleanly(store):
    put(store, make_record("glas"))
    with exporter(store.url) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        wait_for(address, 'histoseg_records{experiment="table1"}', 1)
        assert ask(f"{address}/healthz") == "ok\n"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(f"{address}/etc/passwd")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


class Waiting(Counting):
    """A store that answers when it is let to."""

    def __init__(self, inner):
        super().__init__(inner)
        self.may_answer = threading.Event()
        self.answers_s = 0.0

    def get(self, key):
        assert self.may_answer.wait(30)
        time.sleep(self.answers_s)
        return super().get(key)


def health(port):
    """The status and text with which /healthz answers."""
    try:
        return 200, ask(f"http://127.0.0.1:{port}/healthz")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_fails_while_reading_hangs(store):
    put(store, make_record("glas"))
    records = watch(waiting := Waiting(store), hung_s=0.5)
    reader = threading.Thread(target=records.refresh)
    with listening(registry_of(records), lambda: records.is_hung, "127.0.0.1", 0) as port:
        assert health(port) == (200, "ok\n")
        reader.start()
        time.sleep(0.6)
        assert health(port) == (503, "reading has stopped; restart this process\n")
        assert "histoseg_store_up 0.0" in ask(f"http://127.0.0.1:{port}/metrics")
        waiting.may_answer.set()
        reader.join()
        assert health(port) == (200, "ok\n")


def test_a_long_reading_does_not_hang_while_objects_come(store):
    put(store, *(make_record(task) for task in ("glas", "monuseg", "digestpath")))
    records = watch(waiting := Waiting(store), hung_s=1.0)
    waiting.may_answer.set()
    waiting.answers_s = 0.4
    reader = threading.Thread(target=records.refresh)
    reader.start()
    hung = []
    while reader.is_alive():
        hung.append(records.is_hung)
        time.sleep(0.02)
    assert shown(records)["histoseg_store_read_seconds"] >= 1.2  # 3 x 0.4 s, longer than it may stand still
    assert not any(hung)


def test_a_store_that_is_down_does_not_hang(store, monkeypatch):
    def fail(prefix=""):
        raise StorageError("no answer")

    monkeypatch.setattr(store, "list", fail)
    records = watch(store, hung_s=0.1)
    time.sleep(0.2)
    assert records.is_hung  # Nothing was read since it began.
    records.refresh()
    assert not records.is_hung
    assert shown(records)["histoseg_store_up"] == 0


def test_a_port_that_is_taken_is_told(store, capsys):
    with (
        listening(registry_of(watch(store)), lambda: False, "127.0.0.1", 0) as port,
        pytest.raises(SystemExit) as ended,
    ):
        cli.main(["exporter", "--store", store.url, "--port", str(port)])
    assert ended.value.code == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err


def test_no_torch_is_loaded(store):
    """The exporter's image has none, so importing it must not be tried."""
    code = f"import sys; from histoseg.records.exporter import Records; from histoseg.store.objects import connect; \
        Records(connect({store.url!r}), 1.0).refresh(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_an_s3_server_that_goes_and_comes_back(tmp_path, monkeypatch):
    """Records are read from SeaweedFS that stops and starts again."""
    ports = local_store._free_ports()
    monkeypatch.setattr(local_store, "_free_ports", lambda: ports)  # The exporter keeps its address.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")  # The usual nine take half a minute.
    recorded = 'histoseg_records{experiment="table1"}'
    with ExitStack() as server, ExitStack() as others:
        served = server.enter_context(local_store.local_store(tmp_path))
        put(connect(f"{served.url}/part"), make_record("glas"))
        process, address = others.enter_context(exporter(f"{served.url}/part"))
        assert wait_for(address, "histoseg_store_up", 1)[recorded] == 1
        server.close()
        assert wait_for(address, "histoseg_store_up", 0, timeout_s=90)[recorded] == 1
        assert ask(f"{address}/healthz") == "ok\n"
        with local_store.local_store(tmp_path) as again:
            put(connect(f"{again.url}/part"), make_record("digestpath"))
            assert wait_for(address, recorded, 2, timeout_s=60)["histoseg_store_up"] == 1
        process.send_signal(signal.SIGTERM)  # In the midst of asking a store that is gone.
        assert process.wait(timeout=10) == 0
