"""GlaS (Warwick-QU): glands of the colon, benign and malignant (Sirinukunwattana et al. 2017)."""

from pathlib import Path

from histoseg.errors import DataError
from histoseg.sources import _files
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="glas",
    title="GlaS",
    classes=("background", "gland"),
    mpp=0.62,  # Scanned at 0.465, published rescaled to 0.620 (Sirinukunwattana et al. 2017).
    licence="research use only (GlaS challenge terms)",
    kind="instance",
    structure="gland",
    year=2017,
)

IMAGE = r"(train|testA|testB)_\d+\.bmp"
ANNOTATION = r"(train|testA|testB)_\d+_anno\.bmp"


def entries(root: Path) -> list[Entry]:
    """The images of all three official parts, pairs checked, no pixel read; only `Grade.csv` states patients."""
    folders = _files.scan(root)
    images = _files.by_name(folders, IMAGE)
    annotations = _files.by_name(folders, ANNOTATION, name=lambda path: path.stem.removesuffix("_anno"))
    pairs = _files.pair(root, TASK.title, "train_1.bmp and train_1_anno.bmp", images, annotations)
    patients = _read_patients(next(iter(images.values())).parent / "Grade.csv")
    if unknown := sorted(images.keys() - patients.keys()):
        raise DataError(f"{TASK.title}: Grade.csv has no row for {unknown[0]}; fetch Grade.csv again")
    return _files.require_unique(
        [Entry(key=name, patient=patients[name], files=files) for name, files in pairs.items()]
    )


def _read_patients(path: Path) -> dict[str, str]:
    """The patient of each image."""
    rows = _files.read_csv(path, ("name", "patient ID"), content="which images are of one patient")
    return {row["name"]: f"patient{row['patient ID']}" for row in rows}


def read(entry: Entry) -> Sample:
    """One image; every gland is class 1, and the annotation numbers them."""
    return _files.read_numbered(entry, TASK)
