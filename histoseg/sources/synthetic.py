"""Made-up tissue of three classes, for trying and testing without any download."""

from pathlib import Path

from histoseg.files.folders import LOSSLESS, by_image_name, pair, require_unique, scan
from histoseg.files.images import read_image
from histoseg.files.labels import read_labels
from histoseg.sources._samples import make_sample
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
    named = by_image_name(scan(root), r"patient\d+_.+", ("png", LOSSLESS), lambda folder: folder.name == FOLDER)
    images = {name: path for name, path in named.items() if not name.endswith(MASK)}
    masks = {name.removesuffix(MASK): path for name, path in named.items() if name.endswith(MASK)}
    pairs = pair(root, TASK.title, "synthetic/patient*_*.png with *_mask.png", images, masks)
    return require_unique(
        [Entry(key=name, patient=name.partition("_")[0], files=files) for name, files in pairs.items()]
    )


def read(entry: Entry) -> Sample:
    """One image and its class ids."""
    image = read_image(entry.files["image"])
    semantic_map = read_labels(entry.files["annotation"])
    return make_sample(entry, TASK, image, semantic_map)
