"""A lab's own data for Cerberus, in one folder per structure.

Each of `<anything>/cerberus_native/gland`, `lumen` and `nuclei` has

    Images/<name>.png     or .tif, .bmp
    Labels/<name>.mat     `inst_map`, and if known `id` with `class` as in Lizard; without them glands and lumina have
                          class 1, and nuclei are learnt as nuclei alone
    split.csv             Filename and Split (1, 2, 3 or external); if known Patient and MPP, microns per pixel

Without `split.csv` an image may go into any fold. Without a stated patient an image is its own patient; without a
stated MPP it has 0.5 microns per pixel. The same file name in two of the three folders means the same image, and the
same `Patient` the same person.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from histoseg.errors import DataError
from histoseg.files.folders import (
    LOSSLESS,
    Folders,
    beside,
    by_image_name,
    by_name,
    make_key,
    nfc,
    pair,
    plain,
    require_unique,
    scan,
    spelt_as,
)
from histoseg.files.instances import Instances, require_choice
from histoseg.sources._folds import no_fold, read_column, read_folds
from histoseg.sources._samples import read_mat_sample
from histoseg.types import IGNORE, Entry, Sample, Split, Task, is_credible_mpp, say_credible_mpp

FOLDER = "cerberus_native"
STRUCTURES = ("gland", "lumen", "nuclei")  # Each is a source: `cerberus_gland` and so on.
TABLE = "split.csv"
MPP = 0.5  # By definition of this layout: Cerberus works at 0.5 microns per pixel (Graham et al. 2023).


def source(
    structure: str, title: str, classes: tuple[str, ...]
) -> tuple[Task, Callable[..., list[Entry]], Callable[[Entry], Sample]]:
    """TASK, `entries` and `read` of the source of one structure."""
    task = Task(
        name=f"cerberus_{structure}",
        title=title,
        classes=classes,
        mpp=MPP,
        licence="that of the lab's own data",
        kind="instance",
        structure=structure,
        reserve=0,  # As Lizard, beside which the paper has them
    )

    def entries(root: Path, *, instances: str = "numbered") -> list[Entry]:
        return _find_entries(root, task, require_choice(instances, task.name))

    return task, entries, lambda entry: _read_entry(entry, task)


def _find_entries(root: Path, task: Task, instances: Instances) -> list[Entry]:
    """The images of one structure, pairs and table checked, no pixel read.

    Objects are "numbered", or each connected piece of a number is one ("components").
    """
    folders = scan(root)
    images = _images(folders, task.structure)
    labels = by_name(folders, r".+\.mat", _is("labels", task.structure))
    wanted = f"{FOLDER}/{task.structure} with Images/*.png and Labels/*.mat"
    pairs = pair(root, task.title, wanted, images, labels)
    entries: list[Entry] = []
    for folder in sorted({path.parent.parent for path in images.values()}):
        inside = {name: files for name, files in pairs.items() if files["image"].parent.parent == folder}
        entries += _entries_of(beside(folders, folder, TABLE), inside, instances)
    _require_one_fold_each(entries)
    others = {other: _images(folders, other) for other in STRUCTURES if other != task.structure}
    return require_unique([replace(entry, same_as=_find_twins(entry, others)) for entry in entries])


def _images(folders: Folders, structure: str) -> dict[str, Path]:
    return by_image_name(folders, ".+", ("png", LOSSLESS), _is("images", structure))


def _is(kind: str, structure: str) -> Callable[[Path], bool]:
    wanted = (plain(FOLDER), structure, kind)
    return lambda folder: tuple(plain(name) for name in folder.parts[-3:]) == wanted


def _find_twins(entry: Entry, others: Mapping[str, Mapping[str, Path]]) -> tuple[str, ...]:
    """The same image among those of the other structures: the same name in the same `cerberus_native`."""
    image = entry.files["image"]
    twins = {other: images.get(nfc(image.stem)) for other, images in others.items()}
    return tuple(
        f"cerberus_{other}/{entry.key}"
        for other, twin in twins.items()
        if twin is not None and twin.parents[2] == image.parents[2]
    )


def _entries_of(table: Path, files: Mapping[str, Mapping[str, Path]], instances: Instances) -> list[Entry]:
    """The entries of one folder, with what its table says of them."""
    folder = table.parent
    folds: dict[str, Split] = {}
    patients: dict[str, str] = {}
    mpps: dict[str, float] = {}
    if table.is_file():
        stated = {name: cell.text for name, cell in read_column(table, "Patient").items()}
        folds, patients = spelt_as(files, read_folds(table)), spelt_as(files, stated)
        mpps = spelt_as(files, _read_mpps(table))
        if unknown := sorted(files.keys() - folds.keys()):
            raise no_fold(table, unknown)
    return [
        Entry(
            key=make_key(name),
            patient=make_key(patients.get(name) or name),
            person=f"{folder.parent}/{patients[name]}" if patients.get(name) else "",
            files=members,
            options={"mpp": mpps.get(name, MPP), "instances": instances},
            fold=folds.get(name),
        )
        for name, members in files.items()
    ]


def _read_mpps(table: Path) -> dict[str, float]:
    """The stated resolutions; images whose field is empty are left out."""
    cells = {name: cell for name, cell in read_column(table, "MPP").items() if cell.text}
    return {name: _to_mpp(cell.text, f"{table}: line {cell.line}: MPP of {name}") for name, cell in cells.items()}


def _to_mpp(text: str, where: str) -> float:
    try:
        mpp = float(text.replace(",", "."))  # Spreadsheets in many languages write 0,25.
    except ValueError:
        mpp = math.nan
    if not is_credible_mpp(mpp):
        raise DataError(
            f"{where} is {text!r}; expected a positive number, {say_credible_mpp()}, or an empty field for {MPP}"
        )
    return mpp


def _require_one_fold_each(entries: list[Entry]) -> None:
    """Refuse a patient in two folds: the model would be tested on a patient it was trained on."""
    fold_of: dict[str, Split | None] = {}
    for entry in entries:
        if (fold := fold_of.setdefault(entry.patient, entry.fold)) != entry.fold:
            raise DataError(
                f"{entry.files['image']}: patient {entry.patient} is in {fold} and in {entry.fold}; put all images of a"
                f" patient into one fold in {TABLE}"
            )


def _read_entry(entry: Entry, task: Task) -> Sample:
    """One image, its objects and the class of each."""
    default = IGNORE if task.structure == "nuclei" else 1
    return read_mat_sample(entry, task, entry.options["mpp"], has_classes=False, default_class=default)
