"""Made-up tissue of three classes, for trying and testing without any download."""

from pathlib import Path

from histoseg.sources import _files
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="synthetic",
    title="Synthetic",
    classes=("stroma", "gland", "tumour"),
    mpp=0.5,  # Chosen: glands of 40 to 80 px are then as large as real ones of 20 to 40 um.
    licence="CC0 1.0",
)

FOLDER = "synthetic"
MASK = "_mask"


def entries(root: Path) -> list[Entry]:
    """The images that `histoseg demo-data` drew, pairs checked, no pixel read."""
    named = _files.by_name(_files.scan(root), r"patient\d+_.+\.png", lambda folder: folder.name == FOLDER)
    images = {name: path for name, path in named.items() if not name.endswith(MASK)}
    masks = {name.removesuffix(MASK): path for name, path in named.items() if name.endswith(MASK)}
    pairs = _files.pair(root, TASK.title, "synthetic/patient*_*.png with *_mask.png", images, masks)
    return _files.require_unique(
        [Entry(key=name, patient=name.partition("_")[0], files=files) for name, files in pairs.items()]
    )


def read(entry: Entry) -> Sample:
    """One image and its class ids."""
    image = _files.read_image(entry.files["image"])
    semantic_map = _files.read_labels(entry.files["annotation"])
    return _files.make_sample(entry, TASK, image, semantic_map)
