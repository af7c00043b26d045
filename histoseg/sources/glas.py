"""GlaS (Warwick-QU): glands of the colon, benign and malignant (Sirinukunwattana et al. 2017)."""

from pathlib import Path

from histoseg.errors import DataError
from histoseg.files.folders import by_name, pair, require_unique, scan
from histoseg.files.instances import require_choice
from histoseg.files.tables import read_csv
from histoseg.sources._samples import read_numbered
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


def entries(root: Path, *, instances: str = "numbered") -> list[Entry]:
    """The images of all three official parts, pairs checked, no pixel read; only `Grade.csv` states patients.

    instances: Whether glands are "numbered", or each connected piece of a number is one ("components").
    """
    options = {"instances": require_choice(instances, TASK.name)}
    folders = scan(root)
    images = by_name(folders, IMAGE)
    annotations = by_name(folders, ANNOTATION, name=lambda path: path.stem.removesuffix("_anno"))
    pairs = pair(root, TASK.title, "train_1.bmp and train_1_anno.bmp", images, annotations)
    patients = _read_patients(next(iter(images.values())).parent / "Grade.csv")
    if unknown := sorted(images.keys() - patients.keys()):
        raise DataError(f"{TASK.title}: Grade.csv has no row for {unknown[0]}; fetch Grade.csv again")
    return require_unique(
        [Entry(key=name, patient=patients[name], files=files, options=options) for name, files in pairs.items()]
    )


def _read_patients(path: Path) -> dict[str, str]:
    """The patient of each image."""
    rows = read_csv(path, ("name", "patient ID"), content="which images are of one patient")
    return {row["name"]: f"patient{row['patient ID']}" for row in rows}


def read(entry: Entry) -> Sample:
    """One image; every gland is class 1, and the annotation numbers them."""
    return read_numbered(entry, TASK)
