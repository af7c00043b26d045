"""A laboratory's sources, in a distribution outside of this repository."""

from pathlib import Path

SOURCE = """
import numpy as np

from histoseg.errors import MissingSourceError
from histoseg.types import Entry, Sample, Task

TASK = Task(name="NAME", title="Lab", classes=("background", "gland"), mpp=0.5, licence="ours")


def entries(root):
    paths = sorted((root / "NAME").glob("*.raw"))
    if not paths:
        raise MissingSourceError(f"{root}: no NAME found")
    return [Entry(key=path.stem, patient=path.stem, files={"image": path}) for path in paths]


def read(entry):
    labels = np.zeros((40, 40), np.uint8)
    labels[:20] = 1
    image = np.full((40, 40, 3), len(entry.key), np.uint8)
    return Sample(key=entry.key, patient=entry.patient, image=image, semantic_map=labels, mpp=0.5)
"""


def write_lab(
    folder: Path, modules: dict[str, str], group: str = "histoseg.sources", distribution: str = "lab"
) -> Path:
    """Write modules, by public name, and the entry points that name them; returns the folder, which sys.path needs.

    The folder above it is the test's own.
    """
    about = folder / f"{distribution}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"[{group}]"]
    for name, text in modules.items():
        module = f"{name}_of_{folder.parent.name}"  # Of this test only: a module is imported once in a process.
        (folder / f"{module}.py").write_text(text)
        lines.append(f"{name} = {module}")
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_raw(folder: Path, name: str, count: int = 6) -> Path:
    """The folder with raw files of a source, each of a patient of its own."""
    for i in range(count):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"image{i}.raw").write_text(f"# raw {i}")
    return folder
