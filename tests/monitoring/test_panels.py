"""Every panel's query, asked of a real Prometheus that scrapes a real Ray and the exporter on a real S3 server."""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from histoseg.records.endpoint import listening
from histoseg.records.exporter import Records
from histoseg.store.keys import record_key
from histoseg.store.objects import connect
from ray_jobs.local_store import local_store
from tests.monitoring.dashboards import ROOT, panel_queries
from tests.monitoring.prometheus import NEEDS_PROMETHEUS, prometheus
from tests.monitoring.ray_with_gauges import HOLD, REPORT_EVERY_S
from tests.report.records import make_fold_record, make_record

LABELS = {"namespace": "lab", "ray_io_cluster": "table1"}
NEEDS_GPU = "Ray's agent exports it for NVIDIA GPUs only"
FIXED_PORTS = (":44217", ":44227")  # Of autoscaler and dashboard, which any Ray of this machine may have taken
FORGOTTEN_S = 4 * REPORT_EVERY_S  # Ray hands gauges on in one, and forgets them two later if they are not set again.
SHOW_NOTHING_HERE = {
    ("histoseg-cluster", "GPU use"): NEEDS_GPU,
    ("histoseg-cluster", "GPU memory"): NEEDS_GPU,
}


@contextmanager
def ray_with_gauges():
    """A Ray on which a training seems to go on; gives the addresses to scrape, and what to touch so that it stands."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp"))  # Sockets cannot lie deep.
        command = [sys.executable, "-m", "tests.monitoring.ray_with_gauges", folder]
        pipe = subprocess.PIPE
        program = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        stack.callback(program.communicate, timeout=30)
        line = program.stdout.readline()
        assert line, program.stderr.read()
        yield json.loads(line), Path(folder) / HOLD


@contextmanager
def exporter(folder):
    """The exporter in this process, on a SeaweedFS with a record of each kind; gives the address to scrape."""
    with local_store(folder) as served:
        store = connect(f"{served.url}/part")
        for record in (make_record("glas"), make_fold_record()):
            store.put(record_key(record.experiment, record.name), record.model_dump_json().encode())
        records = Records(store, fresh_s=600.0)
        records.refresh()
        metrics = CollectorRegistry()
        metrics.register(records)
        with listening(metrics, lambda: False, "127.0.0.1", 0) as port:
            yield f"127.0.0.1:{port}"


@NEEDS_PROMETHEUS
@pytest.mark.slow
def test_every_panel_shows_something(tmp_path):
    with exporter(tmp_path / "store") as results, ray_with_gauges() as (ray, hold):
        agents = [address for address in ray if not address.endswith(FIXED_PORTS)]
        jobs = {"histoseg-exporter": [results], "histoseg-ray": agents}
        until_all_is_there = time.monotonic() + 150  # A busy machine took 40 s until Ray gave anything.
        with prometheus(jobs, tmp_path / "prometheus", LABELS) as server:
            shown = [panel for panel in panel_queries() if panel[:2] not in SHOW_NOTHING_HERE]
            for *_, query in shown:
                server.wait_for(query, timeout_s=until_all_is_there - time.monotonic())
            hold.touch()
            time.sleep(FORGOTTEN_S)
            found = {panel: server.query(panel[2]) for panel in panel_queries()}
            down = {target["scrapeUrl"]: target["lastError"] for target in server.targets() if target["lastError"]}
    assert not down
    assert {panel[:2] for panel, series in found.items() if not series} == SHOW_NOTHING_HERE.keys()
