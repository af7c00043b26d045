"""The command as people type it, from its words to the API server and back."""

import json

import pytest
import yaml

from histoseg.errors import StorageError
from histoseg.kube.rayjob import addressed
from histoseg.runs.request import Request
from histoseg.store.objects import FileStore, connect
from ray_jobs import submit
from ray_jobs.remote import fetch
from tests.kube.kubelet import Log, stamped
from tests.kube.lab import RAYJOBS, ends, state, submitter

EXPERIMENT = ["--experiment", "smoke", "--cluster", "lab"]


@pytest.fixture
def typed(server, kubeconfig, data, capsys, monkeypatch, tmp_path):
    """Types a command at a cluster in which a release is installed; gives its exit code, its output and its error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("histoseg.kube.api.time.sleep", lambda _seconds: None)
    server.put("v1/configmaps", "histoseg-settings", {"data": data})

    def run(*words):
        code = 0
        try:
            submit.main([*EXPERIMENT, *words])
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def name(settings):
    return addressed(Request(experiment="smoke", data="demo"), settings).name


def test_dry_run_prints_a_rayjob(typed, server, name):
    code, printed, _ = typed("--data", "demo", "--set", "optim.steps=3", "--dry-run")
    assert code == 0
    made = yaml.safe_load(printed)
    assert made["kind"] == "RayJob"
    assert made["metadata"]["name"] != name  # Other assignments are another job.
    assert "--data=demo" in made["spec"]["entrypoint"]
    assert "--set=optim.steps=3" in made["spec"]["entrypoint"]
    assert made["metadata"]["annotations"]["histoseg.io/command"] == (
        "make submit EXP=smoke DATA=demo SET=optim.steps=3 CLUSTER=lab"
    )
    assert not server.requests("POST", "/rayjobs")


def test_submit_follow_status_cancel(typed, server, name, pace, monkeypatch):
    monkeypatch.setattr("histoseg.kube.submit.Pace", lambda: pace)
    log = Log(stamped("runs: 2 of 2 recorded"))
    server.scripts.append([state("Running", "RUNNING"), submitter(log), ends()])
    code, printed, error = typed("--data", "demo")
    assert (code, error) == (0, "")
    lines = printed.splitlines()
    assert lines[0].startswith(f"{name}: created in namespace team of lab")
    assert "runs: 2 of 2 recorded" in lines
    assert lines[-1] == f"s3://bucket/prefix/demo/results/smoke/{name}/index.html"
    code, printed, _ = typed("--data", "demo")
    assert code == 0
    assert f"{name}: exists already (succeeded); attached to it" in printed
    code, printed, _ = typed("--data", "demo", "--status")
    assert code == 0
    assert "succeeded" in printed
    code, printed, _ = typed("--data", "demo", "--cancel")
    assert code == 0
    assert f"{name}: cancelled" in printed
    assert "deletionTimestamp" in server.rayjob(name)["metadata"]
    assert f"{name}: is being deleted already" in typed("--data", "demo", "--cancel")[1]


COHORT = ["--experiment", "slides", "--slides", "s3://scans/liver", "--model", "s3://models/cerberus"]


def test_a_cohort_of_slides_is_a_job_as_well(typed, server, pace, monkeypatch):
    monkeypatch.setattr("histoseg.kube.submit.Pace", lambda: pace)
    server.scripts.append([state("Running", "RUNNING"), submitter(Log(stamped("slides: 2 of 2 done"))), ends()])
    code, printed, error = typed(*COHORT, "--set", "mask=none")
    assert (code, error) == (0, "")
    assert "slides: 2 of 2 done" in printed.splitlines()
    (request,) = server.requests("POST", "/rayjobs")
    made = request.data
    entrypoint = made["spec"]["entrypoint"].split()
    assert {"--experiment=slides", "--slides=s3://scans/liver", "--model=s3://models/cerberus"} <= {*entrypoint}
    assert "--set=mask=none" in entrypoint
    assert made["metadata"]["annotations"]["histoseg.io/command"] == (
        "make submit EXP=slides SLIDES=s3://scans/liver MODEL=s3://models/cerberus SET=mask=none CLUSTER=lab"
    )


@pytest.mark.parametrize("option", ["--slides", "--model"])
def test_slides_and_a_model_of_this_machine_are_refused(typed, server, option):
    code, _, _ = typed(*COHORT, option, "scans")
    assert "scans" in code
    assert not server.requests("POST", "/rayjobs")


def test_results_are_fetched_page_last(typed, name, tmp_path, monkeypatch):
    store = connect(f"file://{tmp_path}/bucket")
    monkeypatch.setattr("ray_jobs.remote.connect", lambda url: store)
    code, _, _ = typed("--data", "demo", "--results")
    assert code.startswith(f"histoseg: {store.url}/results/smoke/{name} is empty: job {name} has left no results yet")
    page = tmp_path / "results" / "smoke" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("of an earlier job")
    store.put(f"results/smoke/{name}/smoke.md", b"smoke.md")
    code, _, _ = typed("--data", "demo", "--results")
    assert (
        f"{name} has no index.html yet: the results of job {name} are still being written; repeat the command" in code
    )
    assert page.read_text() == "of an earlier job"  # Nothing was fetched.
    for part in ("index.html", "figures/a.png"):
        store.put(f"results/smoke/{name}/{part}", part.encode())
    code, printed, _ = typed("--data", "demo", "--results")
    assert code == 0
    folder = tmp_path / "results" / "smoke"
    assert printed.splitlines()[-1] == str(folder / "index.html")
    assert (folder / "figures/a.png").read_text() == "figures/a.png"
    assert page.read_text() == "index.html"


def test_a_job_that_is_named_needs_no_release(typed, server, name):
    labels = {"histoseg.io/job": name, "app.kubernetes.io/instance": "histoseg"}
    server.put(RAYJOBS, name, {"metadata": {"labels": labels}, "spec": {"suspend": True}})
    server.remove("configmaps", "histoseg-settings")
    assert "no release 'histoseg'" in typed("--data", "demo", "--status")[0]
    for words in (["--job", name], ["--data", "demo", "--job", name]):
        code, printed, _ = typed(*words, "--status")
        assert (code, printed.splitlines()[0]) == (0, f"{name}: suspended")
    code, printed, _ = typed("--job", name, "--cancel")
    assert (code, f"{name}: cancelled" in printed) == (0, True)


def test_all_jobs_or_those_of_a_release(typed, server, kubeconfig, capsys):
    for release in ("histoseg", "gone"):
        labels = {"histoseg.io/job": f"smoke-{release}", "app.kubernetes.io/instance": release}
        server.put(RAYJOBS, f"smoke-{release}", {"metadata": {"labels": labels}, "spec": {"suspend": True}})
    listed = {}
    for release in ("", "histoseg", "gone"):
        submit.main(["--cluster", "lab", "--status", *(["--release", release] if release else [])])
        listed[release] = sorted(line.split()[0] for line in capsys.readouterr().out.splitlines()[1:])
    assert listed == {
        "": ["smoke-gone", "smoke-histoseg"],
        "histoseg": ["smoke-histoseg"],
        "gone": ["smoke-gone"],  # It is not installed any more.
    }


def test_an_interrupted_command_says_that_a_job_goes_on_only_if_there_is_one(typed, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("histoseg.kube.jobs.status", interrupted)
    assert typed("--data", "demo", "--status")[0] == "histoseg: interrupted; repeat the command"


def test_a_fetch_that_ends_half_way_leaves_no_page_of_another_job(tmp_path, monkeypatch):
    def away(_self, key):
        raise StorageError(f"no answer ({key})")

    store, page = FileStore(tmp_path / "bucket"), tmp_path / "out" / "smoke" / "index.html"
    store.put("results/smoke/smoke-1/index.html", b"of smoke-1")
    fetch(store, "results/smoke/smoke-1", tmp_path / "out")
    assert page.exists()
    monkeypatch.setattr(FileStore, "get", away)
    with pytest.raises(StorageError):
        fetch(store, "results/smoke/smoke-1", tmp_path / "out")
    assert not page.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "nope"], "smoke has no scale 'nope'; choose from laptop"),
        (["--set", "data.nope=1"], "'nope' is not among"),
        (["--data", "/elsewhere"], "DATA=/elsewhere is not what the pods see: they see none"),
        (["--release", "other"], "no release 'other' in namespace 'team'"),
        (["--start", "model"], "histoseg put-weights"),
        (["--workers", "99"], "request.workers is 99, but all workers of the release together have"),
        (["--store", "file:///x"], "request.store = 'file:///x': must be s3://bucket/prefix"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_sent(typed, server, words, message):
    code, printed, _ = typed(*words)
    assert isinstance(code, str)
    assert message in code
    assert "\n" not in code
    assert printed == ""
    assert not server.requests("POST", "/rayjobs")


def test_a_wrong_context_lists_those_there_are(kubeconfig):
    with pytest.raises(SystemExit, match=r"no context 'nope' in .*; there are: lab; choose one with CLUSTER="):
        submit.main(["--experiment", "smoke", "--cluster", "nope"])


def test_no_secret_is_in_what_is_sent(typed, server):
    _, printed, _ = typed("--data", "demo", "--dry-run")
    assert "very-secret-token" not in printed
    assert "AWS_SECRET_ACCESS_KEY=" not in json.dumps(yaml.safe_load(printed))
