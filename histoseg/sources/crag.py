"""CRAG: glands of colorectal cancer, healthy to poorly differentiated (Graham et al. 2019, MILD-Net)."""

from pathlib import Path

from histoseg.sources import _files
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


def entries(root: Path) -> list[Entry]:
    """The images of all parts, pairs checked, no pixel read. Names state no patient: each image is its own."""
    wanted = "CRAG/train and CRAG/valid or CRAG/test with Images and Annotation"
    pairs = _files.pair(root, TASK.title, wanted, _pngs(root, "images"), _pngs(root, "annotation"))
    return _files.require_unique([Entry(key=name, patient=name, files=files) for name, files in pairs.items()])


def _pngs(root: Path, kind: str) -> dict[str, Path]:
    """The PNGs of one kind by key; the folder is `Annotation` in some releases, `Annotations` in others."""
    return _files.by_name(
        _files.scan(root),
        r".+\.png",
        lambda folder: _files.plain(folder.name) in (kind, f"{kind}s") and _files.in_part(folder, root, "crag", PARTS),
        lambda path: _files.make_key(path.stem),
    )


def read(entry: Entry) -> Sample:
    """One image; every gland is class 1, and the annotation numbers them."""
    return _files.read_numbered(entry, TASK)
