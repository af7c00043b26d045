"""Lizard: nuclei of the colon by type, in images of six other sets (Graham et al. 2021).

Names such as `glas_1` tell which set an image is from, but not which of its images: the numbers are Lizard's own as far
as its authors say, so `same_as` stays empty and only the pixels can show the same tissue in two sources.
"""

from pathlib import Path

import numpy as np

from histoseg.demo import mucosa as _mucosa
from histoseg.sources import _files, _mat
from histoseg.types import EXTERNAL, Entry, Sample, Task

TASK = Task(
    name="lizard",
    title="Lizard",
    classes=("background", "neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective"),
    mpp=0.5,  # 20x (Graham et al. 2021, Sec. 3).
    licence="CC BY-NC-SA 4.0",
    kind="instance",
    structure="nuclei",
)


def entries(root: Path) -> list[Entry]:
    """The images of both archives, pairs and folds checked, no pixel read. Names tell no patient: each is its own.

    The external images are those that `info.csv` says are from TCGA; the public archives hold none.

    Raises:
        MissingSourceError: If there is neither image nor label.
        DataError: If a pair is incomplete, or `info.csv`, the only file that names folds, lacks an image.
    """
    folders = _files.scan(root)
    images = _files.by_name(_files.select(folders, r".+\.png", _has_images), lambda path: path.stem)
    labels = _files.by_name(_files.select(folders, r".+\.mat", _has_labels), lambda path: path.stem)
    if not images and not labels:
        raise _files.missing(root, TASK.title, "Lizard_Images1, Lizard_Images2 and Lizard_Labels/Labels")
    _files.require_pairs(TASK.title, images, labels)
    table = next(iter(labels.values())).parent.parent / "info.csv"
    sources = {
        row["Filename"].removesuffix(".png"): row["Source"].lower()
        for row in _files.read_csv(table, ("Filename", "Source", "Split"), tells="which fold an image is in")
    }
    folds = _files.read_folds(table)
    if unknown := sorted(images.keys() - folds.keys()):
        raise _files.no_fold(table, unknown)
    return _files.require_unique(
        [
            Entry(
                key=_files.make_key(name),
                patient=_files.make_key(name),
                files={"image": image, "annotation": labels[name]},
                fold=EXTERNAL if sources[name] == "tcga" else folds[name],
            )
            for name, image in images.items()
        ]
    )


def _has_images(folder: Path) -> bool:
    return _files.plain(folder.name) in ("lizardimages1", "lizardimages2")


def _has_labels(folder: Path) -> bool:
    return _files.plain(folder.name) == "labels" and _files.plain(folder.parent.name) == "lizardlabels"


def read(entry: Entry) -> Sample:
    """One image, its nuclei and the class of each.

    Raises:
        DataError: If a file is damaged, its parts contradict each other, or the two differ in size.
    """
    return _mat.read_sample(entry, TASK, TASK.mpp)


def write_demo(root: Path, rng: np.random.Generator) -> None:
    """Write nine made-up images in three folds and two external ones in the published layout."""
    names = ("consep_1", "consep_2", "crag_1", "crag_2", "dpath_1", "dpath_2", "glas_1", "glas_2", "pannuke_1")
    rows = ["Filename,Source,Split"]
    for i, name in enumerate((*names, "tcga_1", "tcga_2")):
        mucosa = _mucosa.draw_mucosa(rng, has_surface=i % 4 == 3, malignant=i % 2 == 1)
        archive = "Lizard_Images1" if name.startswith("c") else "Lizard_Images2"
        _files.write_image(root / "Lizard" / archive / f"{name}.png", mucosa.image)
        path = root / "Lizard" / "Lizard_Labels" / "Labels" / f"{name}.mat"
        _mat.write_objects(path, mucosa.nuclei.instance_map, mucosa.nuclei.semantic_map, rng)
        rows.append(f"{name},{name.partition('_')[0]},{i % 3 + 1}")
    (root / "Lizard" / "Lizard_Labels" / "info.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
