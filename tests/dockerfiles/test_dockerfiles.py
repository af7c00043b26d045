"""What an image must be, as far as its recipe tells."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ray_jobs.cluster import ENVIRONMENT
from tests.dockerfiles.recipe import PATHS, ROOT, Stage, instructions, stages

SHIPPED = ("train", "data")
SECRET = re.compile(r"SECRET|TOKEN|PASSW|CREDENTIAL|ACCESS_KEY|PRIVATE", re.IGNORECASE)


@pytest.fixture(params=PATHS, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(params=SHIPPED)
def shipped(request: pytest.FixtureRequest) -> Stage:
    return stages(ROOT / "dockerfiles" / "Dockerfile")[request.param]


def test_hadolint_finds_nothing_and_nothing_is_hidden_from_it(path: Path) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    found = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)
    assert found.stdout + found.stderr == ""
    assert "hadolint ignore" not in path.read_text()
    assert not list(ROOT.glob(".hadolint.y*ml"))


def test_every_base_is_pinned_by_digest(path: Path) -> None:
    found = stages(path)
    outside = {stage.base for stage in found.values()} - set(found) - {"scratch"}
    assert outside
    for base in outside:
        assert re.fullmatch(r"[a-z0-9./-]+:[0-9][\w.-]*@sha256:[0-9a-f]{64}", base), base


def test_nothing_is_fetched_from_a_url_or_taken_as_latest(path: Path) -> None:
    assert not [rest for word, rest in instructions(path) if word == "ADD"]
    assert not re.search(r":latest\b|curl |https?://", "\n".join(rest for _, rest in instructions(path)))


def test_no_secret_has_a_place_in_it(path: Path) -> None:
    names = [rest for word, rest in instructions(path) if word in {"ARG", "ENV"}]
    assert names
    assert not [rest for rest in names if SECRET.search(rest)]


def test_a_shipped_image_runs_as_1000_and_nothing_runs_after_that_as_another(shipped: Stage) -> None:
    assert shipped.all("USER") == ["1000:1000"]


def test_torch_compile_finds_a_compiler_where_it_trains() -> None:
    found = stages(ROOT / "dockerfiles" / "Dockerfile")
    assert found["train"].base == "compiler"
    assert "g++" in " ".join(found["compiler"].all("RUN"))


def test_a_shipped_image_gets_the_packages_and_then_the_project_and_builds_nothing_itself(shipped: Stage) -> None:
    # A commit is asked for; and without a RUN that has it, a cache would give another commit's image.
    assert shipped.all("RUN") == ['test -n "${COMMIT}"']
    assert shipped.all("COPY") == [
        f"--from={origin} /opt/histoseg /opt/histoseg" for origin in (f"{shipped.name}-packages", "project")
    ]


def test_a_shipped_image_says_what_it_is_and_of_which_commit(shipped: Stage) -> None:
    labels = " ".join(shipped.all("LABEL"))
    for label, value in {"title": f"histoseg-{shipped.name}", "version": "${VERSION}", "revision": "${COMMIT}"}.items():
        assert f'org.opencontainers.image.{label}="{value}"' in labels
    assert "HISTOSEG_COMMIT=${COMMIT}" in shipped.all("ENV")


def test_packages_are_locked_and_compiled_for_a_root_that_cannot_be_written(path: Path) -> None:
    # Without .pyc files each start compiles them again, and a read-only root never keeps them (KubeRay issue 5138).
    for name, stage in stages(path).items():
        for command in stage.all("RUN"):
            if "uv pip install --python /opt/histoseg" in command:
                assert "--compile-bytecode" in command, name
                assert "constraints requirements.lock" in command or "--constraint requirements.lock" in command, name
    assert "PYTHONDONTWRITEBYTECODE" not in path.read_text()


def test_the_standard_library_is_compiled_but_for_its_tests_and_packages() -> None:
    # The official image deletes every .pyc below /usr/local; lib2to3's tests hold files that no compiler takes.
    found = stages(ROOT / "dockerfiles" / "Dockerfile")
    (command,) = (rest for rest in found["base"].all("RUN") if "compileall" in rest)
    words = shlex.split(command)
    assert words[:4] == ["python3", "-m", "compileall", "-q"]
    assert command.endswith("""'import sysconfig; print(sysconfig.get_path("stdlib"))')\"""")
    left_out = re.compile(words[words.index("-x") + 1])
    library = "/usr/local/lib/python3.11"
    assert left_out.search(f"{library}/lib2to3/tests/data/bom.py")
    assert left_out.search(f"{library}/test/badsyntax_3131.py")
    assert left_out.search(f"{library}/site-packages/pip/__init__.py")
    for name in ("argparse.py", "json/decoder.py", "asyncio/events.py", "unittest/mock.py"):
        assert not left_out.search(f"{library}/{name}")


def test_a_shipped_image_has_that_standard_library(shipped: Stage) -> None:
    found = stages(ROOT / "dockerfiles" / "Dockerfile")
    below = shipped
    while below.base in found:
        below = found[below.base]
    assert below.name == "base"


def test_the_data_image_has_neither_torch_nor_ray() -> None:
    (command,) = stages(ROOT / "dockerfiles" / "Dockerfile")["data-packages"].all("RUN")
    assert re.findall(r"--extra (\w+)", command) == ["local"]


def test_the_build_sees_only_what_is_listed() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    assert "!.git" not in lines
    for _, rest in instructions(ROOT / "dockerfiles" / "Dockerfile"):
        assert not re.fullmatch(r"\. \S+", rest)  # COPY . would take all that is listed, wanted or not


def test_the_train_image_contradicts_no_setting_that_jobs_bring() -> None:
    set_here = dict(
        re.findall(r"(\w+)=(\S+)", " ".join(stages(ROOT / "dockerfiles" / "Dockerfile")["train"].all("ENV")))
    )
    shared = set(set_here) & set(ENVIRONMENT)
    assert shared
    assert {name: set_here[name] for name in shared} == {name: ENVIRONMENT[name] for name in shared}
