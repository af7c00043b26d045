"""GlaS (Warwick-QU): glands of the colon, benign and malignant (Sirinukunwattana et al. 2017)."""

from pathlib import Path

from histoseg.errors import DataError
from histoseg.files.folders import (
    LOSSLESS,
    LOSSY,
    beside,
    by_image_name,
    by_name,
    pair,
    require_unique,
    scan,
    select,
    spelt_as,
    without_ending,
)
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

IMAGE = r"(train|testA|testB)_\d+"
ANNOTATION = IMAGE + "_anno"


def entries(root: Path, *, instances: str = "numbered") -> list[Entry]:
    """The images of all three official parts, pairs checked, no pixel read; only `Grade.csv` states patients.

    instances: Whether glands are "numbered", or each connected piece of a number is one ("components").
    """
    options = {"instances": require_choice(instances, TASK.name)}
    folders = scan(root)
    holding = {path.parent for path in select(folders, ANNOTATION + r"\..+")}
    published = by_name(folders, IMAGE + r"\.bmp")  # Other data sets have a train_1.png.
    converted = by_name(folders, rf"{IMAGE}\.({LOSSLESS})", holding.__contains__, known=published)
    images = published | converted
    annotations = by_image_name(
        folders, ANNOTATION, ("bmp", LOSSLESS, LOSSY), name=lambda path: path.stem[: -len("_anno")]
    )
    pairs = pair(root, TASK.title, "train_1.bmp and train_1_anno.bmp", images, annotations)
    table = beside(folders, next(iter(images.values())).parent, "Grade.csv")
    patients = spelt_as(images, _read_patients(table))
    if unknown := sorted(images.keys() - patients.keys()):
        raise DataError(f"{table}: Grade.csv has no row for {unknown[0]} ({len(unknown)} images lack one); add it")
    return require_unique(
        [Entry(key=name, patient=patients[name], files=files, options=options) for name, files in pairs.items()]
    )


def _read_patients(path: Path) -> dict[str, str]:
    """The patient of each image."""
    rows = read_csv(path, ("name", "patient ID"), content="which images are of one patient")
    if nameless := [row.line for row in rows if not (row["name"] and row["patient ID"])]:
        raise DataError(f"{path}: line {nameless[0]} lacks a name or a patient ID; complete or remove it")
    return {without_ending(row["name"]): f"patient{row['patient ID']}" for row in rows}


def read(entry: Entry) -> Sample:
    """One image; every gland is class 1, and the annotation numbers them."""
    return read_numbered(entry, TASK)
