"""Each alert on made-up series, by Prometheus' own rule tester: it fires when it should, and not when nearly so.

Series are in promtool's notation, a sample a minute: `0+2x10` is 0, 2, … 20, `5x10` is 5 eleven times, `_` is none.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass

import pytest
import yaml

from tests.monitoring.dashboards import CHART, METRICS, ROOT, metric_names

NEEDS_PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: Debian's package prometheus has it"
)
FILES = sorted((CHART / "rules").glob("*.yaml"))
RULES = {
    rule["alert"]: rule
    for path in FILES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
}
WHERE = 'namespace="lab",ray_io_cluster="table1"'
CELLS = (f"ray_histoseg_cells{{{WHERE}}}", "12x2000")
HALF = (f"ray_histoseg_cells_recorded{{{WHERE}}}", "6x2000")
ALL = (f"ray_histoseg_cells_recorded{{{WHERE}}}", "12x2000")


def gauge(name, values, labels='run="abcdef12",label="pretrain",method="maml",WorkerId="w1"'):
    return f"ray_histoseg_{name}{{{WHERE},{labels}}}", values


def node(name, values, ip="10.0.0.1", more=""):
    return f'ray_node_{name}{{{WHERE},ip="{ip}"{more}}}', values


def slides(name, values):
    return gauge("slides" if name == "slides" else f"slides_{name}", values, 'WorkerId="w0"')


STEPPING = gauge("step", "0+5x2000")
STEPS = gauge("steps", "20000x2000")
RUN = 'run="abcdef12"'
DRIVER = 'WorkerId="w0"'
JOB = 'kuberay_job_deployment_status{namespace="lab",name="table1-0123abcd",deployment_status="Failed"}'
BEGUN = gauge("training_start_time_seconds", "7x2000", RUN)
WORKING = gauge("workers_start_time_seconds", "9x2000", f'{RUN},WorkerId="w1"')
COHORT = (slides("slides", "9x60"), slides("done", "3x60"), slides("failed", "1x60"))
GPU = ',GpuIndex="0"'


@dataclass(frozen=True)
class Case:
    alert: str
    story: str
    series: tuple
    minutes: int
    firing: int


CASES = [
    Case("HistosegTrainingStalled", "steps stop after 10 minutes", (STEPS, gauge("step", "0+5x10 50x60")), 27, 1),
    Case("HistosegTrainingStalled", "14 minutes without a step", (STEPS, gauge("step", "0+5x10 50x60")), 24, 0),
    Case("HistosegTrainingStalled", "it goes on", (STEPS, STEPPING), 60, 0),
    Case("HistosegTrainingStalled", "its process is gone", (STEPS, gauge("step", "0+5x10 50x20 stale")), 34, 0),
    Case(
        "HistosegTrainingStalled",
        "the process has gone on to another training",
        (STEPS, gauge("step", "50x20 stale"), gauge("step", "_x20 0+1x60", f'{RUN},label="refine",WorkerId="w1"')),
        25,
        0,
    ),
    Case(
        "HistosegTrainingStalled",
        "a new process has just begun where one was lost",
        (STEPS, gauge("step", "0+5x20 stale"), gauge("step", "_x20 90x5", f'{RUN},label="pretrain",WorkerId="w2"')),
        25,
        0,
    ),
    Case(
        "HistosegTrainingStalled",
        "all steps are done, and it scores images",
        (gauge("step", "0+5x10 50x60"), gauge("steps", "50x80")),
        40,
        0,
    ),
    Case("HistosegTrainingStalled", "no step in the first 61 minutes", (WORKING,), 62, 1),
    Case("HistosegTrainingStalled", "no step in the first 59 minutes", (WORKING,), 59, 0),
    Case("HistosegTrainingStalled", "a first step after 50 minutes", (WORKING, gauge("step", "_x50 0+1x60")), 70, 0),
    Case("HistosegTrainingStalled", "it has only just begun", (STEPS, gauge("step", "_x20 0x60")), 30, 0),
    Case("HistosegNoCellRecorded", "12 hours", (CELLS, HALF), 721, 1),
    Case("HistosegNoCellRecorded", "11 hours", (CELLS, HALF), 660, 0),
    Case("HistosegNoCellRecorded", "all are recorded", (CELLS, ALL), 1000, 0),
    Case(
        "HistosegNoCellRecorded",
        "one after 6 hours",
        (CELLS, (HALF[0], "6x360 7x2000")),
        721,
        0,
    ),
    Case("HistosegGroupFailed", "one of many", (gauge("groups_failed", "0x5 1x20", DRIVER),), 7, 1),
    Case(
        "HistosegGroupFailed",
        "the last, and the job ended",
        (gauge("groups_failed", "0 1 stale", DRIVER),),
        10,
        1,
    ),
    Case("HistosegGroupFailed", "none", (gauge("groups_failed", "0x20", DRIVER),), 10, 0),
    Case("HistosegSlideFailed", "one of many", (gauge("slides_failed", "0x5 1x20", DRIVER),), 7, 1),
    Case("HistosegSlideFailed", "none", (gauge("slides_failed", "0x20", DRIVER),), 10, 0),
    Case("HistosegSlidesStalled", "no region for 31 minutes", (*COHORT, slides("mm2", "0+2x10 20x40")), 41, 1),
    Case("HistosegSlidesStalled", "no region for 29 minutes", (*COHORT, slides("mm2", "0+2x10 20x40")), 39, 0),
    Case("HistosegSlidesStalled", "it goes on", (*COHORT, slides("mm2", "0+2x60")), 50, 0),
    Case(
        "HistosegSlidesStalled",
        "all are done but one that failed",
        (slides("slides", "9x60"), slides("done", "8x60"), slides("failed", "1x60"), slides("mm2", "20x60")),
        50,
        0,
    ),
    Case("HistosegLoaderWait", "a third", (STEPPING, gauge("loader_wait_fraction", "0.34x60")), 25, 1),
    Case("HistosegLoaderWait", "a quarter", (STEPPING, gauge("loader_wait_fraction", "0.25x60")), 25, 0),
    Case("HistosegLoaderWait", "for 9 minutes", (STEPPING, gauge("loader_wait_fraction", "0.34x60")), 10, 0),
    Case("HistosegLoaderWait", "for a moment", (STEPPING, gauge("loader_wait_fraction", "0.1x20 0.9 0.1x60")), 30, 0),
    Case(
        "HistosegLoaderWait",
        "a training that is over",
        (gauge("step", "50x60"), gauge("loader_wait_fraction", "0.9x60")),
        25,
        0,
    ),
    Case("HistosegGpuIdle", "unused for 31 minutes", (node("gpus_utilization", "2x60", more=GPU),), 31, 1),
    Case("HistosegGpuIdle", "for 29 minutes", (node("gpus_utilization", "2x60", more=GPU),), 29, 0),
    Case("HistosegGpuIdle", "busy", (node("gpus_utilization", "90x60", more=GPU),), 31, 0),
    Case("HistosegGpuIdle", "busy now and then", (node("gpus_utilization", "2x20 90 2x60", more=GPU),), 45, 0),
    Case(
        "HistosegRestartsOften",
        "three in an hour, a process each",
        tuple(
            gauge("workers_start_time_seconds", f"_x{10 * i} {600 * i}x9 stale", f'{RUN},WorkerId="w{i}"')
            for i in range(1, 5)
        ),
        45,
        1,
    ),
    Case(
        "HistosegRestartsOften",
        "three first starts",
        tuple(
            gauge("workers_start_time_seconds", f"_x{10 * i} {600 * i}x9 stale", f'run="{i}",WorkerId="w{i}"')
            for i in range(1, 5)
        ),
        45,
        0,
    ),
    Case(
        "HistosegRestartsOften",
        "three in three hours",
        (gauge("workers_start_time_seconds", "5x50 11x60 18x60 25x60", RUN),),
        175,
        0,
    ),
    Case("HistosegTrainingWaits", "for workers, for 31 minutes", (BEGUN,), 31, 1),
    Case("HistosegTrainingWaits", "for 29 minutes", (BEGUN,), 29, 0),
    Case("HistosegTrainingWaits", "it has workers", (BEGUN, WORKING), 60, 0),
    Case("HistosegTrainingWaits", "its workers were lost", (BEGUN, (WORKING[0], "9x20 stale")), 52, 1),
    Case("HistosegNotScraped", "no pod answers", ((f'up{{job="histoseg-ray",{WHERE}}}', "1 0x60"),), 12, 1),
    Case(
        "HistosegNotScraped",
        "one of two answers",
        ((f'up{{job="histoseg-ray",{WHERE},pod="a"}}', "0x60"), (f'up{{job="histoseg-ray",{WHERE},pod="b"}}', "1x60")),
        12,
        0,
    ),
    Case("HistosegNotScraped", "there is none", (('up{job="other"}', "1x60"),), 12, 0),
    Case("HistosegJobFailed", "now", ((JOB, "_x10 1x200"),), 12, 1),
    Case("HistosegJobFailed", "long ago", ((JOB, "1x200"),), 70, 0),
    Case("HistosegJobFailed", "it is no job of ours", ((JOB.replace("table1-0123abcd", "other"), "1x60"),), 12, 0),
    Case("HistosegJobFailed", "it runs", ((JOB.replace("Failed", "Running"), "1x60"),), 12, 0),
    Case("HistosegNodeDiskFull", "86 %", (node("disk_utilization_percentage", "86x60"),), 11, 1),
    Case("HistosegNodeDiskFull", "84 %", (node("disk_utilization_percentage", "84x60"),), 11, 0),
    Case("HistosegNodeDiskFull", "for 9 minutes", (node("disk_utilization_percentage", "86x60"),), 9, 0),
    Case("HistosegNodeMemoryHigh", "91 of 100", (node("mem_used", "91x60"), node("mem_total", "100x60")), 6, 1),
    Case("HistosegNodeMemoryHigh", "89 of 100", (node("mem_used", "89x60"), node("mem_total", "100x60")), 6, 0),
    Case("HistosegNodeMemoryHigh", "for 4 minutes", (node("mem_used", "91x60"), node("mem_total", "100x60")), 4, 0),
    Case("HistosegStoreDown", "5 minutes", (('histoseg_store_up{namespace="lab"}', "1 0x60"),), 7, 1),
    Case(
        "HistosegStoreDown",
        "one of two",
        (
            ('histoseg_store_up{namespace="lab",pod="a"}', "0x60"),
            ('histoseg_store_up{namespace="lab",pod="b"}', "1x60"),
        ),
        7,
        1,
    ),
    Case("HistosegStoreDown", "for 4 minutes", (('histoseg_store_up{namespace="lab"}', "1 0x60"),), 5, 0),
    Case("HistosegExporterDown", "it does not answer", (('up{job="histoseg-exporter"}', "1 0x60"),), 12, 1),
    Case("HistosegExporterDown", "it restarts", (('up{job="histoseg-exporter"}', "1 0x60"),), 9, 0),
    Case("HistosegExporterDown", "its pod is gone", (('up{job="other"}', "1x60"),), 11, 1),
    Case(
        "HistosegExporterDown",
        "one of two releases has none any more",
        (
            ('up{job="histoseg-exporter",namespace="a"}', "1x9 stale"),
            ('up{job="histoseg-exporter",namespace="b"}', "1x60"),
        ),
        25,
        1,
    ),
    Case("HistosegExporterDown", "it answers", (('up{job="histoseg-exporter"}', "1x60"),), 12, 0),
    Case("HistosegRecordDamaged", "one", (('histoseg_records_damaged{namespace="lab"}', "0 1x60"),), 7, 1),
    Case("HistosegRecordDamaged", "for 4 minutes", (('histoseg_records_damaged{namespace="lab"}', "0 1x60"),), 5, 0),
    Case("HistosegRecordDamaged", "none", (('histoseg_records_damaged{namespace="lab"}', "0x60"),), 7, 0),
]


@NEEDS_PROMTOOL
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.story}")
def test_alert(case, tmp_path):
    expression = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) or vector(0)'
    expected = [{"labels": "{}", "value": case.firing}]
    document = {
        "rule_files": [str(path) for path in FILES],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in case.series],
                "promql_expr_test": [
                    {"expr": expression, "eval_time": f"{case.minutes}m", "exp_samples": expected},
                ],
            }
        ],
    }
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or done.stdout


def test_every_alert_is_tested_both_ways():
    assert {(case.alert, case.firing) for case in CASES} == {(alert, n) for alert in RULES for n in (0, 1)}


@NEEDS_PROMTOOL
def test_prometheus_takes_the_files():
    done = subprocess.run(["promtool", "check", "rules", *map(str, FILES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_says_what_to_do(alert):
    rule = RULES[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    document, anchor = rule["annotations"]["runbook"].split("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / document).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_asks_for_metrics_that_exist(alert):
    assert metric_names(RULES[alert]["expr"]) <= METRICS
