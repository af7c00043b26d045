import os
import shlex
import subprocess
from dataclasses import dataclass, replace
from typing import Annotated

import pytest

from histoseg.errors import ConfigError
from histoseg.runs.argv import Option, from_words
from histoseg.runs.job import entrypoint, job_name, request_of
from histoseg.runs.request import MAX_NAME_CHARS, NAME, Request

STORE = "s3://bucket/lab"


def asked(**changed):
    return Request(**{"experiment": "table1", "store": STORE, "data": "prepared", **changed})


@pytest.mark.parametrize(
    ("request_", "name"),
    [  # By sha256sum of the sorted JSON of what is not a default. Under another name, finished jobs would run again.
        (asked(), "table1-e8ec8ce7"),
        (asked(scale="paper", seeds=3), "table1-97459cc7"),
        (asked(experiment="cerberus_table4", sets=("optim.steps=20",), data="demo"), "cerberus-table4-6a39f20b"),
    ],
)
def test_names_stay_as_they_are(request_, name):
    assert job_name(request_, "registry/histoseg-train:0.1.0") == name


def test_a_new_field_with_a_default_changes_no_name():
    @dataclass(frozen=True, kw_only=True)
    class Later(Request):
        magnification: Annotated[str, Option("MAGNIFICATION", "")] = "40x"

    later = Later(experiment="table1", store=STORE, data="prepared")
    assert job_name(later, "a") == job_name(asked(), "a")
    assert job_name(replace(later, magnification="20x"), "a") != job_name(asked(), "a")


def test_the_name_stands_for_all_that_a_result_depends_on():
    changes = [{"scale": "paper"}, {"seeds": 2}, {"sets": ("optim.lr=1",)}, {"data": "demo"}, {"store": "s3://other"}]
    names = {job_name(asked(**change), "image@sha256:1") for change in changes}
    names |= {job_name(asked(), "image@sha256:1"), job_name(asked(), "image@sha256:2")}
    assert len(names) == len(changes) + 2


@pytest.mark.parametrize(
    "change", [{"workers": 4}, {"listen": ("tensorboard",)}, {"name": "x"}, {"capacity": ("CPU=8",)}]
)
def test_what_changes_no_result_changes_no_name(change):
    assert job_name(asked(**change), "a") == job_name(asked(), "a")


@pytest.mark.parametrize("experiment", ["table1", "cerberus_table4", "x" * 100, "My Lab's Own", "a-" * 30])
def test_every_name_is_one_for_kubernetes(experiment):
    name = job_name(asked(experiment=experiment), "a")
    assert NAME.fullmatch(name)
    assert len(name) <= MAX_NAME_CHARS


def test_an_experiment_that_cannot_begin_a_name():
    with pytest.raises(ConfigError, match="'2fast-"):
        job_name(asked(experiment="2fast"), "a")


def test_the_entrypoint_survives_a_shell():
    request = asked(sets=("optim.lr=1e-3", "method.name='x'"), data="/data/o'neill b", capacity=("CPU=8", "GPU=2"))
    words = shlex.split(entrypoint(request))
    assert words[:3] == ["python", "-m", "ray_jobs.driver"]
    assert "--data=/data/o'neill b" in words
    assert "--set=optim.lr=1e-3 method.name='x'" in words
    assert request_of(entrypoint(request)) == request


HARD = (
    "a=(1,2)",
    "a=b;c",
    "a='x'",
    'a="x"',
    "a=$HOME",
    "a=`id`",
    "a=*",
    "a=<b>|c&d",
    "a=\\\\b",
    "a=!1",
    "a={b,c}",
    "a=#b",
)


def shown_arguments(command, folder):
    """What a shell's command line hands to `python`."""
    (folder / "python").write_text('#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done\n')
    (folder / "python").chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("hard", HARD)
def test_assignments_reach_the_driver_as_they_were_typed(hard, tmp_path):
    """RAY_ADDRESS: Ray runs the entrypoint in a shell (job_supervisor.py, shell=True)."""
    request = asked(sets=(hard, "optim.steps=2"))
    words = shown_arguments(["/bin/sh", "-c", entrypoint(request)], tmp_path)
    assert words[:2] == ["-m", "ray_jobs.driver"]
    assert from_words(Request, words[2:], "driver").sets == request.sets


@pytest.mark.parametrize("hard", HARD)
def test_assignments_pass_kuberays_shell_and_rays(hard, tmp_path):
    """KubeRay 1.7 (common/job.go): bash -ce -- "… ray job submit … -- ENTRYPOINT ; fi ; …"; `ray job submit` gives Ray
    shlex.join of its words (cli.py), and Ray runs that in a shell."""
    request = asked(sets=(hard,))
    submit = "if ! false ; then printf '%s\\0' ray job submit --no-wait -- " + entrypoint(request) + " ; fi ;"
    done = subprocess.run(["/bin/bash", "-ce", "--", submit], capture_output=True, text=True, check=True)
    joined = shlex.join(done.stdout.split("\0")[5:-1])
    words = shown_arguments(["/bin/sh", "-c", joined], tmp_path)
    assert from_words(Request, words[2:], "driver").sets == request.sets


@pytest.mark.parametrize(
    "command",
    ["python -m other --experiment=a", "python -m ray_jobs.driver --seeds=9", "python -m ray_jobs.driver --new=1", ""],
)
def test_other_command_lines_are_no_request(command):
    assert request_of(command) is None
