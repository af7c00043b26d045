"""pyproject.toml and requirements.lock say which versions; every other place agrees or is named here."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.dockerfiles.recipe import ROOT, defaults

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
APART = {"cellpose", "spatialdata"}  # In environments of their own: they ask for older packages than the lock has.
EXTRAS = {name: part for name, part in PROJECT["optional-dependencies"].items() if name not in APART}


def pins(name: str) -> dict[str, str]:
    lines = (line for line in (ROOT / name).read_text().splitlines() if line and line[0] != "#")
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    return pins("requirements.lock")


def test_the_lock_pins_every_dependency_within_its_bounds(locked: dict[str, str]) -> None:
    asked = [
        Requirement(line) for line in [*PROJECT["dependencies"], *(line for part in EXTRAS.values() for line in part)]
    ]
    wrong = [str(one) for one in asked if locked.get(canonicalize_name(one.name), "") not in one.specifier]
    assert not wrong, f"requirements.lock lacks or contradicts {wrong}; compile it again (docs/images.md)"


def test_the_images_python_is_the_oldest_the_project_runs_on_for_which_the_lock_is_made() -> None:
    match = re.search(r"/python:(\d+\.\d+)\.\d+-slim", defaults(ROOT / "dockerfiles" / "Dockerfile")["BASE"])
    assert match
    assert f">={match[1]}" in PROJECT["requires-python"].split(",")


def test_pins_for_cuda_add_to_the_lock_and_belong_to_its_torch(locked: dict[str, str]) -> None:
    assert not set(pins("requirements-cuda.lock")) & set(locked)
    assert f"torch=={locked['torch']} " in (ROOT / "requirements-cuda.lock").read_text().splitlines()[0]


def test_ray_is_the_same_in_lock_and_chart(locked: dict[str, str]) -> None:
    chart = yaml.safe_load((ROOT / "charts" / "histoseg" / "Chart.yaml").read_text())
    assert chart["annotations"]["histoseg.io/ray-version"] == locked["ray"]


def test_the_chart_installs_the_images_of_this_version() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "histoseg" / "Chart.yaml").read_text())
    assert chart["appVersion"] == PROJECT["version"]


def test_the_chart_writes_no_version_of_ray_but_that_annotation(locked: dict[str, str]) -> None:
    # Head, workers, submitter and autoscaler must run one Ray; a second place would one day say another.
    chart = ROOT / "charts" / "histoseg"
    files = [path.relative_to(chart) for path in chart.rglob("*") if path.suffix in {".yaml", ".tpl", ".json"}]
    version = re.compile(rf"\b{re.escape(locked['ray'])}\b")
    places = [str(file) for file in files if file.parts[0] != "ci" and version.search((chart / file).read_text())]
    assert places == ["Chart.yaml"]
