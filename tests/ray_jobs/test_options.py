import shlex
import subprocess
from pathlib import Path

import pytest

from histoseg.errors import ConfigError
from ray_jobs.options import Options, parse, without_password

ROOT = Path(__file__).parents[2]


def options(**changed):
    return Options(experiment="table1", **changed)


def test_the_command_says_again_what_was_typed():
    place = ["--cluster", "lab", "--namespace", "ml", "--release", "histoseg-b"]
    what = ["--experiment", "table1", "--scale", "paper", "--seeds", "3", "--data", "/data/x", "--workers", "2"]
    typed = parse([*what, *place])
    assert typed.command == (
        "make submit EXP=table1 SCALE=paper DATA=/data/x SEEDS=3 WORKERS=2 CLUSTER=lab NAMESPACE=ml RELEASE=histoseg-b"
    )


def test_the_command_can_be_pasted_into_a_shell():
    asked = options(sets=("optim.steps=2", "method.name='a b'"), data="/my data", ship=True, ray_address="http://h:1")
    words = shlex.split(asked.command)
    assert words[:2] == ["make", "submit"]
    assert dict(word.split("=", 1) for word in words[2:]) == {
        "EXP": "table1",
        "SCALE": "laptop",
        "DATA": "/my data",
        "SET": "optim.steps=2 method.name='a b'",
        "RAY_ADDRESS": "http://h:1",
        "SHIP": "1",
    }


@pytest.mark.parametrize("address", ["http://me:secret@h:8265", "me:secret@h:8265"])
def test_a_password_in_the_address_is_not_shown(address):
    """The command is written into the job, where everybody reads it."""
    assert "RAY_ADDRESS=" in options(ray_address=address).command
    assert "secret" not in options(ray_address=address).command
    assert without_password("cannot reach http://a:b@h/x?y, but http://c") == "cannot reach http://h/x?y, but http://c"


def test_a_cluster_takes_its_own_store_unless_one_is_named():
    assert options().job("s3://lab/base/").store == "s3://lab/base"
    assert options(store="s3://mine").job("s3://lab/base").store == "s3://mine"
    with pytest.raises(ConfigError, match="STORE=s3://bucket/prefix"):
        options().job("")


def test_demo_data_never_mixes_with_real_data():
    assert options(data="demo").job("s3://lab/base").store == "s3://lab/base/demo"
    assert options().job("s3://lab/base").data == "prepared"


@pytest.mark.parametrize("field", ["imagenet", "start"])
def test_files_of_this_machine_are_refused_on_a_cluster(field):
    with pytest.raises(ConfigError, match="import-weights"):
        options(**{field: Path("weights.pth")}).job("s3://lab/base")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--experiment", "table1", "--status"],
            "--status is about a job on a cluster; add --cluster or --ray-address",
        ),
        (["--cluster", "lab"], "name an experiment"),
        (["--experiment", "table1", "--cluster", "a", "--ray-address", "b"], "not allowed with argument"),
        (["--experiment", "table1", "--cluster", "a", "--status", "--cancel"], "not allowed with argument"),
        (["--experiment", "table1", "--cluster", "a", "--job", "b"], "--job names a job that is there"),
        (["--ray-address", "a", "--job", "b", "--results"], "name an experiment"),
        (["--ray-address", "a", "--job", "a/b", "--status"], "--job 'a/b' is no job's name; one looks like table1-"),
        (["--experiment", "table1", "--workers", "0"], "'0' is no whole number above 0"),
    ],
)
def test_what_cannot_be_typed_is_refused(words, message, capsys):
    with pytest.raises(SystemExit):
        parse(words)
    assert message in capsys.readouterr().err


def test_all_jobs_can_be_listed_without_naming_an_experiment():
    assert parse(["--cluster", "lab", "--status"]).experiment == ""
    assert parse(["--cluster", "lab", "--cancel", "--job", "smoke-1"]).name == "smoke-1"


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ("EXP=smoke", "--experiment smoke --scale laptop --seeds 1 --workers 1 --set"),
        ("EXP=smoke CLUSTER=lab NAMESPACE=ml STATUS=1", "--cluster lab --namespace ml --status"),
        ("EXP=smoke CLUSTER=lab DRY_RUN=1", "--cluster lab --dry-run"),
        ("EXP=smoke RAY_ADDRESS=http://h:8265 SHIP=1 CANCEL=1", "--ray-address http://h:8265 --ship --cancel"),
        ("JOB=smoke-1 CLUSTER=lab CANCEL=1", "--cluster lab --job smoke-1 --cancel"),
        ("EXP=smoke CLUSTER=lab RELEASE=b RESULTS=1", "--cluster lab --release b --results"),
        ("EXP=smoke SHOTS=5 SET=optim.lr=1 DATA=/d STORE=s3://b", "--data /d --set optim.lr=1 refine.shots=5 --store"),
    ],
)
def test_make_passes_its_variables_on(variables, wanted):
    done = subprocess.run(
        ["make", "-n", "submit", *variables.split()], cwd=ROOT, capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if "ray_jobs.submit" in line)
    assert wanted in " ".join(line.replace('"', "").split())
