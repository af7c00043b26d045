"""The commands one after another, as a user types them, on demo data and a file store."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from histoseg import cli
from histoseg.commands.models import choose_device
from histoseg.demo.write import write_demo_data
from histoseg.doctor.store import store_checks
from histoseg.errors import ConfigError
from histoseg.pipeline import plan
from histoseg.runs.request import Request
from histoseg.shards.index import open_index
from histoseg.shards.verify import prepared_sources
from histoseg.store.keys import record_key
from histoseg.store.objects import connect
from tests.command import succeed
from tests.conftest import PATCH_PX
from tests.lab import SOURCE, write_lab, write_raw

SETS = [
    f"data.patch_px={PATCH_PX}",
    "optim.steps=2",
    "refine.optim.epochs=1",
    "network.width=4",
    f"evaluator.window_px={PATCH_PX}",
    "method.episodes=1",
]
CELL = ["--cell", "monuseg glas.maml"]
SET_FLAGS = [word for text in SETS for word in ("--set", text)]


def run(*words):
    """The command's output; fails with its message if the command does."""
    done = subprocess.run(
        [sys.executable, "-m", "histoseg.cli", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def complain(capsys, *words):
    """What a command that cannot be says."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    assert ended.value.code != 0
    return capsys.readouterr().err


@pytest.mark.slow
def test_from_raw_files_to_a_page(demo, tmp_path):
    url = f"file://{tmp_path / 'store'}"
    cache = ["--cache", str(tmp_path / "cache")]
    run("prepare", "glas", "monuseg", "--raw", demo, "--store", url, "--patch-px", PATCH_PX)
    assert "glas (32px): whole" in run("verify", "--store", url)
    listen = ["--listen", f"tensorboard={tmp_path / 'events'}"]
    folder = run("train", "table1", "--store", url, *CELL, *SET_FLAGS, *cache, *listen).splitlines()[-1]
    assert list((tmp_path / "events" / "table1").glob("*/pretrain-*/events*"))
    assert folder.startswith(f"{url}/runs/")
    key = run("evaluate", "table1", "--store", url, *CELL, *SET_FLAGS, *cache).splitlines()[-1]
    record = json.loads(connect(url).get(key.removeprefix(f"{url}/")))
    assert record["run"]["stages"][0]["optim"]["steps"] == 2
    assert record["stages"][0]["stage"] == folder.split("/")[-2]  # The training of `train` was gone on from.
    assert record["model"] == f"runs/{record['stages'][1]['stage']}/model"
    out = run("report", "table1", "--store", url, *SET_FLAGS, "--out", tmp_path / "results")
    page = tmp_path / "results" / "table1" / "index.html"
    assert out.splitlines()[-1] == str(page)
    assert f"{record['scores']['miou_pooled']:.3f}" in out
    assert "demo" in page.read_text()
    assert (tmp_path / "results" / "table1" / "table1.csv").exists()


def test_sources_are_prepared_as_an_experiment_reads_them(demo, tmp_path):
    """With its layout and folds; published folds that were given up may differ from those dealt."""
    url = f"file://{tmp_path / 'store'}"
    words = ["prepare", "lizard", "kather5k", "--raw", demo, "--store", url, "--experiment", "cerberus_table4"]
    assert "lizard: 11 images of 11 patients" in run(*words, "--deal-anew", "lizard")
    assert "lizard (96px-0.5mpp-folds): whole" in run("verify", "--store", url)
    out = run("report", "cerberus_table4", "--store", url, "--out", tmp_path / "results")
    assert "no shards with gland" in out


def test_all_are_the_experiments_sources_that_the_folder_holds(capsys, tmp_path):
    write_demo_data(tmp_path / "demo", sources=["synthetic", "consep"])
    url = f"file://{tmp_path / 'store'}"
    words = ["prepare", "all", "--raw", tmp_path / "demo", "--store", url, "--experiment", "smoke"]
    out = succeed(capsys, *words)
    assert "synthetic: 12 images of 8 patients" in out
    assert f"not found in {tmp_path / 'demo'}: glas; name one instead of `all`" in out
    assert prepared_sources(connect(url)) == [("synthetic", "64px")]  # smoke's; consep is not among its sources.
    assert "no GlaS found" in complain(capsys, "prepare", "glas", *words[2:])  # By its name it must be there.


def test_all_that_is_there_is_written_and_what_is_faulty_is_told(capsys, caplog, tmp_path, monkeypatch):
    write_lab(tmp_path / "lab", {"labset": SOURCE.replace("NAME", "labset")})
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    raw, url = write_raw(tmp_path / "raw", "labset"), f"file://{tmp_path / 'store'}"
    words = ["prepare", "all", "--raw", raw, "--store", url, "--patch-px", "96"]
    out = succeed(capsys, *words)
    assert "labset: 6 images of 6 patients" in out
    assert ", glas, " in out
    (raw / "synthetic").mkdir()
    (raw / "synthetic" / "patient01_image01.png").write_text("no mask beside it")
    err = complain(capsys, *words)
    assert err.splitlines()[-1].startswith("histoseg: synthetic was left out: Synthetic: ")
    assert "synthetic was left out: Synthetic: " in caplog.text


def test_an_option_is_for_the_sources_that_have_it(capsys, tmp_path):
    write_demo_data(tmp_path / "demo", sources=["monuseg", "gleason2019"])
    url = f"file://{tmp_path / 'store'}"
    words = ["prepare", "all", "--raw", tmp_path / "demo", "--store", url, "--experiment", "table1"]
    succeed(capsys, *words, "--option", "consensus=majority")
    options = {name: open_index(connect(url), name, layout).options for name, layout in prepared_sources(connect(url))}
    assert options == {"monuseg": {}, "gleason2019": {"consensus": "majority"}}
    assert "has an option colour" in complain(capsys, *words, "--option", "colour=blue")


def test_a_damaged_record_is_named(capsys, tmp_path):
    write_demo_data(tmp_path / "demo", sources=["synthetic", "glas"])
    store = connect(f"file://{tmp_path / 'store'}")
    out = ["--store", store.url, "--out", tmp_path / "results"]
    succeed(capsys, "prepare", "all", "--raw", tmp_path / "demo", "--store", store.url, "--experiment", "smoke")
    sets = ["--set", "optim.steps=7", "--set", "method.batch=3"]
    succeed(capsys, "report", "smoke", *out, *sets)
    page = (tmp_path / "results" / "smoke" / "index.html").read_text()
    command = (
        f"histoseg report smoke --store {store.url} --scale laptop --seeds 1 --set=optim.steps=7 --set=method.batch=3"
    )
    assert f"<code>{command}</code>" in page
    key = record_key("smoke", next(iter(plan.make_plan("smoke", store, "laptop", 1, []).cells)))
    store.put(key, b'{"format": 2')
    assert f"histoseg: {store.url}/{key}: not a record: " in complain(capsys, "report", "smoke", *out)


def test_nothing_is_rounded_to_tf32_without_a_training():
    torch.backends.cudnn.allow_tf32 = True  # As torch has it
    choose_device()
    assert not torch.backends.cudnn.allow_tf32


def test_weights_that_cannot_be_read_safely_are_not_advertised(capsys, tmp_path):
    """Torch's own message says how to run what is in such a file."""
    (tmp_path / "weights.tar").write_bytes(pickle.dumps({"desc": print}, protocol=2))
    err = complain(capsys, "import-weights", tmp_path / "weights.tar", "--out", tmp_path / "model")
    assert f"{tmp_path / 'weights.tar'} cannot be read safely" in err
    assert "weights_only" not in err
    assert "trust" not in err


def test_list_names_what_there_is():
    out = run("list")
    for name in ("gleason2019", "lizard", "maml", "cerberus_table4", "table1", "real-cpu"):
        assert name in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare", "nope", "--raw", ".", "--store", "file:///nonexistent"], "no 'nope' in sources; choose from"),
        (
            ["prepare", "glas", "--raw", "/nonexistent", "--store", "file:///nonexistent"],
            "/nonexistent is not a folder",
        ),
        (["prepare", "glas", "--raw", ".", "--store", "ftp://x"], "write file:///absolute/folder or s3://"),
        (["report", "nope", "--store", "file:///nonexistent"], "no 'nope' in experiments; choose from affinity, "),
        (["report", "table1", "--scale", "nope", "--store", "file:///nonexistent"], "choose from laptop"),
        (["report", "table1", "--store", "file:///nonexistent"], "no cell can be had from no sources"),
        (
            ["verify", "--store", "file:///nonexistent"],
            "nothing is prepared at file:///nonexistent; correct",
        ),
        (
            ["prepare", "glas", "--raw", ".", "--store", "file:///x", "--scale", "nonsense"],
            "--scale nonsense is the size of an experiment; name it with --experiment",
        ),
        (
            ["prepare", "glas", "--raw", ".", "--store", "file:///x", "--experiment", "smoke", "--patch-px", "256"],
            "smoke says how large patches are; leave out --patch-px 256 or --experiment",
        ),
        (
            ["prepare", "glas", "--raw", ".", "--store", "file:///x", "--deal-anew", "nobody"],
            "folds of nobody cannot be dealt again: it is not among the sources, glas",
        ),
        (["prepare", "all", "--raw", "/nonexistent", "--store", "file:///x"], "/nonexistent is not a folder"),
        (["evaluate", "smoke", "--store", "file:///nonexistent", "--set", "data.path_px=1"], "no field 'data.path_px'"),
        (
            ["prepare", "glas", "--raw", ".", "--store", "file:///x", "--option", "a"],
            "option 'a' is not written as name=value",
        ),
    ],
)
def test_what_cannot_be_is_one_clear_line(capsys, words, message):
    err = complain(capsys, *words)
    assert message in err
    assert "Traceback" not in err


def test_help_explains_every_command():
    out = run("--help")
    for name in ("list", "demo-data", "prepare", "verify", "train", "evaluate", "report", "doctor"):
        assert name in out


def test_demo_data_is_not_mixed_with_other_files(capsys, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    assert "is not empty" in complain(capsys, "demo-data", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_doctor_tries_the_store(tmp_path):
    out = run("doctor", "--store", f"file://{tmp_path}/store")
    assert "ok   store: put only if absent" in out
    assert connect(f"file://{tmp_path}/store").list() == []


def test_doctor_names_what_is_wrong_with_a_store(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    bad = [check for check in store_checks("s3://bucket") if not check.ok]
    assert [check.what for check in bad] == ["store: put"]
    assert "check AWS_ENDPOINT_URL" in bad[0].found
    assert "very-secret" not in bad[0].found


@pytest.mark.parametrize("cell", [[], ["--cell", "nope"]])
def test_cells_are_listed_where_none_or_another_is_named(capsys, prepared_url, tmp_path, cell):
    sets = ["--set", f"data.patch_px={PATCH_PX}"]
    for command in ("train", "evaluate"):
        err = complain(capsys, command, "smoke", "--store", prepared_url, *sets, *cell, "--cache", tmp_path)
        assert 'choose --cell from "glas synthetic.maml"; "glas synthetic.transfer"' in err


def test_the_only_cell_needs_no_name(monkeypatch, prepared_url):
    store, request = connect(prepared_url), Request(experiment="smoke", sets=(f"data.patch_px={PATCH_PX}",))
    whole = cli._plan(request, store)
    monkeypatch.setattr(cli, "_plan", lambda *_: replace(whole, runs=whole.runs[:1]))
    assert cli._find_run(request, store, "")[0] == whole.runs[0]
    with pytest.raises(ConfigError, match=r"smoke has no cell 'nope'; choose --cell from \"glas synthetic.maml\"$"):
        cli._find_run(request, store, "nope")


@pytest.fixture
def small_store(prepared_url):
    return connect(prepared_url)


def test_assignments_reach_the_runs_that_have_the_field(small_store):
    sets = [f"data.patch_px={PATCH_PX}", "optim.steps=7", "method.first_order=true"]
    found = plan.make_plan("table1", small_store, "laptop", 1, sets)
    assert {run.stages[0].optim.steps for run in found.runs} == {7}
    assert {getattr(run.stages[0].method, "first_order", None) for run in found.runs} == {True, None}
    assert set(found.sources) == {"glas", "monuseg"}
    assert len(found.groups) == 4  # {maml, transfer} x {glas, monuseg}: "all others" of either is the other


def test_an_assignment_that_no_run_has_lists_the_fields(small_store):
    with pytest.raises(ConfigError, match=r"no field 'method\.nope'; 'nope' is not among "):
        plan.make_plan("table1", small_store, "laptop", 1, [f"data.patch_px={PATCH_PX}", "method.nope=1"])
