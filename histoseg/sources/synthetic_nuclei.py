"""Made-up nuclei in clusters of many kinds, with nothing between them: most of what one looks at teaches nothing."""

from pathlib import Path

from histoseg.files.folders import LOSSLESS, by_image_name, pair, require_unique, scan
from histoseg.files.instances import require_choice
from histoseg.sources._samples import read_numbered
from histoseg.types import DEMO_RESERVE, Entry, Sample, Task

TASK = Task(
    name="synthetic_nuclei",
    title="Synthetic nuclei",
    classes=("background", "nucleus"),
    mpp=0.5,  # Chosen: nuclei of 8 to 14 px are then as large as real ones of 4 to 7 um.
    licence="CC0 1.0",
    kind="instance",
    structure="nuclei",
    reserve=DEMO_RESERVE,
)

FOLDER = "synthetic_nuclei"
LABEL = "_nuclei"


def entries(root: Path, *, instances: str = "numbered") -> list[Entry]:
    """The images that `histoseg demo-data` drew, pairs checked, no pixel read.

    instances: Whether nuclei are "numbered", or each connected piece of a number is one ("components").
    """
    options = {"instances": require_choice(instances, TASK.name)}
    named = by_image_name(scan(root), r"patient\d+.*", ("png", LOSSLESS), lambda folder: folder.name == FOLDER)
    images = {name: path for name, path in named.items() if not name.endswith(LABEL)}
    labels = {name.removesuffix(LABEL): path for name, path in named.items() if name.endswith(LABEL)}
    pairs = pair(root, TASK.title, f"{FOLDER}/patient*.png with *{LABEL}.png", images, labels)
    return require_unique(
        [Entry(key=name, patient=name, files=files, options=options) for name, files in pairs.items()]
    )


def read(entry: Entry) -> Sample:
    """One image; every nucleus is class 1, and the label file numbers them."""
    return read_numbered(entry, TASK)
