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
    """The images of all parts, pairs checked, no pixel read. Names state no patient: each image is its own.

    Raises:
        MissingSourceError: If there is neither image nor annotation.
        DataError: If a pair is incomplete.
    """
    images, annotations = _pngs(root, "images"), _pngs(root, "annotation")
    if not images and not annotations:
        raise _files.missing(root, TASK.title, "CRAG/train and CRAG/valid or CRAG/test with Images and Annotation")
    _files.require_pairs(TASK.title, images, annotations)
    return _files.require_unique(
        [
            Entry(key=name, patient=name, files={"image": image, "annotation": annotations[name]})
            for name, image in images.items()
        ]
    )


def _pngs(root: Path, kind: str) -> dict[str, Path]:
    """The PNGs of one kind by key; the folder is `Annotation` in some releases, `Annotations` in others."""
    paths = _files.select(
        _files.scan(root),
        r".+\.png",
        lambda folder: _files.plain(folder.name) in (kind, f"{kind}s") and _files.in_part(folder, root, "crag", PARTS),
    )
    return _files.by_name(paths, lambda path: _files.make_key(path.stem))


def read(entry: Entry) -> Sample:
    """One image; every gland is class 1, and the annotation numbers them.

    Raises:
        DataError: If a file is damaged or the two differ in size.
    """
    return _files.read_numbered(entry, TASK)
