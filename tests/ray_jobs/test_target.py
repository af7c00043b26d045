import shlex
import subprocess
from pathlib import Path

import pytest

from histoseg.errors import ConfigError
from histoseg.runs.request import Request
from ray_jobs.target import Target, parse

ROOT = Path(__file__).parents[2]
REQUEST = Request(experiment="table1")


def test_the_command_says_again_what_was_typed():
    where = ["--cluster", "lab", "--namespace", "ml", "--release", "histoseg-b"]
    what = ["--experiment", "table1", "--scale", "paper", "--seeds", "3", "--data", "/data/x", "--workers", "2"]
    request, target = parse([*what, *where, "--listen", "tensorboard"])
    assert target.command(request) == (
        "make submit EXP=table1 SCALE=paper DATA=/data/x SEEDS=3 WORKERS=2 LISTEN=tensorboard "
        "CLUSTER=lab NAMESPACE=ml RELEASE=histoseg-b"
    )


def test_the_command_can_be_pasted_into_a_shell():
    request = Request(experiment="table1", sets=("optim.steps=2", "method.name='a'"), data="/my data")
    words = shlex.split(Target(ray_address="http://h:1", ship=True).command(request))
    assert words[:2] == ["make", "submit"]
    assert dict(word.split("=", 1) for word in words[2:]) == {
        "EXP": "table1",
        "DATA": "/my data",
        "SET": "optim.steps=2 method.name='a'",
        "RAY_ADDRESS": "http://h:1",
        "SHIP": "1",
    }


@pytest.mark.parametrize("address", ["http://me:secret@h:8265", "me:secret@h:8265"])
def test_a_password_in_the_address_is_not_shown(address):
    """The command is written into the job, where everybody reads it."""
    command = Target(ray_address=address).command(REQUEST)
    assert "RAY_ADDRESS=" in command
    assert "secret" not in command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--experiment", "table1", "--status"], "--status.*add --cluster or --ray-address"),
        (["--cluster", "lab"], "name an experiment"),
        (["--experiment", "table1", "--cluster", "a", "--ray-address", "b"], "CLUSTER.* or RAY_ADDRESS"),
        (["--experiment", "table1", "--cluster", "a", "--status", "--cancel"], "not allowed with argument"),
        (["--experiment", "table1", "--cluster", "a", "--job", "b"], "--job .*add --status, --results or --cancel"),
        (["--ray-address", "a", "--job", "b", "--results"], "name an experiment"),
        (["--ray-address", "a", "--job", "a/b", "--status"], "--job = 'a/b'.*table1-"),
        (["--experiment", "table1", "--workers", "0"], r"request\.workers = 0"),
        (["--experiment", "table1", "--seeds", "x"], "--seeds.*'x'"),
        (["--experiment", "table1", "--wrkers", "2"], "--wrkers"),
    ],
)
def test_what_cannot_be_typed_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        parse(words)


def test_jobs_can_be_asked_about_without_naming_an_experiment():
    assert parse(["--cluster", "lab", "--status"])[0] is None
    request, target = parse(["--cluster", "lab", "--cancel", "--job", "smoke-1"])
    assert (request, target.job, target.action) == (None, "smoke-1", "cancel")


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ("EXP=smoke", "--experiment smoke --scale laptop --seeds 1 --workers 1 --set"),
        ("EXP=smoke CLUSTER=lab NAMESPACE=ml STATUS=1", "--cluster lab --namespace ml --status"),
        ("EXP=smoke CLUSTER=lab DRY_RUN=1", "--cluster lab --dry-run"),
        ("EXP=smoke RAY_ADDRESS=http://h:8265 SHIP=1 CANCEL=1", "--ray-address http://h:8265 --ship --cancel"),
        ("JOB=smoke-1 CLUSTER=lab CANCEL=1", "--cluster lab --job smoke-1 --cancel"),
        ("EXP=smoke CLUSTER=lab RELEASE=b RESULTS=1", "--cluster lab --release b --results"),
        (
            "EXP=smoke SHOTS=5 SET=optim.lr=1 DATA=/d STORE=s3://b",
            "--data /d --set $SET refine.select.shots=5 --store",
        ),
        ("EXP=smoke LISTEN=tensorboard STORE=s3://b", "--listen tensorboard --store"),
    ],
)
def test_make_passes_its_variables_on(variables, wanted):
    done = subprocess.run(
        ["make", "-n", "submit", *variables.split()], cwd=ROOT, capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if "ray_jobs.submit" in line)
    assert wanted in " ".join(line.replace('"', "").split())


@pytest.mark.parametrize(
    "assignments", ["a=(1,2)", "a=b;c", "a='x'", 'a="x"', "a=`id`", "a=* b={c,d}", "a=<b>|c&d", "a=b\\\\c", "a=#b", ""]
)
@pytest.mark.parametrize("where", ["", "RAY_ADDRESS=http://[::1]:8265", "CLUSTER=lab"])
def test_assignments_reach_the_program_as_they_were_typed(assignments, where, tmp_path):
    (tmp_path / "python").write_text('#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done\n')
    (tmp_path / "python").chmod(0o755)
    typed = ["EXP=table1", f"SET={assignments}", *where.split(), "SHOTS=5", f"BIN={tmp_path}"]
    command = ["make", "-o", ".venv/ready", "submit", *typed]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    request, _ = parse(done.stdout.split("\0")[2:-1])
    assert request.sets == (*assignments.split(), "refine.select.shots=5")


def test_what_make_passes_on_by_default_is_the_default():
    words = ["--experiment", "table1", "--scale", "laptop", "--seeds", "1", "--workers", "1", "--set", ""]
    assert parse(words) == (REQUEST, Target())
