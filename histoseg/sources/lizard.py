"""Lizard: nuclei of the colon by type, in images of six other data sets (Graham et al. 2021).

A name such as `glas_1` states the data set an image is from, but not the image: the numbers are Lizard's own. So
`same_as` stays empty, and only pixels can show that two sources have the same tissue.
"""

from pathlib import Path

from histoseg.files.folders import (
    LOSSLESS,
    beside,
    by_image_name,
    by_name,
    make_key,
    pair,
    plain,
    require_unique,
    scan,
    spelt_as,
    without_ending,
)
from histoseg.files.instances import require_choice
from histoseg.files.tables import read_csv
from histoseg.sources._folds import no_fold, read_folds
from histoseg.sources._samples import read_mat_sample
from histoseg.types import EXTERNAL, Entry, Sample, Task

TASK = Task(
    name="lizard",
    title="Lizard",
    classes=("background", "neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective"),
    mpp=0.5,  # 20x (Graham et al. 2021, Sec. 3).
    licence="CC BY-NC-SA 4.0",
    kind="instance",
    structure="nuclei",
    year=2021,
    reserve=0,  # Without CoNSeP and PanNuke, of which it has regions (Graham et al. 2021)
)


def entries(root: Path, *, instances: str = "numbered") -> list[Entry]:
    """The images of both archives, pairs and folds checked, no pixel read. No file states patients: each is its own.

    External images are those from TCGA by `info.csv`; the public archives hold none.

    instances: Whether nuclei are "numbered", or each connected piece of a number is one ("components").
    """
    options = {"instances": require_choice(instances, TASK.name)}
    folders = scan(root)
    images = by_image_name(folders, ".+", ("png", LOSSLESS), _has_images)
    labels = by_name(folders, r".+\.mat", _has_labels)
    wanted = "Lizard_Images1, Lizard_Images2 and Lizard_Labels/Labels"
    pairs = pair(root, TASK.title, wanted, images, labels)
    table = beside(folders, next(iter(labels.values())).parent.parent, "info.csv")
    rows = read_csv(table, ("Filename", "Source", "Split"), content="which fold an image is in")
    sources = spelt_as(images, {without_ending(row["Filename"]): row["Source"].lower() for row in rows})
    folds = spelt_as(images, read_folds(table))
    if unknown := sorted(images.keys() - folds.keys()):
        raise no_fold(table, unknown)
    return require_unique(
        [
            Entry(
                key=make_key(name),
                patient=make_key(name),
                files=files,
                options=options,
                fold=EXTERNAL if sources[name] == "tcga" else folds[name],
            )
            for name, files in pairs.items()
        ]
    )


def _has_images(folder: Path) -> bool:
    return plain(folder.name) in ("lizardimages1", "lizardimages2")


def _has_labels(folder: Path) -> bool:
    return plain(folder.name) == "labels" and plain(folder.parent.name) == "lizardlabels"


def read(entry: Entry) -> Sample:
    """One image, its nuclei and the class of each."""
    return read_mat_sample(entry, TASK, TASK.mpp)
