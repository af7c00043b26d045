"""`histoseg doctor` as a command, and the order of its checks."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from histoseg.cli import main
from histoseg.doctor import dashboard as dashboard_module
from histoseg.doctor.all_checks import DoctorOptions, all_checks
from histoseg.runs.config import Data
from histoseg.shards.writer import Recipe, write_shards
from histoseg.store.objects import connect
from tests.doctor.conftest import TOKEN
from tests.doctor.release import SETTINGS, config_map
from tests.kube.lab import CONFIG_MAPS


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["doctor", *words])
    return stop.value.code, capsys.readouterr()


def test_where_work_is_done_elsewhere_this_machine_does_not_matter(dashboard, tmp_path, capsys, monkeypatch):
    """As `helm test` calls it: an image without torch and Ray must pass."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    code, out = run(capsys, "--store", f"file://{tmp_path}/store", "--dashboard", dashboard)
    assert code == 0
    assert [line.split(": ", 1)[0] for line in out.out.splitlines()] == ["ok   store"] * 5 + ["ok   dashboard"] * 3
    code, out = run(capsys, "--store", f"file://{tmp_path}/store", "--no-machine")
    assert code == 0
    assert "torch" not in out.out
    assert TOKEN not in out.out


def test_a_failed_check_is_a_failed_command(capsys, monkeypatch):
    monkeypatch.setattr(dashboard_module, "PAUSES_S", (0.0,))
    code, out = run(capsys, "--dashboard", "http://127.0.0.1:9", "--machine")
    assert code == 1
    assert "1 checks failed" in out.err
    assert "ok   cores" in out.out
    assert "NOT  dashboard: answers" in out.out


def test_what_an_experiment_finds_in_a_store(prepared_url, tmp_path, capsys):
    """The store has glas and monuseg, but cut for other patches than table1 has; so no run is possible."""
    words = ("--no-machine", "--experiment", "table1", "--store")
    code, out = run(capsys, *words, prepared_url)
    assert code == 1
    assert "NOT  experiment table1 (laptop): table1: no cell can be had" in out.out
    assert "--experiment table1 --scale laptop`" in out.out


def test_how_many_runs_an_experiment_has(demo, tmp_path, capsys):
    """Of smoke.py: one cell for each of two methods."""
    url = f"file://{tmp_path}"
    with ThreadPoolExecutor(1) as pool:
        for source in ("synthetic", "glas"):
            write_shards(source, demo, connect(url), Recipe(data=Data(patch_px=64)), pool)
    code, out = run(capsys, "--no-machine", "--experiment", "smoke", "--store", url)
    assert code == 0
    assert out.out.splitlines()[-1] == "ok   experiment smoke (laptop): 2 runs of synthetic, glas"


def test_a_context_that_is_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    code, out = run(capsys, "--cluster", "lab")
    assert code == 1
    assert out.out.startswith("NOT  cluster: no kubeconfig at")
    assert "->" not in out.out  # The error says what to do.


def test_doctor_goes_on_with_the_bucket(api, kubeconfig, tmp_path, monkeypatch):
    """The release's store is tried once, and asked for the experiment's data."""
    url = f"file://{tmp_path}/store"
    store = {**SETTINGS["store"], "url": url, "endpoint": ""}
    api.put(CONFIG_MAPS, "histoseg-settings", config_map({**SETTINGS, "store": store}))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    options = DoctorOptions(cluster="lab", store=url, experiment="smoke", machine=False)
    found = [check.what for check in all_checks(options)]
    assert found.count("store: put") == 1
    assert found[-2:] == ["bucket", "experiment smoke (laptop)"]
    found = [check.what for check in all_checks(DoctorOptions(cluster="lab", machine=False))]
    assert found[-6:] == [
        "bucket",
        *(f"store: {step}" for step in ("put", "get", "put only if absent", "list", "delete")),
    ]


def test_without_the_packages_for_clusters_it_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "histoseg.doctor.cluster", None)
    (check,) = all_checks(DoctorOptions(cluster="lab", machine=False))
    assert not check.ok
    assert check.advice == "pip install 'histoseg[cluster]'"
