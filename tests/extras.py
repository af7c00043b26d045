"""Run the tests of optional packages, each in an environment of its own: python -m tests.extras [NAME ...]

They are not in requirements.lock, as they ask for older versions of what it has, or are large. Environments lie in
.histoseg/extras and are made once; remove a folder there to make it again.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".histoseg" / "extras"
LOCKED = ("torch", "torchvision", "ray", "pytest")  # What environments have in the versions of requirements.lock
OURS = ".[train,local,cluster,dev,{}]"


@dataclass(frozen=True, kw_only=True)
class Extra:
    """An optional package: what its environment has, and which tests need it."""

    packages: tuple[str, ...]
    tests: tuple[str, ...]
    is_foreign: bool = False  # Whether our tests run in the usual environment and call the package's Python


EXTRAS = {
    "cellpose": Extra(
        packages=("--editable", OURS.format("cellpose")),
        tests=("-k", "cellpose", "tests/models", "tests/experiments", "tests/training/test_gland_networks.py"),
    ),
    "openvino": Extra(
        packages=("--editable", OURS.format("openvino")),
        tests=("tests/engines", "tests/models/cerberus/test_running.py"),
    ),
    "spatialdata": Extra(
        packages=("--editable", OURS.format("spatialdata")), tests=("tests/exports/test_spatialdata.py",)
    ),
    "tiatoolbox": Extra(
        packages=("tiatoolbox>=2.1,<2.2",),
        tests=("tests/exports", "tests/models/hovernet/test_tiatoolbox.py"),
        is_foreign=True,
    ),
}


def make(name: str, extra: Extra) -> Path:
    """The Python of the environment, which is made if it is not there."""
    folder = FOLDER / name
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        uv = str(Path(sys.executable).parent / "uv")
        locked = [line for line in (ROOT / "requirements.lock").read_text().split() if line.split("==")[0] in LOCKED]
        versions = FOLDER / "versions.txt"
        versions.parent.mkdir(parents=True, exist_ok=True)
        versions.write_text("\n".join(locked) + "\n")
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", version, folder], check=True)
        # TIAToolbox asks for an older torchvision than there is for our torch, but needs little of it.
        how = "--override" if extra.is_foreign else "--constraint"
        command = [uv, "pip", "install", "--quiet", "--python", folder, how, versions, *extra.packages]
        subprocess.run(command, check=True, cwd=ROOT)
        ready.touch()
    return python


def run(name: str, extra: Extra) -> int:
    """The exit code of the package's tests."""
    python = make(name, extra)
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    if extra.is_foreign:
        environment |= {f"HISTOSEG_{name.upper()}_PYTHON": str(python)}
        python = Path(sys.executable)
    print(f"=== {name}", flush=True)
    return subprocess.run([python, "-m", "pytest", *extra.tests], env=environment, cwd=ROOT, check=False).returncode


def main() -> int:
    """Run the tests of the named packages, all if none is named; 1 if some failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of {', '.join(EXTRAS)}; all if none")
    names = parser.parse_args().names or list(EXTRAS)
    if unknown := set(names) - set(EXTRAS):
        parser.error(f"no extra named {', '.join(unknown)}; choose from {', '.join(EXTRAS)}")
    failed = [name for name in names if run(name, EXTRAS[name])]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
