"""CRAG: glands of colorectal cancer, healthy to poorly differentiated (Graham et al. 2019, MILD-Net)."""

from pathlib import Path

from histoseg.files.folders import LOSSLESS, LOSSY, by_image_name, in_part, make_key, pair, plain, require_unique, scan
from histoseg.files.instances import require_choice
from histoseg.sources._samples import read_numbered
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="crag",
    title="CRAG",
    classes=("background", "gland"),
    mpp=0.5,  # 20x (Graham et al. 2019, MILD-Net).
    licence="research, non-commercial (Warwick TIA Centre)",
    kind="instance",
    structure="gland",
    year=2019,
)

PARTS = ("train", "valid", "test")  # The second part is `valid` in some releases, `test` in others.


def entries(root: Path, *, instances: str = "numbered") -> list[Entry]:
    """The images of all parts, pairs checked, no pixel read. Names state no patient: each image is its own.

    instances: Whether glands are "numbered", or each connected piece of a number is one ("components").
    """
    options = {"instances": require_choice(instances, TASK.name)}
    wanted = "CRAG/train and CRAG/valid or CRAG/test with Images and Annotation"
    pairs = pair(root, TASK.title, wanted, _find(root, "images"), _find(root, "annotation"))
    return require_unique(
        [Entry(key=name, patient=name, files=files, options=options) for name, files in pairs.items()]
    )


def _find(root: Path, kind: str) -> dict[str, Path]:
    """The image files of one kind by key; the folder is `Annotation` in some releases, `Annotations` in others."""
    return by_image_name(
        scan(root),
        ".+",
        ("png", LOSSLESS) if kind == "images" else ("png", LOSSLESS, LOSSY),
        lambda folder: plain(folder.name) in (kind, f"{kind}s") and in_part(folder, root, "crag", PARTS),
        lambda path: make_key(path.stem),
    )


def read(entry: Entry) -> Sample:
    """One image; every gland is class 1, and the annotation numbers them."""
    return read_numbered(entry, TASK)
